"""What is on its way, for comparing with the engine."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from sqlalchemy import select

from dicomnode.domain.identifiers import JobId
from dicomnode.domain.matching import Priority
from dicomnode.domain.results import DeliveryState
from dicomnode.store.database import Database
from dicomnode.store.jobs import UNFINISHED
from dicomnode.store.tables import DeliveryRow, JobRow

# Priorities reach 1000, and the engine's numbers two thousand millions.
_TURNS = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedJob:
    """One try of one job that has not ended."""

    id: str
    run: int
    attempt: int
    priority: int
    turn: int = 0

    @property
    def place(self) -> int:
        """Order among all that wait: by priority, then by the rules' turns."""
        return self.priority * _TURNS + min(self.turn, _TURNS - 1)

    @property
    def workflow_id(self) -> str:
        """What the engine knows this try by."""
        return f"job:{self.id}:{self.run}:{self.attempt}"

    def as_json(self) -> list[str | int]:
        """As the engine keeps it."""
        return [self.id, self.run, self.attempt, self.priority, self.turn]

    @classmethod
    def from_json(cls, kept: list[str | int]) -> Self:
        """From what `as_json` gave."""
        job_id, run, attempt, priority, *turn = kept
        return cls(
            id=str(job_id),
            run=int(run),
            attempt=int(attempt),
            priority=int(priority),
            # Kept without it by an earlier version.
            turn=int(turn[0]) if turn else 0,
        )


def job_of_workflow(workflow_id: str) -> str:
    """The job that a workflow is a try of; empty: it is something else."""
    kind, _, rest = workflow_id.partition(":")
    return rest.partition(":")[0] if kind == "job" else ""


def unfinished_jobs(
    database: Database, *, revision_id: int | None = None
) -> tuple[UnfinishedJob, ...]:
    """Queued and running jobs, of one revision or of all, most urgent first."""
    query = select(JobRow.id, JobRow.run, JobRow.attempt, JobRow.priority, JobRow.turn).where(
        JobRow.state.in_([state.value for state in UNFINISHED])
    )
    if revision_id is not None:
        query = query.where(JobRow.revision_id == revision_id)
    with database.reading() as connection:
        rows = connection.execute(query.order_by(JobRow.priority, JobRow.turn, JobRow.created_at))
        return tuple(UnfinishedJob(**row._mapping) for row in rows)


def overdue_deliveries(
    database: Database, before: datetime, planned_until: datetime | None = None
) -> tuple[tuple[str, str], ...]:
    """(job, destination) pairs with objects whose next try should have been before.

    One that is later than any that is planned now was planned before the clock was set back.
    """
    is_overdue = DeliveryRow.next_try_at < before
    if planned_until is not None:
        is_overdue |= DeliveryRow.next_try_at > planned_until
    query = (
        select(DeliveryRow.job_id, DeliveryRow.destination)
        .where(DeliveryRow.state == DeliveryState.WAITING.value, is_overdue)
        .distinct()
    )
    with database.reading() as connection:
        return tuple((job, destination) for job, destination in connection.execute(query))


def urgency_of(database: Database, job: JobId) -> int:
    """The queue priority of a job and of its results, lower first."""
    with database.reading() as connection:
        found = connection.scalar(select(JobRow.priority).where(JobRow.id == job))
    return Priority.ROUTINE.value if found is None else found
