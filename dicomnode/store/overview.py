"""The node at a glance: how much stands where, and what needs a person."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select

from dicomnode.domain.jobs import JobState
from dicomnode.domain.results import DeliveryState
from dicomnode.store.database import Database
from dicomnode.store.tables import (
    DeliveryRow,
    EventRow,
    InstanceRow,
    JobRow,
    QuarantineRow,
    RevisionRow,
    StudyRow,
)

# What should take seconds is worth a look after this long.
SLOW = timedelta(minutes=2)
# A busy device may keep a job waiting; no worker at all must be noticed.
LONG_QUEUE = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One thing that a person should look at."""

    what: str
    """job, delivery, quarantine, study or instance."""
    id: str
    """What to name in a command: job id, study UID, quarantine number."""
    since: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Counts by state, and the list of trouble."""

    instances: dict[str, int]
    studies: int
    open_studies: int
    jobs: dict[str, int]
    deliveries: dict[str, int]
    trouble: tuple[Trouble, ...]


def is_reachable(database: Database) -> None:
    """Ask the index for nothing.

    Raises:
        StoreUnavailable: it does not answer.
    """
    with database.reading() as connection:
        connection.execute(select(1))


def overview(database: Database, now: datetime, *, limit: int = 200) -> Overview:
    """Read it in one transaction; at most `limit` troubles of each kind, oldest first."""
    with database.reading() as connection:
        return Overview(
            instances=_counts(connection, InstanceRow.state),
            studies=connection.scalar(select(func.count()).select_from(StudyRow)) or 0,
            open_studies=connection.scalar(
                select(func.count()).select_from(StudyRow).where(StudyRow.new_instances > 0)
            )
            or 0,
            jobs=_counts(connection, JobRow.state),
            deliveries=_counts(connection, DeliveryRow.state),
            trouble=(
                *_ended_jobs(connection, limit),
                *_late_jobs(connection, now, limit),
                *_untaken_jobs(connection, now, limit),
                *_deliveries(connection, limit),
                *_quarantined(connection, limit),
                *_waiting(connection, now, limit),
            ),
        )


def _counts(connection: Connection, state: object) -> dict[str, int]:
    query = select(state, func.count()).group_by(state)  # type: ignore[call-overload]
    return {name: count for name, count in connection.execute(query)}  # noqa: C416 (rows)


def _ended_jobs(connection: Connection, limit: int) -> list[Trouble]:
    query = (
        select(JobRow)
        .where(JobRow.state.in_([JobState.FAILED.value, JobState.REFUSED.value]))
        .order_by(JobRow.finished_at)
        .limit(limit)
    )
    return [
        Trouble(
            what="job",
            id=row.id,
            since=row.finished_at,
            reason=f"{row.algorithm} {row.state}: {row.error}: {row.reason}",
        )
        for row in connection.execute(query)
    ]


def _late_jobs(connection: Connection, now: datetime, limit: int) -> list[Trouble]:
    query = (
        select(JobRow)
        .where(JobRow.state == JobState.RUNNING.value, JobRow.deadline_at < now)
        .order_by(JobRow.deadline_at)
        .limit(limit)
    )
    return [
        Trouble(
            what="job",
            id=row.id,
            since=row.deadline_at,
            reason=f"{row.algorithm} is still running past its time limit",
        )
        for row in connection.execute(query)
    ]


def _untaken_jobs(connection: Connection, now: datetime, limit: int) -> list[Trouble]:
    """Queued for long, counted from when they were queued last (matched, retried or rerun)."""
    queued_at = (
        select(func.max(EventRow.at))
        .where(EventRow.study_uid == JobRow.study_uid, EventRow.job_id == JobRow.id)
        .scalar_subquery()
    )
    query = (
        select(JobRow.id, JobRow.algorithm, queued_at.label("since"))
        .where(JobRow.state == JobState.QUEUED.value, queued_at < now - LONG_QUEUE)
        .order_by(JobRow.created_at)
        .limit(limit)
    )
    return [
        Trouble(
            what="job",
            id=row.id,
            since=row.since,
            reason=f"{row.algorithm} waits for a worker; is one running?",
        )
        for row in connection.execute(query)
    ]


def _deliveries(connection: Connection, limit: int) -> list[Trouble]:
    troubled = [DeliveryState.REFUSED.value, DeliveryState.GIVEN_UP.value]
    query = (
        select(DeliveryRow)
        .where(
            DeliveryRow.state.in_(troubled)
            | ((DeliveryRow.state == DeliveryState.WAITING.value) & (DeliveryRow.attempt > 0))
            | (
                (DeliveryRow.state == DeliveryState.SENT_UNCONFIRMED.value)
                & DeliveryRow.reason.startswith("sent, unconfirmed")
            )
        )
        .order_by(DeliveryRow.created_at)
        .limit(limit)
    )
    return [
        Trouble(
            what="delivery",
            id=row.job_id,
            since=row.created_at,
            reason=f"to {row.destination}: {row.state}, try {row.attempt}: {row.reason}",
        )
        for row in connection.execute(query)
    ]


def _quarantined(connection: Connection, limit: int) -> list[Trouble]:
    query = (
        select(QuarantineRow)
        .where(QuarantineRow.dismissed_at.is_(None))
        .order_by(QuarantineRow.at)
        .limit(limit)
    )
    return [
        Trouble(
            what="quarantine",
            id=str(row.id),
            since=row.at,
            reason=f"{row.kind}: {row.reason} ({row.path})",
        )
        for row in connection.execute(query)
    ]


def _waiting(connection: Connection, now: datetime, limit: int) -> list[Trouble]:
    """Landed but not indexed, or closed but not matched, for longer than that ever takes."""
    landed = (
        select(InstanceRow.sop_instance_uid, InstanceRow.received_at)
        .where(InstanceRow.state == "landed", InstanceRow.received_at < now - SLOW)
        .order_by(InstanceRow.received_at)
        .limit(limit)
    )
    closed = (
        select(RevisionRow.study_uid, RevisionRow.closed_at)
        .where(RevisionRow.matched_at.is_(None), RevisionRow.closed_at < now - SLOW)
        .order_by(RevisionRow.closed_at)
        .limit(limit)
    )
    return [
        *(
            Trouble(what="instance", id=uid, since=since, reason="received but not indexed yet")
            for uid, since in connection.execute(landed)
        ),
        *(
            Trouble(what="study", id=uid, since=since, reason="closed but not matched yet")
            for uid, since in connection.execute(closed)
        ),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyLine:
    """One study in a list."""

    study_uid: str
    study_date: str
    description: str
    received_at: datetime
    instances: int
    revision: int
    is_open: bool


def latest_studies(database: Database, limit: int) -> tuple[StudyLine, ...]:
    """The studies received last, newest first."""
    query = select(StudyRow).order_by(StudyRow.received_at.desc()).limit(limit)
    with database.reading() as connection:
        return tuple(
            StudyLine(
                study_uid=row.study_uid,
                study_date=row.study_date,
                description=row.description,
                received_at=row.received_at,
                instances=row.instance_count,
                revision=row.revision,
                is_open=row.new_instances > 0,
            )
            for row in connection.execute(query)
        )
