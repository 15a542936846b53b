"""Findings, result objects and their deliveries."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update

from dicomnode.domain.events import Event, EventName
from dicomnode.domain.identifiers import InstanceUid, JobId, SeriesUid, StudyUid
from dicomnode.domain.jobs import Job, JobState
from dicomnode.domain.outcomes import FindingRecord, RunOutcome
from dicomnode.domain.results import (
    ConfirmationMethod,
    DeliveryState,
    EncodedObject,
    Receipt,
    ResultKind,
)
from dicomnode.store.database import Database
from dicomnode.store.events import write_events
from dicomnode.store.tables import DeliveryRow, FindingRow, JobRow, MeasurementRow, ResultRow
from dicomnode.store.upsert import insert_new


def record_outcome(database: Database, job: Job, outcome: RunOutcome, now: datetime) -> bool:
    """Findings, results, their outbox rows and the job's success, in one commit.

    May be repeated. False if the job was cancelled in the meantime: then nothing is written.
    """
    with database.writing() as connection:
        moved = connection.execute(
            update(JobRow)
            .where(
                JobRow.id == job.id,
                JobRow.state.in_([JobState.RUNNING.value, JobState.SUCCEEDED.value]),
            )
            .values(
                state=JobState.SUCCEEDED.value,
                finished_at=now,
                reason="",
                error="",
                algorithm_version=outcome.algorithm_version,
                model_digest=outcome.model_digest,
                device=outcome.device,
                seconds=outcome.seconds,
                warnings=list(outcome.warnings),
            )
        ).rowcount
        if not moved:
            return False
        _replace_findings(connection, job.id, outcome.findings)
        insert_new(
            connection,
            ResultRow,
            [_result_row(database, job.id, encoded, now) for encoded in outcome.objects],
        )
        insert_new(connection, DeliveryRow, _outbox(job, outcome.objects, now))
        write_events(connection, _outcome_events(job, outcome), now)
        return True


def _replace_findings(
    connection: Connection, job: JobId, findings: Sequence[FindingRecord]
) -> None:
    """A rerun's findings take the place of the earlier run's."""
    old = select(FindingRow.id).where(FindingRow.job_id == job)
    connection.execute(delete(MeasurementRow).where(MeasurementRow.finding_id.in_(old)))
    connection.execute(delete(FindingRow).where(FindingRow.job_id == job))
    for number, finding in enumerate(findings, start=1):
        finding_id = connection.execute(
            insert(FindingRow)
            .values(
                job_id=job,
                number=number,
                kind=finding.kind,
                name=finding.name,
                code_value=finding.code.value if finding.code else None,
                code_scheme=finding.code.scheme if finding.code else None,
                code_meaning=finding.code.meaning if finding.code else None,
                site_meaning=finding.site.meaning if finding.site else None,
                laterality=finding.laterality.meaning if finding.laterality else None,
                score=finding.score,
                text=finding.text,
            )
            .returning(FindingRow.id)
        ).scalar_one()
        for measured in finding.measurements:
            connection.execute(
                insert(MeasurementRow).values(
                    finding_id=finding_id,
                    code_value=measured.name.value,
                    code_scheme=measured.name.scheme,
                    code_meaning=measured.name.meaning,
                    derivation=measured.derivation.meaning if measured.derivation else None,
                    value=measured.value,
                    unit=measured.unit.value,
                )
            )


def _result_row(
    database: Database, job: JobId, encoded: EncodedObject, now: datetime
) -> dict[str, object]:
    return {
        "sop_instance_uid": encoded.sop_instance_uid,
        "job_id": job,
        "kind": encoded.kind.value,
        "sop_class_uid": encoded.sop_class_uid,
        "study_uid": encoded.study_uid,
        "series_uid": encoded.series_uid,
        "path": database.relative(encoded.path),
        "sha256": encoded.sha256,
        "created_at": now,
    }


def _outbox(job: Job, objects: Sequence[EncodedObject], now: datetime) -> list[dict[str, object]]:
    return [
        {
            "result_uid": encoded.sop_instance_uid,
            "job_id": job.id,
            "destination": destination,
            "state": DeliveryState.WAITING.value,
            "next_try_at": now,
            "created_at": now,
        }
        for destination in job.destinations
        for encoded in objects
    ]


def _outcome_events(job: Job, outcome: RunOutcome) -> list[Event]:
    encoded = [
        Event(
            name=EventName.RESULT_ENCODED,
            study_uid=job.study_uid,
            job_id=job.id,
            facts={"kind": made.kind.value, "sop_instance_uid": made.sop_instance_uid},
        )
        for made in outcome.objects
    ]
    done = Event(
        name=EventName.JOB_SUCCEEDED,
        study_uid=job.study_uid,
        job_id=job.id,
        facts={
            "findings": len(outcome.findings),
            "objects": len(outcome.objects),
            "seconds": round(sum(outcome.seconds.values()), 3),
        },
    )
    return [*encoded, done]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxItem:
    """One object that a destination should have."""

    delivery_id: int
    object: EncodedObject
    state: DeliveryState
    attempt: int
    created_at: datetime


def outbox(database: Database, job: JobId, destination: str) -> tuple[OutboxItem, ...]:
    """A job's objects for one destination, SEG before the SR that refers to it."""
    query = (
        select(DeliveryRow, ResultRow)
        .join(ResultRow, ResultRow.sop_instance_uid == DeliveryRow.result_uid)
        .where(DeliveryRow.job_id == job, DeliveryRow.destination == destination)
        .order_by(ResultRow.kind, ResultRow.sop_instance_uid)
    )
    with database.reading() as connection:
        return tuple(
            OutboxItem(
                delivery_id=row.id,
                object=EncodedObject(
                    kind=ResultKind(row.kind),
                    sop_instance_uid=InstanceUid(row.sop_instance_uid),
                    sop_class_uid=row.sop_class_uid,
                    study_uid=StudyUid(row.study_uid),
                    series_uid=SeriesUid(row.series_uid),
                    path=database.absolute(row.path),
                    sha256=row.sha256,
                ),
                state=DeliveryState(row.state),
                attempt=row.attempt,
                created_at=row.created_at,
            )
            for row in connection.execute(query)
        )


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
    """Keep why an object was not taken, and when it is tried again if it is."""
    names = {
        DeliveryState.WAITING: EventName.DELIVERY_RETRYING,
        DeliveryState.REFUSED: EventName.RESULT_REFUSED,
        DeliveryState.GIVEN_UP: EventName.DELIVERY_GIVEN_UP,
    }
    with database.writing() as connection:
        connection.execute(
            update(DeliveryRow)
            .where(DeliveryRow.id == item.delivery_id)
            .values(
                state=failed.state.value,
                attempt=item.attempt + 1,
                status=failed.status,
                reason=failed.reason,
                next_try_at=failed.next_try_at,
            )
        )
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


def record_commitment(
    database: Database,
    transaction_uid: str,
    committed: Sequence[str],
    now: datetime,
) -> None:
    """An N-EVENT-REPORT came in: mark what it commits to. Unknown transactions change nothing."""
    with database.writing() as connection:
        rows = connection.execute(
            update(DeliveryRow)
            .where(
                DeliveryRow.transaction_uid == transaction_uid,
                DeliveryRow.result_uid.in_(committed),
            )
            .values(
                state=DeliveryState.CONFIRMED.value,
                confirmed_at=now,
                confirmed_by=ConfirmationMethod.COMMITMENT.value,
                reason="",
            )
            .returning(DeliveryRow.job_id, DeliveryRow.destination, DeliveryRow.result_uid)
        ).all()
        studies = dict(
            connection.execute(
                select(JobRow.id, JobRow.study_uid).where(
                    JobRow.id.in_({row.job_id for row in rows})
                )
            ).tuples()
        )
        write_events(
            connection,
            [
                Event(
                    name=EventName.RESULT_CONFIRMED,
                    study_uid=StudyUid(studies[row.job_id]),
                    job_id=JobId(row.job_id),
                    facts={
                        "destination": row.destination,
                        "sop_instance_uid": row.result_uid,
                        "method": ConfirmationMethod.COMMITMENT.value,
                    },
                )
                for row in rows
            ],
            now,
        )


def resend(database: Database, job: Job, destination: str, now: datetime) -> int:
    """Put a job's objects back into the outbox of one destination; return how many."""
    with database.writing() as connection:
        count = connection.execute(
            update(DeliveryRow)
            .where(DeliveryRow.job_id == job.id, DeliveryRow.destination == destination)
            .values(
                state=DeliveryState.WAITING.value,
                attempt=0,
                next_try_at=now,
                created_at=now,
                confirmed_at=None,
                confirmed_by=None,
            )
        ).rowcount
        resent = Event(
            name=EventName.RESULT_RESENT,
            study_uid=job.study_uid,
            job_id=job.id,
            facts={"destination": destination, "objects": count},
        )
        write_events(connection, [resent], now)
        return count
