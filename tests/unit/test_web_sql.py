"""The SQL console reads, and nothing else; what it shows is escaped; downloads are whole."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from dicomnode.domain.access import Role
from dicomnode.settings import Settings, SqlSettings
from dicomnode.store.audit import AuditSearch, audit_entries
from dicomnode.store.indexing import Indexed, index_instances, landed_instances
from dicomnode.web import answering
from dicomnode.web.answers import BrokenOff
from tests.contract.store_scenes import NOON, finished_job, header, land
from tests.unit.web_site import Site, form

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT {} FROM n"
GROWING = """WITH RECURSIVE g(s) AS (SELECT 'xxxxxxxx' UNION ALL SELECT s || s FROM g)
SELECT length(s) FROM g"""
HOSTILE_TEXT = "<script>alert(1)</script>"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, Settings(sql=SqlSettings(time_limit_s=0.5)))
    yield made
    made.database.dispose()


@pytest.fixture
def reader(site: Site) -> TestClient:
    return site.logged_in(Role.READER)


def ask(browser: TestClient, query: str) -> str:
    answer = browser.post("/sql", data={**form(browser, "/sql"), "query": query})
    assert answer.status_code in (200, 422)
    return answer.text


@pytest.mark.parametrize("role", [Role.VIEWER, Role.READER, Role.ADMIN])
def test_readers_ask_and_viewers_do_not(site: Site, role: Role) -> None:
    browser = site.logged_in(role)
    may = role.includes(Role.READER)
    for path in ("/sql", "/sql/saved/label_counts", "/sql/saved/label_counts/csv"):
        assert browser.get(path).status_code == (200 if may else 403), path
    assert ('href="/sql"' in browser.get("/studies").text) == may
    values = {**form(browser), "query": "SELECT 1", "kind": "csv"}
    for path in ("/sql", "/sql/download"):
        assert browser.post(path, data=values).status_code == (200 if may else 403), path


def test_a_question_is_answered_and_written_down(site: Site, reader: TestClient) -> None:
    assert '<td class="number">42</td>' in ask(reader, "SELECT 40 + 2 AS answer")
    (entry, *_) = audit_entries(site.database, AuditSearch(what="question"), 10)
    assert (entry.deed.who, entry.deed.facts["query"]) == ("reader", "SELECT 40 + 2 AS answer")


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("DELETE FROM study", "may only read"),
        ("UPDATE account SET role = 'admin'", "may only read"),
        ("ATTACH 'other.sqlite' AS other", "may only read"),
        ("PRAGMA query_only=OFF", "may only read"),
        ("SELECT 1; DROP TABLE study", "one statement"),
        ("SELECT load_extension('x')", "load_extension"),
        ("SELECT password_hash FROM account", "closed to questions"),
        ("SELECT * FROM web_session", "closed to questions"),
        ("SELECT * FROM api_token", "closed to questions"),
        ("SELECT dose FROM study", "no such column"),
        (ENDLESS.format("max(i)"), "took too long"),
        (ENDLESS.format("group_concat(hex(i), 'xxxxxxxxxxxxxxxx')"), "stopped"),
        (GROWING, "too big"),
    ],
)
def test_what_is_hostile_is_refused_in_words(reader: TestClient, query: str, why: str) -> None:
    page = ask(reader, query)
    assert 'role="alert"' in page
    assert why in page.split('role="alert">')[1].split("<")[0]


def test_what_peers_sent_is_shown_and_never_run(site: Site, reader: TestClient) -> None:
    land(site.database, ["1.2.1.1.1"])
    (landed,) = landed_instances(site.database, 10)
    sent = header("1.2.1.1.1")
    values = {**sent.study_values, "StudyDescription": (HOSTILE_TEXT,)}
    sent = replace(sent, study_values=values)
    index_instances(site.database, [Indexed(landed=landed, header=sent)], [], NOON)
    page = ask(reader, "SELECT description FROM study")
    assert "&lt;script&gt;alert(1)" in page
    assert HOSTILE_TEXT not in page
    assert HOSTILE_TEXT not in ask(reader, f"SELECT '{HOSTILE_TEXT}' AS x, dose FROM study")


def test_an_answer_that_is_long_is_cut_off_on_the_page(reader: TestClient) -> None:
    page = ask(reader, ENDLESS.format("i"))
    assert f"only the first {answering.ROWS_SHOWN} are shown" in page
    assert page.count('<td class="number">') == answering.ROWS_SHOWN


def test_a_saved_question_takes_parameters_and_can_be_bookmarked(
    site: Site, reader: TestClient
) -> None:
    finished_job(site.database)
    page = reader.get("/sql/saved/findings?run=true&p_name=left").text
    assert "<td>left lung</td>" in page
    assert 'value="left"' in page
    assert "left lung" not in reader.get("/sql/saved/findings?run=true&p_name=spleen").text
    wrong = reader.get("/sql/saved/findings?run=true&p_least_score=much")
    assert (wrong.status_code, "is no number" in wrong.text) == (422, True)
    assert reader.get("/sql/saved/none").status_code == 404


def test_a_download_has_every_row(reader: TestClient) -> None:
    query = ENDLESS.format("i, '=1+' || i AS text, NULL AS empty") + " LIMIT 20000"
    values = {**form(reader, "/sql"), "query": query}
    answer = reader.post("/sql/download", data={**values, "kind": "csv"})
    assert answer.headers["content-disposition"] == 'attachment; filename="answer.csv"'
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert (rows[0], len(rows)) == (["i", "text", "empty"], 20001)
    assert rows[-1] == ["20000", "'=1+20000", ""], "a spreadsheet must not run it"
    objects = json.loads(reader.post("/sql/download", data={**values, "kind": "json"}).text)
    assert objects[-1] == {"i": 20000, "text": "=1+20000", "empty": None}
    assert len(objects) == 20000
    assert reader.get("/sql/saved/findings/json").json() == []


def test_half_an_answer_is_never_a_whole_file(tmp_path: Path) -> None:
    site = Site(tmp_path, Settings(sql=SqlSettings(time_limit_s=0.05)))
    reader = site.logged_in(Role.READER)
    values = {**form(reader, "/sql"), "query": ENDLESS.format("i"), "kind": "csv"}
    with pytest.raises(BrokenOff), reader.stream("POST", "/sql/download", data=values) as got:
        got.read()
    site.database.dispose()


def test_a_download_that_is_refused_is_refused_before_it_begins(reader: TestClient) -> None:
    values = {**form(reader, "/sql"), "query": "DELETE FROM study", "kind": "csv"}
    answer = reader.post("/sql/download", data=values)
    assert answer.status_code == 422
    assert "may only read" in answer.text
