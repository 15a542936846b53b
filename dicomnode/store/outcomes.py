"""What a run made: findings, result objects and their places in the outboxes."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import Connection, delete, insert, select, update

from dicomnode.domain.events import Event, EventName
from dicomnode.domain.identifiers import InstanceUid, JobId
from dicomnode.domain.instances import InstanceHeader
from dicomnode.domain.jobs import Job, JobState
from dicomnode.domain.outcomes import FindingRecord, RunOutcome
from dicomnode.domain.results import (
    DeliveryState,
    EncodedObject,
    Parcel,
)
from dicomnode.domain.triage import Flag
from dicomnode.store.comparisons import compare_jobs
from dicomnode.store.database import Database
from dicomnode.store.events import write_events
from dicomnode.store.indexing import series_columns
from dicomnode.store.lesions import forget_lesions, keep_follow_up, keep_lesion
from dicomnode.store.tables import DeliveryRow, FindingRow, JobRow, MeasurementRow, ResultRow
from dicomnode.store.upsert import insert_new

_OF_THE_FILE = ("path", "sha256", "modality", "series_number", "header")


def record_outcome(
    database: Database,
    job: Job,
    outcome: RunOutcome,
    now: datetime,
    *,
    parcels: Sequence[Parcel] | None = None,
    headers: Mapping[InstanceUid, InstanceHeader] = MappingProxyType({}),
    flag: Flag | None = None,
) -> bool:
    """Findings, results, their outbox rows and the job's success, in one commit.

    `parcels` says which destination gets what; None: each gets everything. `headers` are those of
    the objects, for searches. `flag` makes the job, and so its results, as urgent as it says. May
    be repeated. False if the job was cancelled in the meantime: then
    nothing is written.
    """
    if parcels is None:
        parcels = [Parcel(destination=one, objects=outcome.objects) for one in job.destinations]
    with database.writing() as connection:
        moved = connection.execute(
            update(JobRow)
            .where(JobRow.id == job.id, JobRow.state == JobState.RUNNING.value)
            .values(
                state=JobState.SUCCEEDED.value,
                finished_at=now,
                reason="",
                error="",
                algorithm_version=outcome.algorithm_version,
                model_digest=outcome.model_digest,
                device=outcome.device,
                seconds=outcome.seconds,
                voxels=outcome.voxels,
                peak_bytes=outcome.peak_bytes,
                warnings=list(outcome.warnings),
                priority=min(job.priority.value, flag.to.value) if flag else job.priority.value,
            )
        ).rowcount
        if not moved:
            state = connection.scalar(select(JobRow.state).where(JobRow.id == job.id))
            return state == JobState.SUCCEEDED.value
        _replace_findings(connection, job.id, outcome.findings)
        keep_follow_up(connection, job.id, outcome)
        _keep_results(
            connection,
            [
                _result_row(database, job.id, made, headers.get(made.sop_instance_uid), now)
                for made in outcome.objects
            ],
        )
        compare_jobs(connection, job.study_uid)
        insert_new(connection, DeliveryRow, _outbox(job, parcels, now))
        events = [*_outcome_events(job, outcome), *_flagged(job, flag), *_fallbacks(job, parcels)]
        write_events(connection, events, now)
        return True


def _replace_findings(
    connection: Connection, job: JobId, findings: Sequence[FindingRecord]
) -> None:
    """A rerun's findings take the place of the earlier run's."""
    old = select(FindingRow.id).where(FindingRow.job_id == job)
    connection.execute(delete(MeasurementRow).where(MeasurementRow.finding_id.in_(old)))
    forget_lesions(connection, job)
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
        keep_lesion(connection, job, finding_id, finding)
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


def _keep_results(connection: Connection, rows: Sequence[dict[str, object]]) -> None:
    """A run that says the same as the last one has its UIDs, and wrote its files again."""
    insert_new(connection, ResultRow, rows)
    for row in rows:
        connection.execute(
            update(ResultRow)
            .where(ResultRow.sop_instance_uid == row["sop_instance_uid"])
            .values({name: row[name] for name in _OF_THE_FILE})
        )


def _result_row(
    database: Database,
    job: JobId,
    encoded: EncodedObject,
    header: InstanceHeader | None,
    now: datetime,
) -> dict[str, object]:
    by_kind = {"modality": encoded.kind.value, "series_number": None, "header": None}
    return {
        **(series_columns(header) if header else by_kind),
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


def _outbox(job: Job, parcels: Sequence[Parcel], now: datetime) -> list[dict[str, object]]:
    return [
        {
            "result_uid": encoded.sop_instance_uid,
            "job_id": job.id,
            "destination": parcel.destination,
            "state": DeliveryState.WAITING.value,
            "next_try_at": now,
            "created_at": now,
        }
        for parcel in parcels
        for encoded in parcel.objects
    ]


def _flagged(job: Job, flag: Flag | None) -> list[Event]:
    if flag is None:
        return []
    facts = {
        "finding": ", ".join(flag.findings),
        "to": flag.to.name.lower(),
        "rule": flag.rule,
        "algorithm": job.algorithm,
    }
    return [
        Event(name=EventName.STUDY_FLAGGED, study_uid=job.study_uid, job_id=job.id, facts=facts)
    ]


def _fallbacks(job: Job, parcels: Sequence[Parcel]) -> list[Event]:
    return [
        Event(
            name=EventName.DELIVERY_FELL_BACK,
            study_uid=job.study_uid,
            job_id=job.id,
            facts={"destination": parcel.destination, "reason": parcel.fell_back_because},
        )
        for parcel in parcels
        if parcel.fell_back_because
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
