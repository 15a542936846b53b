"""Every saved question runs on both databases, and nothing hostile gets through."""

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from dicomnode.domain.errors import ConfigError
from dicomnode.domain.questions import Bounds, Cell, QuestionRefused, QuestionTooLong
from dicomnode.store.asking import SECRETS, asked
from dicomnode.store.database import Database
from dicomnode.store.questions import load_questions, read_question
from dicomnode.store.schema import upgrade
from dicomnode.store.views import refresh_views, views
from dicomnode.testing.postgresql import RunningPostgresql
from tests.contract.store_scenes import receive
from tests.contract.test_store_reports import incoming, keep, mine

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]

NEEDED = {"patient": "P1", "words": "effusion"}
QUICK = Bounds(seconds=1.0)


@pytest.fixture
def reader_url(database: Database) -> Iterator[str]:
    """A login that may only read, where one is needed."""
    if database.is_sqlite:
        yield ""
        return
    with database.writing() as connection:
        connection.execute(
            text(
                "DO $$ BEGIN CREATE ROLE asker LOGIN; "
                "EXCEPTION WHEN duplicate_object THEN NULL; END $$"
            )
        )
        connection.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO asker"))
        connection.execute(text(f"REVOKE ALL ON {', '.join(SECRETS)} FROM asker"))
    yield database.url.set(username="asker").render_as_string(hide_password=False)


def ask(
    database: Database,
    url: str,
    query: str,
    parameters: dict[str, Cell] | None = None,
    bounds: Bounds = QUICK,
) -> list[tuple[Cell, ...]]:
    with asked(database, query, parameters, bounds=bounds, reader_url=url) as answer:
        return list(answer.rows)


def refused(database: Database, url: str, query: str, bounds: Bounds = QUICK) -> str:
    with pytest.raises(QuestionRefused) as caught:
        ask(database, url, query, bounds=bounds)
    return str(caught.value)


@pytest.mark.parametrize("name", sorted(load_questions()))
def test_every_saved_question_runs(database: Database, reader_url: str, name: str) -> None:
    receive(database, ["1.2.1.1.1"])
    keep(database, incoming("Small effusion, see image 4.", study_uid="1.2.1"))
    mine(database)
    question = load_questions()[name]
    given = {one.name: NEEDED[one.name] for one in question.parameters if one.default is None}
    query = question.sqlite if database.is_sqlite else question.postgresql
    with asked(
        database, query, question.values(given), bounds=QUICK, reader_url=reader_url
    ) as answer:
        list(answer.rows)
        # What a person finds a study by, in the PACS and on the telephone.
        assert ("study_uid" in answer.columns) == ("accession_number" in answer.columns)


def test_a_question_that_names_a_study_has_its_accession_number(
    database: Database, reader_url: str
) -> None:
    receive(database, ["1.2.1.1.1"])
    with database.writing() as connection:
        connection.execute(text("UPDATE study SET accession_number = 'ACC 1'"))
    question = load_questions()["studies_without_result"]
    query = question.sqlite if database.is_sqlite else question.postgresql
    ((accession, study, *_),) = ask(database, reader_url, query)
    assert (accession, study) == ("ACC 1", "1.2.1")


def test_every_view_has_the_columns_it_documents(database: Database, reader_url: str) -> None:
    for view in views():
        with asked(database, f"SELECT * FROM {view.name}", reader_url=reader_url) as answer:
            assert list(answer.columns) == list(view.columns)
            list(answer.rows)


def test_views_are_made_anew_only_when_their_text_has_changed(database: Database) -> None:
    with database.writing() as connection:
        assert not refresh_views(connection)
        connection.execute(text("UPDATE view_version SET digest = 'old'"))
        assert refresh_views(connection)
    upgrade(database)


def test_a_search_finds_a_phrase_in_the_current_version_only(
    database: Database, reader_url: str
) -> None:
    keep(database, incoming("Small pleural effusion on the left."))
    keep(database, incoming("The pleura is clear, no effusion.", source_id="R2"))
    question = load_questions()["search_reports"]
    query = question.sqlite if database.is_sqlite else question.postgresql
    found = ask(database, reader_url, query, {"words": '"pleural effusion"'})
    assert [row[0] for row in found] == [1]
    keep(database, incoming("Amended: clear."))
    assert ask(database, reader_url, query, {"words": '"pleural effusion"'}) == []


def test_labels_that_are_not_mentioned_are_rows_of_the_view(
    database: Database, reader_url: str
) -> None:
    keep(database, incoming("Small effusion. No pneumothorax."))
    mine(database)
    query = "SELECT label, value FROM study_label WHERE label IN ('effusion','mass','pneumothorax')"
    assert set(ask(database, reader_url, query)) == {
        ("effusion", 1),
        ("pneumothorax", 0),
        ("mass", None),
    }


def test_a_sentence_is_cut_at_code_points(database: Database, reader_url: str) -> None:
    keep(database, incoming("Größe 🫀 normal. Small effusion. Ende."))
    mine(database)
    query = "SELECT words, sentence FROM positive_sentence"
    assert ask(database, reader_url, query) == [("effusion", "Small effusion.")]


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM event",
        "INSERT INTO event (name) VALUES ('x')",
        "UPDATE study SET patient_id = 'x'",
        "DROP TABLE event",
        "CREATE TABLE x (y int)",
        "WITH x AS (DELETE FROM event RETURNING *) SELECT * FROM x",
        "SELECT 1; DELETE FROM event",
        "SELECT 1; SELECT 2",
        "COMMIT; DELETE FROM event",
        "SELECT 1 /* ; */ ; DROP TABLE event --",
        "VACUUM",
        "BEGIN",
        "",
        "-- nothing",
        "SELECT nothing FROM nowhere",
        "SELECT 'unclosed",
    ],
)
def test_nothing_but_one_reading_statement_passes(
    database: Database, reader_url: str, query: str
) -> None:
    assert refused(database, reader_url, query)
    assert ask(database, reader_url, "SELECT count(*) FROM event") == [(0,)]


@pytest.mark.parametrize(
    "query",
    [
        "ATTACH 'other.sqlite' AS other",
        "PRAGMA journal_mode=DELETE",
        "PRAGMA writable_schema=1",
        "SELECT load_extension('x')",
        "SELECT readfile('/etc/passwd')",
        "SELECT writefile('x', 'y')",
        "SELECT randomblob(1000)",
        "SELECT * FROM pragma_table_info('event')",
    ],
)
def test_what_reaches_out_of_sqlite_is_refused(
    migrated_sqlite: Path, query: str, tmp_path: Path
) -> None:
    database = Database(f"sqlite:///{migrated_sqlite}", tmp_path)
    assert refused(database, "", query)
    database.dispose()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT query_to_xml('DELETE FROM event', true, true, '')",
        "SELECT set_config('transaction_read_only', 'off', true)",
        "SELECT set_config('session_authorization', 'postgres', true)",
        "COPY event TO '/tmp/x'",
        "COPY event TO PROGRAM 'true'",
        "SET ROLE postgres",
    ],
)
def test_what_reaches_out_of_postgresql_is_refused(
    postgresql_url: str, query: str, tmp_path: Path
) -> None:
    database = Database(postgresql_url, tmp_path)
    upgrade(database)
    with database.writing() as connection:
        connection.execute(text("CREATE ROLE outsider LOGIN"))
        connection.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO outsider"))
    try:
        url = database.url.set(username="outsider").render_as_string(hide_password=False)
        assert refused(database, url, query)
    finally:
        with database.writing() as connection:
            connection.execute(text("DROP OWNED BY outsider; DROP ROLE outsider"))
        database.dispose()


@pytest.mark.parametrize("table", sorted(SECRETS))
def test_accounts_sessions_and_tokens_are_closed(
    database: Database, reader_url: str, table: str
) -> None:
    for query in (
        f"SELECT * FROM {table}",
        f"SELECT count(*) FROM {table}",
        f"SELECT s.study_uid FROM study s JOIN {table} t ON true",
        f"WITH x AS (SELECT * FROM {table}) SELECT 1 FROM x",
    ):
        refused(database, reader_url, query)


def test_a_postgresql_login_that_could_read_accounts_asks_nothing(
    postgresql_server: RunningPostgresql, tmp_path: Path
) -> None:
    """Default privileges gave it everything that comes; the schema took that back."""
    url = postgresql_server.new_database()
    database = Database(url, tmp_path)
    grants = (
        "DO $$ BEGIN CREATE ROLE trusting LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO trusting",
    )
    with database.writing() as connection:
        for grant in grants:
            connection.execute(text(grant))
    upgrade(database)
    reader = database.url.set(username="trusting").render_as_string(hide_password=False)
    assert ask(database, reader, "SELECT count(*) FROM study") == [(0,)]
    with database.writing() as connection:
        connection.execute(text("GRANT SELECT (name) ON account TO trusting"))
    assert "can read account" in refused(database, reader, "SELECT count(*) FROM study")
    with database.writing() as connection:
        connection.execute(
            text("ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON TABLES FROM trusting")
        )
    database.dispose()


def test_a_superuser_of_postgresql_asks_nothing(postgresql_url: str, tmp_path: Path) -> None:
    database = Database(postgresql_url, tmp_path)
    assert "superuser" in refused(database, "", "SELECT 1")
    database.dispose()


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT {} FROM n"


@pytest.mark.parametrize(
    "query",
    [
        ENDLESS.format("max(i)"),
        ENDLESS.format("count(*)") + " WHERE i < 0",
        "SELECT count(*) FROM " + ", ".join(f"label_name {alias}" for alias in "abcdefg"),
    ],
)
def test_what_never_ends_is_stopped_and_the_index_goes_on(
    database: Database, reader_url: str, query: str
) -> None:
    keep(database, incoming())
    mine(database)
    started = time.monotonic()
    with pytest.raises(QuestionTooLong):
        ask(database, reader_url, query)
    assert time.monotonic() - started < 10
    assert keep(database, incoming(source_id="R2")) != []


def test_a_string_cannot_grow_without_bound(migrated_sqlite: Path, tmp_path: Path) -> None:
    database = Database(f"sqlite:///{migrated_sqlite}", tmp_path)
    grow = (
        "WITH RECURSIVE g(s) AS (SELECT 'xxxxxxxxxxxxxxxx' UNION ALL SELECT s || s FROM g) "
        "SELECT length(s) FROM g"
    )
    with pytest.raises(QuestionTooLong, match="too big"):
        ask(database, "", grow)
    assert ask(database, "", "SELECT printf('%.*c', 2000000000, 'x')") == [(None,)]
    database.dispose()


def test_an_answer_is_cut_off_and_says_so(database: Database, reader_url: str) -> None:
    bounds = Bounds(rows=5)
    with asked(database, ENDLESS.format("i"), bounds=bounds, reader_url=reader_url) as answer:
        assert list(answer.rows) == [(1,), (2,), (3,), (4,), (5,)]
        assert answer.truncated


def test_an_endless_answer_is_read_row_by_row(database: Database, reader_url: str) -> None:
    bounds = Bounds(rows=10_000_000)
    with asked(database, ENDLESS.format("i"), bounds=bounds, reader_url=reader_url) as answer:
        assert next(answer.rows) == (1,)


def test_a_question_limited_to_views_reads_no_table(migrated_sqlite: Path, tmp_path: Path) -> None:
    database = Database(f"sqlite:///{migrated_sqlite}", tmp_path)
    bounds = Bounds(views_only=True)
    ask(database, "", "SELECT * FROM study_label", bounds=bounds)
    ask(database, "", "SELECT * FROM ai_versus_report", bounds=bounds)
    ask(database, "", "SELECT count(*) FROM cohort", bounds=bounds)
    for query in ("SELECT * FROM report_part", "SELECT patient_name FROM study"):
        assert "documented views" in refused(database, "", query, bounds)
    sneaky = "SELECT (SELECT patient_name FROM study LIMIT 1) FROM cohort"
    assert "documented views" in refused(database, "", sneaky, bounds)
    database.dispose()


def test_the_file_of_the_index_is_not_made_by_asking(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'none.sqlite'}", tmp_path)
    with pytest.raises((QuestionRefused, sqlite3.OperationalError)):
        ask(database, "", "SELECT 1")
    assert not (tmp_path / "none.sqlite").exists()


def test_parameters_are_values_and_never_sql(database: Database, reader_url: str) -> None:
    keep(database, incoming("Small effusion."))
    mine(database)
    query = "SELECT count(*) FROM positive_sentence WHERE label = :label"
    assert ask(database, reader_url, query, {"label": "effusion"}) == [(1,)]
    assert ask(database, reader_url, query, {"label": "x' OR '1'='1"}) == [(0,)]


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("SELECT 1", "has no title and no description"),
        ("-- title: T\n-- description: D\n", "no query"),
        ("-- title: T\n-- description: D\nSELECT :x", "differ: x"),
        ("-- title: T\n-- description: D\n-- parameter x: text = a; w\nSELECT 1", "differ: x"),
        ("-- title: T\n-- description: D\n-- parameter x: uid; w\nSELECT :x", "one of text"),
        ("-- titel: T\n-- description: D\nSELECT 1", "line 1"),
        (
            "-- title: T\n-- description: D\n-- parameter x: text = a; w; one of b, c\nSELECT :x",
            "none of the choices",
        ),
    ],
)
def test_a_file_that_is_no_question_says_why(source: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        read_question("q", source)


def test_a_site_adds_questions_of_its_own(tmp_path: Path) -> None:
    head = "-- title: T\n-- description: D\n"
    (tmp_path / "mine.sql").write_text(head + "SELECT 1")
    assert load_questions([tmp_path])["mine"].title == "T"
    (tmp_path / "broken.sql").write_text("SELECT 1")
    with pytest.raises(ConfigError, match=r"broken\.sql"):
        load_questions([tmp_path])


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({}, "parameter words is needed"),
        ({"words": "x", "wrods": "y"}, "there is no parameter wrods"),
    ],
)
def test_a_parameter_that_is_missing_or_unknown_is_named(given: dict[str, str], fault: str) -> None:
    with pytest.raises(QuestionRefused, match=fault):
        load_questions()["search_reports"].values(given)


def test_dates_and_numbers_are_checked() -> None:
    cohort = load_questions()["cohort"]
    assert cohort.values({"since": "2024-01-31"})["since"] == "20240131"
    with pytest.raises(QuestionRefused, match="since is no date"):
        cohort.values({"since": "31.1.2024"})
    with pytest.raises(QuestionRefused, match="oldest is no integer"):
        cohort.values({"oldest": "old"})
