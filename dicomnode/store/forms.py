"""BINARY in the place of a LABELMAP that a destination does not take."""

from datetime import datetime

from sqlalchemy import select, update

from dicomnode.domain.events import Event, EventName
from dicomnode.domain.jobs import Job
from dicomnode.domain.results import DeliveryState, ResultKind
from dicomnode.store.database import Database
from dicomnode.store.events import write_events
from dicomnode.store.tables import DeliveryRow, ResultRow
from dicomnode.store.upsert import insert_new

_LABELMAPS = (ResultKind.LABELMAP, ResultKind.LABELMAP_REPORT)


def fall_back(database: Database, job: Job, destination: str, reason: str, now: datetime) -> None:
    """Put SEG and SR into the outbox in the place of the LABELMAP and its report, in one commit.

    What waits no more (taken, given up) stays as it is. May be repeated.
    """
    waiting = (
        select(DeliveryRow.id, ResultRow.kind)
        .join(ResultRow, ResultRow.sop_instance_uid == DeliveryRow.result_uid)
        .where(
            DeliveryRow.job_id == job.id,
            DeliveryRow.destination == destination,
            DeliveryRow.state == DeliveryState.WAITING.value,
            ResultRow.kind.in_([kind.value for kind in _LABELMAPS]),
        )
    )
    with database.writing() as connection:
        replaced = connection.execute(waiting).all()
        if not replaced:
            return
        connection.execute(
            update(DeliveryRow)
            .where(DeliveryRow.id.in_([row.id for row in replaced]))
            .values(state=DeliveryState.DISMISSED.value, reason=reason, next_try_at=None)
        )
        twins = [ResultKind(row.kind).twin.value for row in replaced]
        found = select(ResultRow.sop_instance_uid).where(
            ResultRow.job_id == job.id, ResultRow.kind.in_(twins)
        )
        insert_new(
            connection,
            DeliveryRow,
            [
                {
                    "result_uid": uid,
                    "job_id": job.id,
                    "destination": destination,
                    "state": DeliveryState.WAITING.value,
                    "next_try_at": now,
                    "created_at": now,
                }
                for uid in connection.scalars(found)
            ],
        )
        told = Event(
            name=EventName.DELIVERY_FELL_BACK,
            study_uid=job.study_uid,
            job_id=job.id,
            facts={"destination": destination, "reason": reason},
        )
        write_events(connection, [told], now)
