"""Transactions that change the same rows take them in one order, so that none deadlocks.

On PostgreSQL only: SQLite has one writer at a time.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, select, text, update
from sqlalchemy.exc import OperationalError

from dicomnode.store.database import Database
from dicomnode.store.indexing import index_instances
from dicomnode.store.readings import put_in_force
from dicomnode.store.report_matching import match_new_studies
from dicomnode.store.tables import ReportRow, StudyRow
from tests.contract.store_scenes import NOON, at, land, receive, waiting
from tests.contract.test_store_reports import incoming, keep, mine

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]

LOW, HIGH = "1.2.1", "1.2.2"


def seek(database: Database) -> None:
    match_new_studies(database, 100, NOON)


def index_new_series(database: Database) -> None:
    index_instances(database, waiting(database), [], at(1))


def _wait_until_one_waits(database: Database) -> None:
    waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    for _ in range(600):
        with database.reading() as connection:
            if connection.scalar(waits):
                return
        time.sleep(0.05)
    raise AssertionError("nobody waits")


@pytest.mark.parametrize("action", [seek, index_new_series])
def test_who_waits_for_a_study_holds_none_behind_it(
    postgresql_index: Database, action: Callable[[Database], None]
) -> None:
    database = postgresql_index
    # The higher one lies first in the table, where a plain UPDATE would take it first.
    receive(database, [f"{HIGH}.1.1", f"{LOW}.1.1"])
    land(database, [f"{HIGH}.2.1", f"{LOW}.2.1"], association="a2")
    with ThreadPoolExecutor(1) as pool:
        with database.writing() as holder:
            _lock(holder, LOW)
            running = pool.submit(action, database)
            _wait_until_one_waits(database)
            with database.writing() as other:
                try:
                    _lock(other, HIGH)
                except OperationalError:
                    other.rollback()
                    raise AssertionError("it holds the study behind the one it waits for") from None
        running.result(timeout=60)


def _lock(connection: Connection, uid: str) -> None:
    query = select(StudyRow.study_uid).where(StudyRow.study_uid == uid)
    # As an UPDATE does: rows that refer to the study may be added.
    connection.execute(query.with_for_update(nowait=True, key_share=True)).one()


def test_a_series_that_comes_while_reports_are_sought_has_them_sought_again(
    postgresql_index: Database,
) -> None:
    database = postgresql_index
    receive(database, [f"{LOW}.1.1"])
    land(database, [f"{LOW}.2.1"], association="a2")
    with ThreadPoolExecutor(2) as pool:
        with database.writing() as holder:
            _lock(holder, LOW)
            seeking = pool.submit(seek, database)
            _wait_until_one_waits(database)
            indexing = pool.submit(index_new_series, database)
        seeking.result(timeout=60)
        indexing.result(timeout=60)
    with database.reading() as connection:
        query = select(StudyRow.reports_sought_at).where(StudyRow.study_uid == LOW)
        assert connection.scalar(query) is None


def test_a_version_takes_its_turn_before_it_takes_reports(postgresql_index: Database) -> None:
    database = postgresql_index
    keep(database, incoming())
    version = mine(database, in_force=False)
    with ThreadPoolExecutor(1) as pool:
        with database.writing() as holder:
            holder.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": 0x64636E6F})
            running = pool.submit(put_in_force, database, version)
            _wait_until_one_waits(database)
            holder.execute(update(ReportRow).values(match_note="changed by who has the turn"))
        running.result(timeout=60)
