"""The same thing done by several at once, on both databases."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

from sqlalchemy import func, select

from dicomnode.domain.events import EventName
from dicomnode.domain.studies import ClosingReason
from dicomnode.store.closing import close_study, held_instances, open_studies, unmatched_revisions
from dicomnode.store.database import Database
from dicomnode.store.indexing import index_instances
from dicomnode.store.jobs import start_job
from dicomnode.store.outcomes import record_outcome
from dicomnode.store.tables import EventRow, FindingRow, JobRow
from tests.contract.store_scenes import (
    SERIES,
    at,
    land,
    match_lungs,
    only_open_study,
    outcome_of,
    receive,
    received_revision,
    running_job,
    uids,
    waiting,
)

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]

R = TypeVar("R")


def at_once(*actions: Callable[[], R]) -> list[R]:
    """Begin all of them at one moment; their results in order."""
    barrier = Barrier(len(actions))

    def begin(action: Callable[[], R]) -> R:
        barrier.wait(timeout=30)
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(begin, actions))


def events(database: Database, name: EventName) -> int:
    with database.reading() as connection:
        query = select(func.count()).select_from(EventRow).where(EventRow.name == name.value)
        return connection.scalar(query) or 0


def test_closing_at_once_makes_one_revision(database: Database) -> None:
    receive(database, uids(SERIES, range(1, 5)))
    seen = only_open_study(database)
    made = at_once(
        *[lambda: close_study(database, seen, ClosingReason.QUIET, at(60)) for _ in range(4)]
    )
    assert [one for one in made if one is not None] == list(unmatched_revisions(database))
    assert events(database, EventName.STUDY_CLOSED) == 1


def test_matching_at_once_makes_one_job_and_tells_of_it_once(database: Database) -> None:
    revision = received_revision(database)
    at_once(*[lambda: match_lungs(database, revision) for _ in range(4)])
    with database.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(JobRow)) == 1
    assert events(database, EventName.STUDY_MATCHED) == 1
    assert events(database, EventName.JOB_QUEUED) == 1


def test_recording_at_once_keeps_findings_once(database: Database) -> None:
    job = running_job(database)
    outcome = outcome_of(database, job)
    assert all(at_once(*[lambda: record_outcome(database, job, outcome, at(5)) for _ in range(4)]))
    with database.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(FindingRow)) == 1
    assert not start_job(database, job.id, deadline=at(900), now=at(6))


def test_an_image_indexed_while_its_study_closes_is_in_this_revision_or_open(
    database: Database,
) -> None:
    for round_number in range(5):
        series = f"1.2.{10 + round_number}.1"
        receive(database, uids(series, [1, 2]), association=f"a{round_number}")
        (seen,) = [one for one in open_studies(database) if series.startswith(one.study_uid)]
        land(database, uids(series, [3]), association=f"b{round_number}", moment=at(1))
        late = waiting(database)
        closed, _ = at_once(
            lambda seen=seen: close_study(database, seen, ClosingReason.QUIET, at(2)),  # type: ignore[misc]
            lambda late=late: index_instances(database, late, [], at(2)),  # type: ignore[misc]
        )
        left = [one for one in open_studies(database) if one.study_uid == seen.study_uid]
        if closed is None:
            assert [one.evidence.new_instances for one in left] == [3]
        else:
            assert len(held_instances(database, closed, late[0].header.series_uid)) == 2
            assert [one.evidence.new_instances for one in left] == [1]
            assert left[0].evidence.first_new_at == at(1)
