"""Numbers over time, for plots: what comes in, how long it takes, what waits."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import quantiles

from sqlalchemy import Connection, func, select

from dicomnode.domain.jobs import JobState
from dicomnode.store.database import Database
from dicomnode.store.tables import DeliveryRow, JobRow, ResultRow, RevisionRow, StudyRow

HOURS = 48
DAYS = 30
MOST_DELIVERIES = 50_000
"""The newest that turnaround is told from."""
WAITS = (1, 5, 15, 60)
"""Minutes that part the ages of waiting jobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turnaround:
    """From a study's closing to its results being taken, on one day."""

    day: str
    """YYYY-MM-DD (UTC)."""
    results: int
    median_s: float
    slowest_tenth_s: float
    """A tenth took longer than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All of them, as of one moment."""

    studies: Sequence[tuple[datetime, int]]
    """Beginning of each of the last hours, and studies that came in it; oldest first."""
    turnaround: Sequence[Turnaround]
    """Days on which results were sent, oldest first."""
    waiting: Sequence[int]
    """Jobs that wait, by age: below 1, 5, 15, 60 minutes, and older."""


def figures(database: Database, now: datetime) -> Figures:
    """Read them in one transaction."""
    with database.reading() as connection:
        return Figures(
            studies=_studies(connection, now),
            turnaround=_turnaround(connection, now),
            waiting=_waiting(connection, now),
        )


def _studies(connection: Connection, now: datetime) -> Sequence[tuple[datetime, int]]:
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    hours = [this_hour - timedelta(hours=back) for back in reversed(range(HOURS))]
    query = select(StudyRow.received_at).where(StudyRow.received_at >= hours[0])
    counted = Counter(
        moment.replace(minute=0, second=0, microsecond=0) for moment in connection.scalars(query)
    )
    return [(hour, counted[hour]) for hour in hours]


def _turnaround(connection: Connection, now: datetime) -> Sequence[Turnaround]:
    query = (
        select(DeliveryRow.sent_at, RevisionRow.closed_at)
        .join(ResultRow, ResultRow.sop_instance_uid == DeliveryRow.result_uid)
        .join(JobRow, JobRow.id == ResultRow.job_id)
        .join(RevisionRow, RevisionRow.id == JobRow.revision_id)
        .where(DeliveryRow.sent_at > now - timedelta(days=DAYS))
        .order_by(DeliveryRow.sent_at.desc())
        .limit(MOST_DELIVERIES)
    )
    took: dict[str, list[float]] = defaultdict(list)
    for sent_at, closed_at in connection.execute(query):
        assert sent_at is not None
        took[f"{sent_at:%Y-%m-%d}"].append((sent_at - closed_at).total_seconds())
    return [_told(day, seconds) for day, seconds in sorted(took.items())]


def _told(day: str, seconds: Sequence[float]) -> Turnaround:
    tenths = quantiles(seconds, n=10, method="inclusive") if len(seconds) > 1 else [*seconds] * 9
    return Turnaround(day=day, results=len(seconds), median_s=tenths[4], slowest_tenth_s=tenths[8])


def _waiting(connection: Connection, now: datetime) -> Sequence[int]:
    counts = []
    newest = None
    for minutes in (*WAITS, None):
        oldest = None if minutes is None else now - timedelta(minutes=minutes)
        query = select(func.count()).where(JobRow.state == JobState.QUEUED.value)
        if oldest is not None:
            query = query.where(JobRow.created_at > oldest)
        if newest is not None:
            query = query.where(JobRow.created_at <= newest)
        counts.append(connection.scalar(query) or 0)
        newest = oldest
    return counts
