"""Deliveries: where each result stands with each destination."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, select, update

from dicomnode.domain.delivery import CommitmentReport
from dicomnode.domain.events import Event, EventName, FactValue
from dicomnode.domain.identifiers import InstanceUid, JobId, StudyUid
from dicomnode.domain.jobs import Job
from dicomnode.domain.results import (
    ConfirmationMethod,
    DeliveryState,
    EncodedObject,
    Receipt,
    ResultKind,
)
from dicomnode.store.database import Database
from dicomnode.store.encoded import encoded_object
from dicomnode.store.events import write_events
from dicomnode.store.tables import DeliveryRow, JobRow, ResultRow

# A PACS that disowns an object is given this long before it is sent again.
RESEND_AFTER = timedelta(seconds=60)

UNCONFIRMED = "sent, unconfirmed"
"""Begins the reason of a delivery that the destination could not be made to prove."""

_ANEW: Mapping[str, Any] = {
    "state": DeliveryState.WAITING.value,
    "attempt": 0,
    "confirmed_at": None,
    "confirmed_by": None,
    "transaction_uid": None,
}
"""Of a delivery that begins again, besides its moments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxItem:
    """One object that a destination should have."""

    delivery_id: int
    object: EncodedObject
    state: DeliveryState
    attempt: int
    next_try_at: datetime | None
    created_at: datetime


def outbox(database: Database, job: JobId, destination: str) -> tuple[OutboxItem, ...]:
    """A job's objects for one destination: run by run, SEG before the SR that refers to it."""
    query = (
        select(DeliveryRow, ResultRow)
        .join(ResultRow, ResultRow.sop_instance_uid == DeliveryRow.result_uid)
        .where(DeliveryRow.job_id == job, DeliveryRow.destination == destination)
        .order_by(ResultRow.created_at, ResultRow.kind, ResultRow.sop_instance_uid)
    )
    with database.reading() as connection:
        return tuple(
            OutboxItem(
                delivery_id=row.id,
                object=encoded_object(database, row),
                state=DeliveryState(row.state),
                attempt=row.attempt,
                next_try_at=row.next_try_at,
                created_at=row.created_at,
            )
            for row in connection.execute(query)
        )


def begin_try(database: Database, item: OutboxItem) -> bool:
    """Right before an object goes out: count the try; False if another has begun one meanwhile.

    Within `Database.guarded`, a process that lost its work gets no further than this.
    """
    with database.writing() as connection:
        begun = connection.execute(
            update(DeliveryRow)
            .where(
                DeliveryRow.id == item.delivery_id,
                DeliveryRow.state == DeliveryState.WAITING.value,
                DeliveryRow.attempt == item.attempt,
            )
            .values(attempt=item.attempt + 1)
        ).rowcount
        return bool(begun)


def record_receipt(database: Database, item: OutboxItem, receipt: Receipt, job: Job) -> None:
    """The peer answered success or warning; whether it keeps the object is not yet proven."""
    with database.writing() as connection:
        connection.execute(
            update(DeliveryRow)
            .where(
                DeliveryRow.id == item.delivery_id,
                DeliveryRow.state != DeliveryState.CONFIRMED.value,
            )
            .values(
                state=DeliveryState.SENT_UNCONFIRMED.value,
                attempt=item.attempt + 1,
                status=receipt.status,
                reason=receipt.comment,
                sent_at=receipt.at,
                next_try_at=None,
            )
        )
        facts = {
            "destination": receipt.destination,
            "kind": item.object.kind.value,
            "status": f"0x{receipt.status:04X}",
            "warning": receipt.is_warning,
        }
        sent = Event(
            name=EventName.RESULT_SENT, study_uid=job.study_uid, job_id=job.id, facts=facts
        )
        write_events(connection, [sent], receipt.at)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedTry:
    """A try that did not end in a receipt."""

    destination: str
    state: DeliveryState
    """WAITING with `next_try_at`, REFUSED or GIVEN_UP."""
    reason: str
    status: int | None
    next_try_at: datetime | None


def record_failed_try(
    database: Database, item: OutboxItem, failed: FailedTry, job: Job, now: datetime
) -> None:
    """Keep why an object was not taken, and when it is tried again if it is.

    What was proven or dismissed while the try lasted stays so.
    """
    names = {
        DeliveryState.WAITING: EventName.DELIVERY_RETRYING,
        DeliveryState.REFUSED: EventName.RESULT_REFUSED,
        DeliveryState.GIVEN_UP: EventName.DELIVERY_GIVEN_UP,
    }
    with database.writing() as connection:
        moved = connection.execute(
            update(DeliveryRow)
            .where(
                DeliveryRow.id == item.delivery_id,
                DeliveryRow.state == DeliveryState.WAITING.value,
            )
            .values(
                state=failed.state.value,
                attempt=item.attempt + 1,
                status=failed.status,
                reason=failed.reason,
                next_try_at=failed.next_try_at,
            )
        ).rowcount
        if not moved:
            return
        facts = {
            "destination": failed.destination,
            "kind": item.object.kind.value,
            "reason": failed.reason,
            "attempt": item.attempt + 1,
        }
        told = Event(name=names[failed.state], study_uid=job.study_uid, job_id=job.id, facts=facts)
        write_events(connection, [told], now)


def record_request(database: Database, items: Sequence[OutboxItem], transaction_uid: str) -> None:
    """Remember under which transaction storage commitment was asked for."""
    ids = [item.delivery_id for item in items]
    with database.writing() as connection:
        connection.execute(
            update(DeliveryRow)
            .where(DeliveryRow.id.in_(ids))
            .values(transaction_uid=transaction_uid)
        )


def record_confirmation(
    database: Database,
    items: Sequence[OutboxItem],
    job: Job,
    *,
    destination: str,
    method: ConfirmationMethod,
    now: datetime,
) -> None:
    """The destination proved that it keeps these objects."""
    with database.writing() as connection:
        connection.execute(
            update(DeliveryRow)
            .where(DeliveryRow.id.in_([item.delivery_id for item in items]))
            .values(
                state=DeliveryState.CONFIRMED.value,
                confirmed_at=now,
                confirmed_by=method.value,
                reason="",
            )
        )
        write_events(
            connection,
            [
                Event(
                    name=EventName.RESULT_CONFIRMED,
                    study_uid=job.study_uid,
                    job_id=job.id,
                    facts={
                        "destination": destination,
                        "kind": item.object.kind.value,
                        "method": method.value,
                    },
                )
                for item in items
            ],
            now,
        )


def record_commitment(database: Database, report: CommitmentReport, now: datetime) -> None:
    """Store an N-EVENT-REPORT: what it commits to is confirmed, what it disowns is sent again.

    Unknown transactions change nothing.
    """
    with database.writing() as connection:
        confirmed = {
            "state": DeliveryState.CONFIRMED.value,
            "confirmed_at": now,
            "confirmed_by": ConfirmationMethod.COMMITMENT.value,
            "reason": "",
        }
        for uid in report.committed:
            facts = {"method": ConfirmationMethod.COMMITMENT.value}
            event = Event(name=EventName.RESULT_CONFIRMED, facts=facts)
            _settle(connection, report.transaction_uid, uid, confirmed, event, now=now)
        for uid, reason in report.failed.items():
            words = f"storage commitment failed: {reason}"
            disowned = {
                "state": DeliveryState.WAITING.value,
                "next_try_at": now + RESEND_AFTER,
                "reason": words,
            }
            event = Event(name=EventName.DELIVERY_RETRYING, facts={"reason": words})
            _settle(connection, report.transaction_uid, uid, disowned, event, now=now)


def _settle(
    connection: Connection,
    transaction_uid: str,
    uid: InstanceUid,
    values: Mapping[str, object],
    event: Event,
    *,
    now: datetime,
) -> None:
    rows = connection.execute(
        update(DeliveryRow)
        .where(
            DeliveryRow.transaction_uid == transaction_uid,
            DeliveryRow.result_uid == uid,
            DeliveryRow.state == DeliveryState.SENT_UNCONFIRMED.value,
        )
        .values(**values)
        .returning(DeliveryRow.job_id, DeliveryRow.destination)
    ).all()
    for row in rows:
        job = select(JobRow.study_uid).where(JobRow.id == row.job_id)
        study = connection.execute(job).scalar_one()
        facts = {**event.facts, "destination": row.destination, "sop_instance_uid": uid}
        told = replace(event, study_uid=StudyUid(study), job_id=JobId(row.job_id), facts=facts)
        write_events(connection, [told], now)


def record_unconfirmed(
    database: Database, items: Sequence[OutboxItem], job: Job, reason: str, now: datetime
) -> None:
    """The destination answered success but could not be made to prove it; shown as just that."""
    with database.writing() as connection:
        connection.execute(
            update(DeliveryRow)
            .where(
                DeliveryRow.id.in_([item.delivery_id for item in items]),
                DeliveryRow.state == DeliveryState.SENT_UNCONFIRMED.value,
            )
            .values(reason=f"{UNCONFIRMED}: {reason}")
        )
        facts: dict[str, FactValue] = {"reason": reason, "objects": len(items)}
        told = Event(
            name=EventName.RESULT_UNCONFIRMED, study_uid=job.study_uid, job_id=job.id, facts=facts
        )
        write_events(connection, [told], now)


def resend(database: Database, job: Job, destination: str, now: datetime) -> int:
    """Put a job's objects back into the outbox of one destination; return how many.

    Also those that a person has given up: whoever asks for them again has thought better of it, and
    there is no other way to have them sent. Not a LABELMAP that SEG has taken the place of
    (`store.forms`): the destination does not take it.
    """
    held = (
        select(DeliveryRow.id, DeliveryRow.state, ResultRow.kind)
        .join(ResultRow, ResultRow.sop_instance_uid == DeliveryRow.result_uid)
        .where(DeliveryRow.job_id == job.id, DeliveryRow.destination == destination)
    )
    with database.writing() as connection:
        rows = connection.execute(held).all()
        kinds = {row.kind for row in rows}
        chosen = [row.id for row in rows if not _is_replaced(row.kind, row.state, kinds)]
        count = connection.execute(
            update(DeliveryRow)
            .where(DeliveryRow.id.in_(chosen))
            .values(**_ANEW, next_try_at=now, created_at=now)
        ).rowcount
        resent = Event(
            name=EventName.RESULT_RESENT,
            study_uid=job.study_uid,
            job_id=job.id,
            facts={"destination": destination, "objects": count},
        )
        write_events(connection, [resent], now)
        return count


def _is_replaced(kind: str, state: str, kinds: Collection[str]) -> bool:
    """Whether another form stands in its place, `kinds` being what the outbox holds."""
    twin = ResultKind(kind).twin.value
    return state == DeliveryState.DISMISSED.value and twin != kind and twin in kinds


def needs_sending() -> ColumnElement[bool]:
    """Holds for deliveries that go no further without a person."""
    ended = [DeliveryState.REFUSED.value, DeliveryState.GIVEN_UP.value]
    return DeliveryRow.state.in_(ended) | (
        (DeliveryRow.state == DeliveryState.SENT_UNCONFIRMED.value)
        & DeliveryRow.reason.startswith(UNCONFIRMED)
    )


def resend_refused(database: Database, destination: str, now: datetime) -> int:
    """Put back what a destination refused, was given up for or could not prove; how many objects.

    For the morning after, when what kept it from taking them is mended.
    """
    with database.writing() as connection:
        jobs = connection.scalars(
            update(DeliveryRow)
            .where(DeliveryRow.destination == destination, needs_sending())
            .values(**_ANEW, next_try_at=now, created_at=now)
            .returning(DeliveryRow.job_id)
        ).all()
        objects = Counter(jobs)
        studies = select(JobRow.id, JobRow.study_uid).where(JobRow.id.in_(objects))
        told = [
            Event(
                name=EventName.RESULT_RESENT,
                study_uid=StudyUid(row.study_uid),
                job_id=JobId(row.id),
                facts={"destination": destination, "objects": objects[row.id]},
            )
            for row in connection.execute(studies).all()
        ]
        write_events(connection, told, now)
        return len(jobs)


def dismiss_deliveries(database: Database, job: Job, destination: str, now: datetime) -> int:
    """Give up what one destination has not proven to keep, at a person's word; return how many."""
    with database.writing() as connection:
        count = connection.execute(
            update(DeliveryRow)
            .where(
                DeliveryRow.job_id == job.id,
                DeliveryRow.destination == destination,
                DeliveryRow.state.not_in(
                    [DeliveryState.CONFIRMED.value, DeliveryState.DISMISSED.value]
                ),
            )
            .values(state=DeliveryState.DISMISSED.value, next_try_at=None)
        ).rowcount
        if count:
            facts: dict[str, FactValue] = {"destination": destination, "objects": count}
            told = Event(
                name=EventName.RESULT_DISMISSED, study_uid=job.study_uid, job_id=job.id, facts=facts
            )
            write_events(connection, [told], now)
        return count
