"""An index moves to another database whole, or not at all; a copy can be taken while it is used."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text

from dicomnode.domain.errors import ConfigError
from dicomnode.domain.events import Event, EventName
from dicomnode.store.copying import backup_sqlite, copy_index
from dicomnode.store.database import Database
from dicomnode.store.events import log_event
from dicomnode.store.schema import upgrade
from dicomnode.store.tables import Base, EventRow
from dicomnode.testing.postgresql import RunningPostgresql
from dicomnode.testing.studies import StudyIdentity, radiograph
from tests.contract.archive_scenes import NOON, Archive
from tests.contract.store_scenes import finished_job

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Database]:
    """A SQLite index with studies, a finished job and a report."""
    database = Database(f"sqlite:///{tmp_path}/source.sqlite", tmp_path)
    upgrade(database)
    finished_job(database)
    archive = Archive(database=database, deliveries=9)
    identity = StudyIdentity(seed="copied", patient_name="Müller^Jörg=山田^太郎")
    archive.take([radiograph(identity)])
    archive.report(identity.study_uid, "Small left effusion of 12 mm (series 1, image 1).")
    yield database
    database.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/target.sqlite"
    else:
        server: RunningPostgresql = request.getfixturevalue("postgresql_server")
        url = server.new_database()
    database = Database(url, tmp_path)
    yield database
    database.dispose()


def rows(database: Database) -> dict[str, int]:
    with database.reading() as connection:
        return {
            table.name: connection.scalar(text(f'SELECT count(*) FROM "{table.name}"')) or 0
            for table in Base.metadata.sorted_tables
        }


def numbers(database: Database) -> list[int]:
    with database.reading() as connection:
        return list(connection.scalars(select(EventRow.id).order_by(EventRow.id)))


def found(database: Database, word: str) -> int:
    """Texts that the full-text search finds."""
    query = "SELECT count(*) FROM report_search WHERE "
    query += (
        "report_search MATCH :word"
        if database.is_sqlite
        else "words @@ plainto_tsquery('english', :word)"
    )
    with database.reading() as connection:
        return connection.scalar(text(query), {"word": word}) or 0


def test_every_row_arrives_and_the_copy_goes_on_counting(
    source: Database, target: Database
) -> None:
    copied = copy_index(source, target)
    assert copied == rows(source) == rows(target)
    assert copied["study"] == 2
    assert copied["report_label"] > 0
    assert found(target, "effusion") == found(source, "effusion") == 1
    last = numbers(target)
    log_event(target, Event(name=EventName.NODE_STARTED), NOON)
    assert numbers(target) == [*last, last[-1] + 1]


def test_a_target_that_holds_something_is_left_alone(source: Database, target: Database) -> None:
    upgrade(target)
    log_event(target, Event(name=EventName.NODE_STARTED), NOON)
    before = rows(target)
    with pytest.raises(ConfigError, match="not empty: event"):
        copy_index(source, target)
    assert rows(target) == before


def test_a_fault_half_way_leaves_the_target_as_empty_as_it_was(
    source: Database, target: Database
) -> None:
    class Stopped(Exception):
        pass

    def stop_in(table: str, _done: int) -> None:
        if table == "finding":
            raise Stopped

    with pytest.raises(Stopped):
        copy_index(source, target, stop_in)
    assert set(rows(target).values()) == {0}


def test_an_index_of_an_earlier_version_is_not_copied(source: Database, target: Database) -> None:
    with source.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    with pytest.raises(ConfigError, match="schema 0001"):
        copy_index(source, target)


def test_a_copy_is_taken_while_somebody_writes(source: Database, tmp_path: Path) -> None:
    out = tmp_path / "backup.sqlite"
    before = rows(source)
    with source.writing() as connection:
        connection.execute(text("DELETE FROM measurement"))
        backup_sqlite(source, out)
    copy = Database(f"sqlite:///{out}", tmp_path)
    assert rows(copy) == before
    copy.dispose()
    with pytest.raises(ConfigError, match="there already"):
        backup_sqlite(source, out)
