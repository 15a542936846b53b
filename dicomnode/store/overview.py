"""The node at a glance: how much stands where, and what needs a person."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVarTuple

from sqlalchemy import ColumnElement, Connection, Select, func, select

from dicomnode.domain.disk import lack_of_room
from dicomnode.domain.jobs import JobState
from dicomnode.domain.results import DeliveryState
from dicomnode.store.database import Database
from dicomnode.store.deliveries import needs_sending
from dicomnode.store.rule_versions import refused_rules
from dicomnode.store.tables import (
    DeliveryRow,
    EventRow,
    InstanceRow,
    JobRow,
    QuarantineRow,
    QueuePauseRow,
    RefusedReportRow,
    RevisionRow,
    StudyRow,
)

Columns = TypeVarTuple("Columns")

# What should take seconds is worth a look after this long.
SLOW = timedelta(minutes=2)
# A busy device may keep a job waiting; no worker at all must be noticed.
LONG_QUEUE = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One thing that a person should look at."""

    what: str
    """disk, job, delivery, quarantine, refused report, rules, study, instance or queue."""
    id: str
    """What to name in a command: job id, study UID, quarantine number; of a disk, the folder."""
    since: datetime
    reason: str
    study_uid: str = ""
    """The study it belongs to, where that is known."""
    accession_number: str = ""
    """Of that study, where it has one."""
    destination: str = ""
    """Of a delivery."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Counts by state, and the list of trouble."""

    instances: dict[str, int]
    studies: int
    open_studies: int
    jobs: dict[str, int]
    deliveries: dict[str, int]
    trouble: tuple[Trouble, ...]
    shown_of_a_kind: int | None = None
    """Set where a kind of trouble has more than is listed: so many of it are, the oldest."""


def is_reachable(database: Database) -> None:
    """Ask the index for nothing.

    Raises:
        StoreUnavailable: it does not answer.
    """
    with database.reading() as connection:
        connection.execute(select(1))


def overview(
    database: Database, now: datetime, *, reserve_mb: int = 0, limit: int = 200
) -> Overview:
    """Read it in one transaction; at most `limit` troubles of each kind, oldest first.

    With less than `reserve_mb` free on the data folder no image is received.
    """
    with database.reading() as connection:
        # One more than is shown, to know that there are more.
        kinds = (
            _full_disk(database, reserve_mb, now),
            _paused(connection),
            _refused_rules(connection),
            *_of_studies(connection, now, limit + 1),
            _quarantined(connection, limit + 1),
            _unindexed(connection, now, limit + 1),
            _refused_reports(connection, limit + 1),
        )
        return Overview(
            instances=_counts(connection, InstanceRow.state),
            studies=connection.scalar(select(func.count()).select_from(StudyRow)) or 0,
            open_studies=connection.scalar(
                select(func.count()).select_from(StudyRow).where(StudyRow.new_instances > 0)
            )
            or 0,
            jobs=_counts(connection, JobRow.state),
            deliveries=_counts(connection, DeliveryRow.state),
            trouble=tuple(one for kind in kinds for one in kind[:limit]),
            shown_of_a_kind=limit if any(len(kind) > limit for kind in kinds) else None,
        )


def study_troubles(
    connection: Connection, now: datetime, limit: int, among: Collection[str] | None = None
) -> tuple[Trouble, ...]:
    """What is stuck in studies, oldest first; `among`: only in these."""
    return tuple(one for kind in _of_studies(connection, now, limit, among) for one in kind)


def _of_studies(
    connection: Connection, now: datetime, limit: int, among: Collection[str] | None = None
) -> tuple[list[Trouble], ...]:
    kinds = (
        _ended_jobs(connection, limit, among),
        _late_jobs(connection, now, limit, among),
        _untaken_jobs(connection, now, limit, among),
        _deliveries(connection, limit, among),
        _unmatched(connection, now, limit, among),
    )
    studies = {one.study_uid for kind in kinds for one in kind}
    query = select(StudyRow.study_uid, StudyRow.accession_number)
    found = connection.execute(query.where(StudyRow.study_uid.in_(studies))) if studies else ()
    accessions = {row.study_uid: row.accession_number for row in found}
    return tuple(
        [replace(one, accession_number=accessions.get(one.study_uid, "")) for one in kind]
        for kind in kinds
    )


def _only(query: Select[*Columns], among: Collection[str] | None, column: Any) -> Select[*Columns]:
    return query if among is None else query.where(column.in_(among))


def _counts(connection: Connection, state: object) -> dict[str, int]:
    query = select(state, func.count()).group_by(state)  # type: ignore[call-overload]
    return {name: count for name, count in connection.execute(query)}  # noqa: C416 (rows)


def _full_disk(database: Database, reserve_mb: int, now: datetime) -> list[Trouble]:
    """Asked of the disk itself: where it is full, the index says nothing new."""
    if not database.path_root.is_dir():
        # A command on another machine, which sees the index alone.
        return []
    lack = lack_of_room(database.path_root, reserve_mb)
    if not lack:
        return []
    reason = f"{lack}: every image is refused until there is room; jobs and deliveries may wait too"
    return [Trouble(what="disk", id=str(database.path_root), since=now, reason=reason)]


def _paused(connection: Connection) -> list[Trouble]:
    """A halt that somebody forgot would look like slow work."""
    return [
        Trouble(
            what="queue",
            id=row.queue,
            since=row.since,
            reason=f"paused by {row.by}{': ' if row.reason else ''}{row.reason}",
        )
        for row in connection.execute(select(QueuePauseRow))
    ]


def _refused_rules(connection: Connection) -> list[Trouble]:
    """An edit that changed nothing would look as if it had."""
    told = refused_rules(connection)
    if told is None:
        return []
    reason = f"the rule file cannot be used, the last good rules hold on: {told.facts['reason']}"
    return [Trouble(what="rules", id=str(told.facts["digest"])[:12], since=told.at, reason=reason)]


def _ended_jobs(connection: Connection, limit: int, among: Collection[str] | None) -> list[Trouble]:
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
            study_uid=row.study_uid,
            since=row.finished_at,
            reason=f"{row.algorithm} {row.state}: {row.error}: {row.reason}",
        )
        for row in connection.execute(_only(query, among, JobRow.study_uid))
    ]


def _late_jobs(
    connection: Connection, now: datetime, limit: int, among: Collection[str] | None
) -> list[Trouble]:
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
            study_uid=row.study_uid,
            since=row.deadline_at,
            reason=f"{row.algorithm} is still running past its time limit",
        )
        for row in connection.execute(_only(query, among, JobRow.study_uid))
    ]


def _untaken_jobs(
    connection: Connection, now: datetime, limit: int, among: Collection[str] | None
) -> list[Trouble]:
    """Queued for long, counted from when they were queued last (matched, retried or rerun)."""
    queued_at = (
        select(func.max(EventRow.at))
        .where(EventRow.study_uid == JobRow.study_uid, EventRow.job_id == JobRow.id)
        .scalar_subquery()
    )
    query = (
        select(JobRow.id, JobRow.algorithm, JobRow.study_uid, queued_at.label("since"))
        .where(JobRow.state == JobState.QUEUED.value, queued_at < now - LONG_QUEUE)
        .order_by(JobRow.created_at)
        .limit(limit)
    )
    return [
        Trouble(
            what="job",
            id=row.id,
            study_uid=row.study_uid,
            since=row.since,
            reason=f"{row.algorithm} waits for a worker; is one running?",
        )
        for row in connection.execute(_only(query, among, JobRow.study_uid))
    ]


def in_trouble() -> ColumnElement[bool]:
    """Holds for deliveries that a person should look at."""
    return needs_sending() | (
        (DeliveryRow.state == DeliveryState.WAITING.value) & (DeliveryRow.attempt > 0)
    )


def _deliveries(connection: Connection, limit: int, among: Collection[str] | None) -> list[Trouble]:
    query = (
        select(DeliveryRow, JobRow.study_uid)
        .join(JobRow, JobRow.id == DeliveryRow.job_id)
        .where(in_trouble())
        .order_by(DeliveryRow.created_at)
        .limit(limit)
    )
    return [
        Trouble(
            what="delivery",
            id=row.job_id,
            study_uid=row.study_uid,
            destination=row.destination,
            since=row.created_at,
            reason=f"to {row.destination}: {row.state}, try {row.attempt}: {row.reason}",
        )
        for row in connection.execute(_only(query, among, JobRow.study_uid))
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


def _refused_reports(connection: Connection, limit: int) -> list[Trouble]:
    query = (
        select(RefusedReportRow)
        .where(RefusedReportRow.ended_at.is_(None))
        .order_by(RefusedReportRow.last_at)
        .limit(limit)
    )
    return [
        Trouble(
            what="refused report",
            id=str(row.id),
            since=row.first_at,
            reason=f"{row.source}: {row.reason} ({row.path})",
        )
        for row in connection.execute(query)
    ]


def _unindexed(connection: Connection, now: datetime, limit: int) -> list[Trouble]:
    """Landed but not indexed for longer than that ever takes."""
    landed = (
        select(InstanceRow.sop_instance_uid, InstanceRow.received_at)
        .where(InstanceRow.state == "landed", InstanceRow.received_at < now - SLOW)
        .order_by(InstanceRow.received_at)
        .limit(limit)
    )
    return [
        Trouble(what="instance", id=uid, since=since, reason="received but not indexed yet")
        for uid, since in connection.execute(landed)
    ]


def _unmatched(
    connection: Connection, now: datetime, limit: int, among: Collection[str] | None
) -> list[Trouble]:
    """Closed but not matched for longer than that ever takes."""
    closed = (
        select(RevisionRow.study_uid, RevisionRow.closed_at)
        .where(RevisionRow.matched_at.is_(None), RevisionRow.closed_at < now - SLOW)
        .order_by(RevisionRow.closed_at)
        .limit(limit)
    )
    return [
        Trouble(
            what="study", id=uid, study_uid=uid, since=since, reason="closed but not matched yet"
        )
        for uid, since in connection.execute(_only(closed, among, RevisionRow.study_uid))
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyLine:
    """One study in a list."""

    study_uid: str
    study_date: str
    accession_number: str
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
                accession_number=row.accession_number,
                description=row.description,
                received_at=row.received_at,
                instances=row.instance_count,
                revision=row.revision,
                is_open=row.new_instances > 0,
            )
            for row in connection.execute(query)
        )
