"""Results, deliveries and events in lists, paged by key."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from dicomnode.domain.results import DeliveryState
from dicomnode.store.database import Database
from dicomnode.store.tables import DeliveryRow, EventRow, JobRow, ResultRow


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultTold:
    """One DICOM object of ours."""

    sop_instance_uid: str
    sop_class_uid: str
    series_uid: str
    study_uid: str
    kind: str
    """SEG, SR, ..."""
    job_id: str
    algorithm: str
    algorithm_version: str
    sha256: str
    """Of the whole file, hex."""
    created_at: datetime


def list_results(database: Database, *, study_uid: str) -> tuple[ResultTold, ...]:
    """The results of a study, newest first."""
    query = (
        select(ResultRow, JobRow.algorithm, JobRow.algorithm_version)
        .join(JobRow, JobRow.id == ResultRow.job_id)
        .where(ResultRow.study_uid == study_uid)
        .order_by(ResultRow.created_at.desc(), ResultRow.sop_instance_uid)
    )
    with database.reading() as connection:
        return tuple(
            ResultTold(
                sop_instance_uid=row.sop_instance_uid,
                sop_class_uid=row.sop_class_uid,
                series_uid=row.series_uid,
                study_uid=row.study_uid,
                kind=row.kind,
                job_id=row.job_id,
                algorithm=row.algorithm,
                algorithm_version=row.algorithm_version or "",
                sha256=row.sha256,
                created_at=row.created_at,
            )
            for row in connection.execute(query)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryListed:
    """One object at one destination."""

    number: int
    """Its place in the list."""
    sop_instance_uid: str
    job_id: str
    study_uid: str
    destination: str
    state: str
    attempt: int
    status: int | None
    """DIMSE status of the last answer."""
    reason: str
    next_try_at: datetime | None
    sent_at: datetime | None
    confirmed_at: datetime | None
    confirmed_by: str


def list_deliveries(
    database: Database, *, state: DeliveryState, after: int = 0, limit: int = 100
) -> tuple[DeliveryListed, ...]:
    """Deliveries in a state, oldest first, behind the place `after`."""
    query = (
        select(DeliveryRow, JobRow.study_uid)
        .join(JobRow, JobRow.id == DeliveryRow.job_id)
        .where(DeliveryRow.state == state.value, DeliveryRow.id > after)
        .order_by(DeliveryRow.id)
        .limit(limit)
    )
    with database.reading() as connection:
        return tuple(
            DeliveryListed(
                number=row.id,
                sop_instance_uid=row.result_uid,
                job_id=row.job_id,
                study_uid=row.study_uid,
                destination=row.destination,
                state=row.state,
                attempt=row.attempt,
                status=row.status,
                reason=row.reason,
                next_try_at=row.next_try_at,
                sent_at=row.sent_at,
                confirmed_at=row.confirmed_at,
                confirmed_by=row.confirmed_by or "",
            )
            for row in connection.execute(query)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EventListed:
    """One line of the log."""

    number: int
    """Its place in the log."""
    at: datetime
    name: str
    study_uid: str
    job_id: str
    association_id: str
    facts: Mapping[str, Any]


def list_events(
    database: Database, *, after: int = 0, name: str = "", limit: int = 100
) -> tuple[EventListed, ...]:
    """Events behind the place `after`, oldest first; only those of a name, if one is given."""
    query = select(EventRow).where(EventRow.id > after).order_by(EventRow.id).limit(limit)
    if name:
        query = query.where(EventRow.name == name)
    with database.reading() as connection:
        return tuple(
            EventListed(
                number=row.id,
                at=row.at,
                name=row.name,
                study_uid=row.study_uid or "",
                job_id=row.job_id or "",
                association_id=row.association_id or "",
                facts=row.facts,
            )
            for row in connection.execute(query)
        )
