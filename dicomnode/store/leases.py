"""Who may do the work of the flow: each process holds a lease, and loses it by silence.

A lease is the name of a process and a number. The number goes up when the process starts, when it
is lost and when it comes back, so that whatever it still does under an earlier number is told from
its own new work. What it writes is checked against the number in the same transaction (`hold`):
a process that was stopped and wakes up changes nothing any more.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, text, update

from dicomnode.domain.errors import TakenOver
from dicomnode.domain.events import Event, EventName, FactValue
from dicomnode.domain.identifiers import JobId, StudyUid
from dicomnode.domain.jobs import JobState
from dicomnode.store.database import Database
from dicomnode.store.events import write_events
from dicomnode.store.tables import JobRow, WorkerRow
from dicomnode.store.upsert import insert_new

# A stopped process keeps its locks, and so its lease, no longer than this in the middle of a write.
_LONGEST_PAUSE_MS = 10_000
_WAIT_FOR_LOCK_MS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right of one process to record work, until it is lost."""

    worker: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """When a process that should live was heard of last, by its own clock."""

    lease: Lease
    seen_at: datetime


def join(
    database: Database,
    name: str,
    devices: Sequence[str],
    now: datetime,
    *,
    is_part_of_node: bool = False,
) -> Lease:
    """A process has started; what was asked of an earlier one of this name is forgotten."""
    values = {
        "devices": list(devices),
        "is_part_of_node": is_part_of_node,
        "started_at": now,
        "seen_at": now,
        "left_at": None,
        "lost_at": None,
        "drain_asked_at": None,
    }
    with database.writing() as connection:
        insert_new(connection, WorkerRow, [{"name": name, "epoch": 0, **values}])
        return _next(connection, name, values)


def rejoin(database: Database, name: str, now: datetime) -> Lease:
    """A process that was lost goes on, with new work."""
    with database.writing() as connection:
        lease = _next(connection, name, {"seen_at": now, "lost_at": None, "left_at": None})
        write_events(connection, [Event(name=EventName.WORKER_BACK, facts={"worker": name})], now)
        return lease


def _next(connection: Connection, name: str, values: dict[str, object]) -> Lease:
    epoch = connection.execute(
        update(WorkerRow)
        .where(WorkerRow.name == name)
        .values(epoch=WorkerRow.epoch + 1, **values)
        .returning(WorkerRow.epoch)
    ).scalar_one()
    return Lease(worker=name, epoch=epoch)


def beat(database: Database, lease: Lease, now: datetime) -> None:
    """A process lives.

    Raises:
        TakenOver: its lease was lost.
    """
    with database.writing() as connection:
        mine = connection.execute(
            update(WorkerRow)
            .where(
                WorkerRow.name == lease.worker,
                WorkerRow.epoch == lease.epoch,
                WorkerRow.lost_at.is_(None),
            )
            .values(seen_at=now)
        ).rowcount
    if not mine:
        raise TakenOver(f"{lease.worker} was silent for too long")


def leave(database: Database, lease: Lease, now: datetime) -> None:
    """A process ends in good order; what it leaves unfinished is for the others at once."""
    with database.writing() as connection:
        connection.execute(
            update(WorkerRow)
            .where(WorkerRow.name == lease.worker, WorkerRow.epoch == lease.epoch)
            .values(left_at=now)
        )


def hold(connection: Connection, lease: Lease) -> None:
    """Make sure that a lease is in force, and stays so until this transaction ends.

    Raises:
        TakenOver: it was lost.
    """
    if connection.dialect.name == "postgresql":
        limit = f"SET LOCAL idle_in_transaction_session_timeout = {_LONGEST_PAUSE_MS}"
        connection.execute(text(limit))
    query = select(WorkerRow.epoch).where(
        WorkerRow.name == lease.worker, WorkerRow.lost_at.is_(None), WorkerRow.left_at.is_(None)
    )
    if connection.scalar(query.with_for_update(read=True)) != lease.epoch:
        raise TakenOver(f"{lease.worker} was silent for too long; others have its work")


def hold_job(connection: Connection, lease: Lease, job: JobId) -> None:
    """Make sure that a job runs under a lease, and does until this transaction ends.

    Raises:
        TakenOver: it does not, or not any more.
    """
    hold(connection, lease)
    query = select(JobRow.worker).where(JobRow.id == job, JobRow.state == JobState.RUNNING.value)
    if connection.scalar(query.with_for_update(read=True)) != lease.worker:
        raise TakenOver(f"job {job} does not run on {lease.worker}")


def heartbeats(database: Database) -> tuple[Heartbeat, ...]:
    """Of every process that should live."""
    query = select(WorkerRow.name, WorkerRow.epoch, WorkerRow.seen_at).where(
        WorkerRow.left_at.is_(None), WorkerRow.lost_at.is_(None)
    )
    with database.reading() as connection:
        return tuple(
            Heartbeat(lease=Lease(worker=row.name, epoch=row.epoch), seen_at=row.seen_at)
            for row in connection.execute(query)
        )


def living(database: Database) -> frozenset[str]:
    """Names of the processes that hold a lease."""
    return frozenset(beat.lease.worker for beat in heartbeats(database))


def lose(database: Database, silent: Heartbeat, now: datetime, *, silent_s: float) -> bool:
    """End the lease of a process that was not heard of; False if it was, after all.

    Raises:
        StoreUnavailable: it is in the middle of a write; the database ends that soon.
    """
    with database.writing() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SET LOCAL lock_timeout = {_WAIT_FOR_LOCK_MS}"))
        lost = connection.execute(
            update(WorkerRow)
            .where(
                WorkerRow.name == silent.lease.worker,
                WorkerRow.epoch == silent.lease.epoch,
                WorkerRow.seen_at == silent.seen_at,
                WorkerRow.left_at.is_(None),
                WorkerRow.lost_at.is_(None),
            )
            .values(lost_at=now, epoch=WorkerRow.epoch + 1)
        ).rowcount
        if lost:
            facts: dict[str, FactValue] = {
                "worker": silent.lease.worker,
                "silent_s": round(silent_s, 1),
            }
            write_events(connection, [Event(name=EventName.WORKER_LOST, facts=facts)], now)
        return bool(lost)


def tell_taken_over(database: Database, jobs: Collection[JobId], now: datetime, *, by: str) -> None:
    """Write down which jobs wait for another worker."""
    with database.writing() as connection:
        rows = connection.execute(
            select(JobRow.id, JobRow.study_uid, JobRow.worker).where(JobRow.id.in_(jobs))
        ).all()
        events = [
            Event(
                name=EventName.JOB_TAKEN_OVER,
                study_uid=StudyUid(row.study_uid),
                job_id=JobId(row.id),
                facts={"from": row.worker or "", "seen_by": by},
            )
            for row in rows
        ]
        write_events(connection, events, now)
