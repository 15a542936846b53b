"""Workers, what they have in hand, and what a person asks of them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from dicomnode.domain.errors import StudyError
from dicomnode.domain.events import Event, EventName
from dicomnode.domain.jobs import JobState
from dicomnode.store.database import Database
from dicomnode.store.events import write_events
from dicomnode.store.jobs import UNFINISHED
from dicomnode.store.tables import JobRow, QueuePauseRow, StudyRow, WorkerRow
from dicomnode.store.upsert import insert_new

INFERENCE = "inference"
# Several heartbeats were missed.
LOST = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A queue that a person has halted."""

    since: datetime
    by: str
    reason: str


def inference_pause(database: Database) -> Pause | None:
    """Whether models are halted; None: they go on."""
    with database.reading() as connection:
        return _pause(connection)


def _pause(connection: Connection) -> Pause | None:
    query = select(QueuePauseRow).where(QueuePauseRow.queue == INFERENCE)
    row = connection.execute(query).one_or_none()
    return row and Pause(since=row.since, by=row.by, reason=row.reason)


def pause_inference(database: Database, *, by: str, reason: str, now: datetime) -> None:
    """Start no more models, on any worker; what runs goes on. May be repeated."""
    with database.writing() as connection:
        if _pause(connection) is None:
            values = {"queue": INFERENCE, "since": now, "by": by, "reason": reason}
            insert_new(connection, QueuePauseRow, [values])
            told = Event(name=EventName.QUEUE_PAUSED, facts={"queue": INFERENCE, "reason": reason})
            write_events(connection, [told], now)


def resume_inference(database: Database, now: datetime) -> None:
    """Let models go on. May be repeated."""
    with database.writing() as connection:
        resumed = connection.execute(
            delete(QueuePauseRow).where(QueuePauseRow.queue == INFERENCE)
        ).rowcount
        if resumed:
            told = Event(name=EventName.QUEUE_RESUMED, facts={"queue": INFERENCE})
            write_events(connection, [told], now)


def ask_to_drain(database: Database, name: str, now: datetime) -> None:
    """Have a worker finish what it has in hand, and end.

    Raises:
        StudyError: no worker of this name runs by itself.
    """
    with database.writing() as connection:
        asked = connection.execute(
            update(WorkerRow)
            .where(
                WorkerRow.name == name,
                WorkerRow.left_at.is_(None),
                WorkerRow.is_part_of_node.is_(False),
            )
            .values(drain_asked_at=now)
        ).rowcount
    if not asked:
        raise StudyError(f"no worker {name!r} runs by itself; pause the queue instead")


def is_to_drain(database: Database, name: str) -> bool:
    """True once a person asked this worker to end."""
    query = select(WorkerRow.drain_asked_at).where(WorkerRow.name == name)
    with database.reading() as connection:
        return connection.scalar(query) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerTold:
    """One worker."""

    name: str
    devices: tuple[str, ...]
    is_part_of_node: bool
    """It ends with the node, so it is not drained by itself."""
    started_at: datetime
    seen_at: datetime
    state: str
    """works, draining, lost or left."""
    jobs: int
    """Runs in hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedJob:
    """A job that waits or runs."""

    id: str
    study_uid: str
    study: str
    """Description of the study."""
    accession_number: str
    rule: str
    algorithm: str
    priority: int
    state: str
    attempt: int
    reason: str
    """Why it is tried again; empty at the first try."""
    waits_for: str
    """Why a worker that has it in hand has not started it; empty: none has it yet, or it runs."""
    created_at: datetime
    started_at: datetime | None
    deadline_at: datetime | None
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueTold:
    """What runs where, and what waits."""

    pause: Pause | None
    workers: tuple[WorkerTold, ...]
    running: tuple[QueuedJob, ...]
    waiting: tuple[QueuedJob, ...]
    """The next ones, in the order they are taken."""
    waiting_count: int


def queue_told(database: Database, now: datetime, *, limit: int = 100) -> QueueTold:
    """Read it in one transaction; at most `limit` jobs of each kind."""
    with database.reading() as connection:
        running = _jobs(connection, JobState.RUNNING, limit)
        return QueueTold(
            pause=_pause(connection),
            workers=_workers(connection, now),
            running=running,
            waiting=_jobs(connection, JobState.QUEUED, limit),
            waiting_count=connection.scalar(
                select(func.count()).where(JobRow.state == JobState.QUEUED.value)
            )
            or 0,
        )


def _workers(connection: Connection, now: datetime) -> tuple[WorkerTold, ...]:
    in_hand = (
        select(func.count())
        .where(JobRow.worker == WorkerRow.name, JobRow.state == JobState.RUNNING.value)
        .scalar_subquery()
    )
    query = select(WorkerRow, in_hand.label("jobs")).order_by(WorkerRow.name)
    return tuple(
        WorkerTold(
            name=row.name,
            devices=tuple(row.devices),
            is_part_of_node=row.is_part_of_node,
            started_at=row.started_at,
            seen_at=row.seen_at,
            state=_worker_state(row, now),
            jobs=row.jobs,
        )
        for row in connection.execute(query)
        # A node that leaves models to others holds a lease too.
        if row.devices
    )


def _worker_state(row: Any, now: datetime) -> str:
    if row.left_at is not None:
        return "left"
    if row.lost_at is not None or row.seen_at < now - LOST:
        return "lost"
    return "works" if row.drain_asked_at is None else "draining"


def _jobs(connection: Connection, state: JobState, limit: int) -> tuple[QueuedJob, ...]:
    assert state in UNFINISHED
    query = (
        select(JobRow, StudyRow.description.label("study"), StudyRow.accession_number)
        .join(StudyRow, StudyRow.study_uid == JobRow.study_uid)
        .where(JobRow.state == state.value)
        .order_by(JobRow.priority, JobRow.turn, JobRow.created_at)
        .limit(limit)
    )
    return tuple(_job(row) for row in connection.execute(query))


def _job(row: Any) -> QueuedJob:
    return QueuedJob(
        id=row.id,
        study_uid=row.study_uid,
        study=row.study,
        accession_number=row.accession_number,
        rule=row.rule_name,
        algorithm=row.algorithm,
        priority=row.priority,
        state=row.state,
        attempt=row.attempt,
        reason=row.reason,
        waits_for=row.waits_for,
        created_at=row.created_at,
        started_at=row.started_at,
        deadline_at=row.deadline_at,
        worker=row.worker or "",
    )
