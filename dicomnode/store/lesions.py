"""Lesions of a job, and those of earlier studies that a later one is compared with."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, exists, insert, select

from dicomnode.domain.codes import Code
from dicomnode.domain.events import EventName
from dicomnode.domain.follow_up import BodyMap, LesionPlace, PriorLesion, Priors, PriorStudy
from dicomnode.domain.identifiers import JobId
from dicomnode.domain.jobs import Job, JobState
from dicomnode.domain.outcomes import FindingRecord, RunOutcome
from dicomnode.store.database import Database
from dicomnode.store.tables import (
    BodyMapRow,
    EventRow,
    FindingRow,
    FollowUpRow,
    JobRow,
    LesionMissingRow,
    LesionRow,
    StudyRow,
)

MOST_PRIORS = 3
"""Earlier studies that one is compared with; the newest."""


def forget_lesions(connection: Connection, job: JobId) -> None:
    """A rerun's lesions take the place of the earlier run's; before its findings are deleted."""
    for table in (LesionRow, BodyMapRow, FollowUpRow, LesionMissingRow):
        connection.execute(delete(table).where(table.job_id == job))


def keep_lesion(connection: Connection, job: JobId, finding_id: int, of: FindingRecord) -> None:
    """Place, size and growth of a finding, if it is a lesion."""
    if of.lesion is None:
        return
    place, growth = of.lesion.place, of.lesion.growth
    x, y, z = place.center_lps_mm
    values: dict[str, Any] = {
        "finding_id": finding_id,
        "job_id": job,
        "tracking_uid": place.tracking_uid,
        "x": x,
        "y": y,
        "z": z,
        "long_axis_mm": place.long_axis_mm,
        "short_axis_mm": place.short_axis_mm,
        "volume_ml": place.volume_ml,
        "sop_instance_uid": place.sop_instance_uid,
    }
    if growth is not None:
        values |= {
            "prior_job_id": growth.prior_job_id,
            "days": growth.days,
            "long_axis_percent": growth.long_axis_percent,
            "short_axis_percent": growth.short_axis_percent,
            "volume_percent": growth.volume_percent,
            "doubling_days": growth.doubling_days,
        }
    connection.execute(insert(LesionRow).values(values))


def keep_follow_up(connection: Connection, job: JobId, outcome: RunOutcome) -> None:
    """What later studies are compared by, and what this one was compared with."""
    if outcome.body is not None:
        connection.execute(insert(BodyMapRow).values(job_id=job, map=asdict(outcome.body)))
    for one in outcome.compared:
        connection.execute(
            insert(FollowUpRow).values(
                job_id=job,
                prior_job_id=one.job_id,
                days=one.days,
                agreement=one.agreement,
                common_mm=one.common_mm,
                reason=one.reason,
            )
        )
    missing = {
        lesion.tracking_uid: {
            "job_id": job,
            "tracking_uid": lesion.tracking_uid,
            "prior_job_id": one.job_id,
            "name": lesion.name,
            "fate": lesion.fate.value,
        }
        # The newest study's word holds.
        for one in reversed(outcome.compared)
        for lesion in one.missing
    }
    if missing:
        connection.execute(insert(LesionMissingRow), list(missing.values()))


def priors_of(database: Database, job: Job) -> Priors | None:
    """Earlier studies of the patient in which the job's algorithm looked for lesions.

    None where the study cannot be compared: it states no patient or two, or no date.
    """
    with database.reading() as connection:
        study = connection.execute(
            select(StudyRow).where(StudyRow.study_uid == job.study_uid)
        ).one()
        studied = _date(study.study_date)
        if not study.patient_id or studied is None:
            return None
        if connection.scalar(select(_is_of_two_patients(job.study_uid))):
            return None
        revised = job.predecessor.job_id if job.predecessor else None
        rows = connection.execute(_earlier(study, job.algorithm, revised)).all()
        newest: dict[str, Row[Any]] = {}
        for row in rows:
            if row.job_id == revised or (
                row.study_uid != job.study_uid and _is_same_patient(row, study)
            ):
                newest.setdefault(row.study_uid, row)
        chosen = sorted(newest.values(), key=_when, reverse=True)[: MOST_PRIORS + 1]
        return Priors(
            study_date=studied,
            studies=tuple(_prior(connection, row, job) for row in chosen),
        )


def _earlier(study: Row[Any], algorithm: str, revised: str | None) -> Any:
    """Jobs on studies of the patient until this one's moment, the newest of each study first."""
    return (
        select(
            JobRow.id.label("job_id"),
            JobRow.study_uid,
            StudyRow.study_date,
            StudyRow.study_time,
            StudyRow.patient_birth_date,
            StudyRow.header,
            BodyMapRow.map,
        )
        .join(StudyRow, StudyRow.study_uid == JobRow.study_uid)
        .join(BodyMapRow, BodyMapRow.job_id == JobRow.id)
        .where(
            StudyRow.patient_id == study.patient_id,
            ~_is_of_two_patients(StudyRow.study_uid),
            JobRow.algorithm == algorithm,
            JobRow.state == JobState.SUCCEEDED.value,
            (StudyRow.study_date < study.study_date)
            | ((StudyRow.study_date == study.study_date) & (StudyRow.study_time < study.study_time))
            | (JobRow.id == revised),
        )
        .order_by(
            StudyRow.study_date.desc(),
            StudyRow.study_time.desc(),
            JobRow.finished_at.desc(),
            JobRow.id.desc(),
        )
        .limit(50)
    )


def _is_of_two_patients(study_uid: object) -> ColumnElement[bool]:
    """A study whose series state different PatientIDs: whose lesions they are is not known."""
    told = EventRow.name == EventName.PATIENTS_DIFFER.value
    return exists().where(EventRow.study_uid == study_uid, told)


def _is_same_patient(row: Row[Any], study: Row[Any]) -> bool:
    """The same PatientID means another person where issuer or birth date differ."""
    births = {row.patient_birth_date, study.patient_birth_date} - {""}
    issuers = {_issuer(row.header), _issuer(study.header)} - {""}
    return len(births) < 2 and len(issuers) < 2 and _date(row.study_date) is not None


def _issuer(header: Mapping[str, Any]) -> str:
    return "\\".join(str(one) for one in header.get("IssuerOfPatientID") or ())


def _when(row: Row[Any]) -> tuple[str, str]:
    return row.study_date, row.study_time


def _prior(connection: Connection, row: Row[Any], job: Job) -> PriorStudy:
    lesions = connection.execute(
        select(LesionRow, FindingRow)
        .join(FindingRow, FindingRow.id == LesionRow.finding_id)
        .where(LesionRow.job_id == row.job_id)
        .order_by(FindingRow.number)
    ).all()
    kept = row.map
    x, y, z = kept["origin_lps_mm"]
    slices, rows, columns = kept["shape"]
    return PriorStudy(
        job_id=JobId(row.job_id),
        study_date=_date(row.study_date) or date.min,
        body=BodyMap(
            shape=(slices, rows, columns),
            origin_lps_mm=(x, y, z),
            spacing_mm=kept["spacing_mm"],
            packed=kept["packed"],
        ),
        lesions=_lesions(lesions),
        same_study=row.study_uid == job.study_uid,
    )


def _lesions(rows: Iterable[Row[*tuple[Any, ...]]]) -> tuple[PriorLesion, ...]:
    return tuple(
        PriorLesion(
            name=row.name,
            type=Code(row.code_value, row.code_scheme, row.code_meaning),
            place=LesionPlace(
                tracking_uid=row.tracking_uid,
                center_lps_mm=(row.x, row.y, row.z),
                long_axis_mm=row.long_axis_mm,
                short_axis_mm=row.short_axis_mm,
                volume_ml=row.volume_ml,
                sop_instance_uid=row.sop_instance_uid,
            ),
        )
        for row in rows
    )


def _date(stated: str) -> date | None:
    """A StudyDate (VR DA) as a date; None for what is none."""
    try:
        return date.fromisoformat(stated) if len(stated) == 8 else None
    except ValueError:
        return None
