"""What is on its way, for comparing with the engine."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from sqlalchemy import select

from dicomnode.domain.results import DeliveryState
from dicomnode.store.database import Database
from dicomnode.store.jobs import UNFINISHED
from dicomnode.store.tables import DeliveryRow, JobRow


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedJob:
    """One try of one job that has not ended."""

    id: str
    run: int
    attempt: int
    priority: int

    @property
    def workflow_id(self) -> str:
        """What the engine knows this try by."""
        return f"job:{self.id}:{self.run}:{self.attempt}"

    def as_json(self) -> list[str | int]:
        """As the engine keeps it."""
        return [self.id, self.run, self.attempt, self.priority]

    @classmethod
    def from_json(cls, kept: list[str | int]) -> Self:
        """From what `as_json` gave."""
        job_id, run, attempt, priority = kept
        return cls(id=str(job_id), run=int(run), attempt=int(attempt), priority=int(priority))


def unfinished_jobs(
    database: Database, *, revision_id: int | None = None
) -> tuple[UnfinishedJob, ...]:
    """Queued and running jobs, of one revision or of all, most urgent first."""
    query = select(JobRow.id, JobRow.run, JobRow.attempt, JobRow.priority).where(
        JobRow.state.in_([state.value for state in UNFINISHED])
    )
    if revision_id is not None:
        query = query.where(JobRow.revision_id == revision_id)
    with database.reading() as connection:
        rows = connection.execute(query.order_by(JobRow.priority, JobRow.created_at))
        return tuple(UnfinishedJob(**row._mapping) for row in rows)


def overdue_deliveries(database: Database, before: datetime) -> tuple[tuple[str, str], ...]:
    """(job, destination) pairs with objects whose next try should have been before."""
    query = (
        select(DeliveryRow.job_id, DeliveryRow.destination)
        .where(DeliveryRow.state == DeliveryState.WAITING.value, DeliveryRow.next_try_at < before)
        .distinct()
    )
    with database.reading() as connection:
        return tuple((job, destination) for job, destination in connection.execute(query))
