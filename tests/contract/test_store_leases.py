"""A process that was silent loses its work, and changes nothing more when it wakes; on both."""

from datetime import datetime
from functools import partial

import pytest

from dicomnode.domain.errors import StoreUnavailable, TakenOver
from dicomnode.domain.results import DeliveryState, Receipt
from dicomnode.store.database import Database
from dicomnode.store.deliveries import begin_try, outbox, record_receipt
from dicomnode.store.jobs import start_job
from dicomnode.store.leases import (
    Heartbeat,
    beat,
    heartbeats,
    hold,
    join,
    leave,
    living,
    lose,
    rejoin,
    tell_taken_over,
)
from dicomnode.store.outcomes import record_outcome
from dicomnode.store.unfinished import job_of_workflow, unfinished_jobs
from tests.contract.store_scenes import (
    at,
    finished_job,
    lung_match,
    match_lungs,
    outcome_of,
    queued_job,
    received_revision,
    running_job,
)

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]


def only(database: Database) -> Heartbeat:
    (found,) = heartbeats(database)
    return found


def names(database: Database) -> list[str]:
    with database.reading() as connection:
        return list(connection.exec_driver_sql("SELECT name FROM event ORDER BY id").scalars())


def test_whoever_is_silent_is_lost_once_and_whoever_spoke_is_not(database: Database) -> None:
    lease = join(database, "gpu1", ["cuda:0"], at(0))
    before = only(database)
    beat(database, lease, at(5))
    assert not lose(database, before, at(40), silent_s=35), "it spoke in the meantime"
    silent = only(database)
    assert lose(database, silent, at(40), silent_s=35)
    assert not lose(database, silent, at(41), silent_s=36), "another one was first"
    assert living(database) == frozenset()
    assert names(database) == ["worker.lost"]
    with pytest.raises(TakenOver):
        beat(database, lease, at(50))
    again = rejoin(database, "gpu1", at(51))
    beat(database, again, at(52))
    assert living(database) == {"gpu1"}
    assert names(database) == ["worker.lost", "worker.back"]


@pytest.mark.parametrize("how", ["lost", "back", "started again", "left"])
def test_what_a_process_did_under_an_earlier_lease_is_refused_in_its_own_commit(
    database: Database, how: str
) -> None:
    lease = join(database, "gpu1", ["cuda:0"], at(0))
    job = running_job(database)
    with database.guarded(partial(hold, lease=lease)):
        assert start_job(database, job.id, deadline=at(600), now=at(2)), "the lease is in force"
    if how == "started again":
        join(database, "gpu1", ["cuda:0"], at(40))
    elif how == "left":
        leave(database, lease, at(40))
    else:
        lose(database, only(database), at(40), silent_s=40)
    if how == "back":
        rejoin(database, "gpu1", at(41))
    with database.guarded(partial(hold, lease=lease)), pytest.raises(TakenOver):
        record_outcome(database, job, outcome_of(database, job), at(42))
    assert "job.succeeded" not in names(database)
    assert record_outcome(database, job, outcome_of(database, job), at(43)), "the guard is gone"


def test_a_woken_process_neither_sends_nor_records_that_it_sent(database: Database) -> None:
    lease = join(database, "node", [], at(0))
    job = finished_job(database)
    seg, sr = outbox(database, job.id, "pacs")
    receipt = Receipt(
        sop_instance_uid=seg.object.sop_instance_uid,
        destination="pacs",
        status=0,
        comment="",
        at=at(60),
    )
    with database.guarded(partial(hold, lease=lease)):
        assert begin_try(database, seg)
        lose(database, only(database), at(40), silent_s=40)
        with pytest.raises(TakenOver):
            record_receipt(database, seg, receipt, job)
        with pytest.raises(TakenOver):
            begin_try(database, sr)
    assert {item.state for item in outbox(database, job.id, "pacs")} == {DeliveryState.WAITING}


def test_of_two_that_read_the_outbox_at_once_one_sends(database: Database) -> None:
    job = finished_job(database)
    first, _ = outbox(database, job.id, "pacs")
    assert begin_try(database, first)
    assert not begin_try(database, first)
    again, _ = outbox(database, job.id, "pacs")
    assert (again.attempt, begin_try(database, again)) == (1, True)


def test_a_process_stopped_in_the_middle_of_a_write_keeps_its_lease_only_for_moments(
    database: Database,
) -> None:
    if database.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    lease = join(database, "gpu1", ["cuda:0"], at(0))
    silent = only(database)
    with database.writing() as connection:
        hold(connection, lease)
        limit = connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar_one()
        assert limit == "10s"
        with pytest.raises(StoreUnavailable):
            lose(database, silent, at(40), silent_s=40)
    assert lose(database, silent, at(50), silent_s=50)


def test_taken_over_jobs_are_written_down_by_name(database: Database) -> None:
    job = running_job(database)
    (waiting,) = unfinished_jobs(database)
    assert job_of_workflow(waiting.workflow_id) == job.id
    assert job_of_workflow("delivery:1:pacs:1.1") == ""
    tell_taken_over(database, [job.id], at(50), by="node")
    assert names(database)[-1] == "job.taken-over"


def many(database: Database, rule: str, count: int, moment: datetime) -> None:
    """Jobs of one rule: each on a study of its own would take long, so by other algorithms."""
    revision = received_revision(database) if rule == "first" else revision_of(database)
    for number in range(count):
        with database.writing() as connection:
            connection.exec_driver_sql("UPDATE revision SET matched_at = NULL")
        found = lung_match(rule_name=rule, algorithm=f"{rule}-{number:02}")
        match_lungs(database, revision, found, moment)


def revision_of(database: Database) -> int:
    with database.reading() as connection:
        return int(connection.exec_driver_sql("SELECT id FROM revision").scalar_one())


def test_a_rule_with_many_jobs_lets_the_others_take_their_turns(database: Database) -> None:
    many(database, "first", 4, at(1))
    many(database, "second", 2, at(2))
    with database.reading() as connection:
        order = list(
            connection.exec_driver_sql(
                "SELECT algorithm FROM job ORDER BY priority, turn, created_at"
            ).scalars()
        )
    assert order == ["first-00", "second-00", "first-01", "second-01", "first-02", "first-03"]
    assert [job.turn for job in unfinished_jobs(database)] == [0, 0, 1, 1, 2, 3]
    with database.writing() as connection:
        connection.exec_driver_sql("UPDATE job SET state = 'succeeded' WHERE turn < 3")
    many(database, "third", 1, at(3))
    assert [job.turn for job in unfinished_jobs(database)] == [3, 3], "not before what is served"


def test_urgent_jobs_come_before_any_turn_of_the_others(database: Database) -> None:
    queued_job(database)
    (waiting,) = unfinished_jobs(database)
    stat = waiting.__class__(id="x", run=1, attempt=1, priority=1, turn=10**9)
    high = waiting.__class__(id="x", run=1, attempt=1, priority=10, turn=0)
    low = waiting.__class__(id="x", run=1, attempt=1, priority=1000, turn=10**9)
    assert stat.place < high.place < waiting.place < low.place < 2**31
