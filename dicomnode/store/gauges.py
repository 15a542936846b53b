"""The node in numbers for monitoring: how much stands where, and how old the oldest of it is."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from sqlalchemy import ColumnElement, Connection, func, select
from sqlalchemy.orm import InstrumentedAttribute

from dicomnode.domain.incoming_reports import ReportStatus
from dicomnode.domain.jobs import JobState
from dicomnode.domain.results import DeliveryState
from dicomnode.store.database import Database
from dicomnode.store.rule_versions import refused_rules
from dicomnode.store.tables import (
    DeliveryRow,
    InstanceRow,
    JobRow,
    QuarantineRow,
    ReportRow,
    RevisionRow,
    StudyRow,
)

HOUR = timedelta(hours=1)

_UNDELIVERED = (
    DeliveryState.WAITING,
    DeliveryState.SENT_UNCONFIRMED,
    DeliveryState.REFUSED,
    DeliveryState.GIVEN_UP,
)


class Stage(Enum):
    """Where something can wait; each is left within seconds or minutes when all is well."""

    LANDED = "landed"
    """Instances that are on disk and not yet in a study."""
    OPEN = "open"
    """Studies that are still growing."""
    CLOSED = "closed"
    """Revisions that no rule has been tried on."""
    QUEUED = "queued"
    RUNNING = "running"
    """Jobs."""
    WAITING = "waiting"
    """Results that a destination has not taken."""
    UNCONFIRMED = "unconfirmed"
    """Results that a destination took and has not proven to keep."""
    UNREAD = "unread"
    """Reports that have not been mined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What stands in one stage."""

    stage: Stage
    count: int
    oldest_s: float
    """How long the oldest has been waiting; 0 where nothing is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The node at one moment."""

    waiting: tuple[Waiting, ...]
    ended_badly: int
    """Jobs that failed and that no person has looked at."""
    refused: int
    """Jobs whose algorithm or series said no."""
    undelivered: dict[tuple[str, str], int]
    """(destination, state) -> results that are not confirmed, sent or dismissed."""
    quarantined: int
    """Files that no person has looked at."""
    rules_refused: bool
    """The rule file as it is now cannot be used."""
    studies_last_hour: int
    instances_last_hour: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """How a stage is found."""

    stage: Stage
    since: InstrumentedAttribute[datetime] | InstrumentedAttribute[datetime | None]
    where: ColumnElement[bool]


_PLACES = (
    _Place(stage=Stage.LANDED, since=InstanceRow.received_at, where=InstanceRow.state == "landed"),
    _Place(stage=Stage.OPEN, since=StudyRow.first_new_at, where=StudyRow.new_instances > 0),
    _Place(stage=Stage.CLOSED, since=RevisionRow.closed_at, where=RevisionRow.matched_at.is_(None)),
    _Place(
        stage=Stage.QUEUED,
        since=JobRow.created_at,
        where=JobRow.state == JobState.QUEUED.value,
    ),
    _Place(
        stage=Stage.RUNNING,
        since=JobRow.started_at,
        where=JobRow.state == JobState.RUNNING.value,
    ),
    _Place(
        stage=Stage.WAITING,
        since=DeliveryRow.created_at,
        where=DeliveryRow.state == DeliveryState.WAITING.value,
    ),
    _Place(
        stage=Stage.UNCONFIRMED,
        since=DeliveryRow.sent_at,
        where=DeliveryRow.state == DeliveryState.SENT_UNCONFIRMED.value,
    ),
    _Place(
        stage=Stage.UNREAD,
        since=ReportRow.received_at,
        where=ReportRow.version_id.is_(None) & (ReportRow.status != ReportStatus.CANCELLED.value),
    ),
)


def standing(database: Database, now: datetime) -> Standing:
    """Everything in one transaction, by indexes alone, so that it may be asked every few seconds.

    Nothing here counts what is finished: that grows with the archive. Ages are against `now`; a
    clock that was set back makes none negative.
    """
    with database.reading() as connection:
        return Standing(
            waiting=tuple(_waiting(connection, place, now) for place in _PLACES),
            ended_badly=_count(connection, JobRow.state == JobState.FAILED.value),
            refused=_count(connection, JobRow.state == JobState.REFUSED.value),
            undelivered=_undelivered(connection),
            quarantined=_count(connection, QuarantineRow.dismissed_at.is_(None)),
            rules_refused=refused_rules(connection) is not None,
            studies_last_hour=_count(connection, StudyRow.received_at > now - HOUR),
            instances_last_hour=_count(
                connection,
                (InstanceRow.state == "indexed") & (InstanceRow.received_at > now - HOUR),
            ),
        )


def _waiting(connection: Connection, place: _Place, now: datetime) -> Waiting:
    row = connection.execute(
        select(func.count().label("many"), func.min(place.since).label("oldest")).where(place.where)
    ).one()
    age = (now - row.oldest).total_seconds() if row.oldest is not None else 0.0
    return Waiting(stage=place.stage, count=row.many, oldest_s=max(age, 0.0))


def _undelivered(connection: Connection) -> dict[tuple[str, str], int]:
    query = (
        select(DeliveryRow.destination, DeliveryRow.state, func.count().label("many"))
        .where(DeliveryRow.state.in_([state.value for state in _UNDELIVERED]))
        .group_by(DeliveryRow.destination, DeliveryRow.state)
    )
    return {(row.destination, row.state): row.many for row in connection.execute(query)}


def _count(connection: Connection, where: ColumnElement[bool]) -> int:
    return connection.scalar(select(func.count()).where(where)) or 0
