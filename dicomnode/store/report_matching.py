"""Reports find their studies, and studies the reports that came before them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, or_, select, update

from dicomnode.domain.events import Event, EventName
from dicomnode.domain.identifiers import StudyUid
from dicomnode.domain.incoming_reports import MatchedBy
from dicomnode.store.database import Database
from dicomnode.store.events import write_events
from dicomnode.store.tables import ReportRow, SeriesRow, StudyRow

NO_STUDY = "no such study yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Match:
    """The study of a report, or why it has none."""

    study_uid: str | None
    by: MatchedBy | None
    note: str


def match_new_reports(database: Database, limit: int, now: datetime) -> int:
    """Look for the studies of reports never looked up; return how many were."""
    query = _reports().where(ReportRow.match_tried_at.is_(None)).limit(limit)
    if not _any(database, query):
        return 0
    with database.writing() as connection:
        return _match_all(connection, connection.execute(query).all(), now)


def match_new_studies(database: Database, limit: int, now: datetime) -> int:
    """Look for reports that came before their study; return how many studies were taken up."""
    query = (
        select(StudyRow.study_uid, StudyRow.accession_number, StudyRow.patient_id)
        .where(StudyRow.reports_sought_at.is_(None))
        .limit(limit)
    )
    if not _any(database, query):
        return 0
    with database.writing() as connection:
        studies = connection.execute(query).all()
        uids = [study.study_uid for study in studies]
        accessions = sorted({each.accession_number for each in studies if each.accession_number})
        patients = sorted({each.patient_id for each in studies if each.patient_id})
        waiting = _reports().where(
            ReportRow.study_uid.is_(None),
            ReportRow.match_tried_at.is_not(None),
            or_(
                ReportRow.stated_study_uid.in_(uids),
                ReportRow.accession_number.in_(accessions),
                ReportRow.patient_id.in_(patients),
            ),
        )
        _match_all(connection, connection.execute(waiting).all(), now)
        connection.execute(
            update(StudyRow).where(StudyRow.study_uid.in_(uids)).values(reports_sought_at=now)
        )
        return len(studies)


def _any(database: Database, query: Select[*tuple[Any, ...]]) -> bool:
    """Looked up without the write lock, which the receiver needs."""
    with database.reading() as connection:
        return connection.execute(query.limit(1)).first() is not None


def _reports() -> Select[int, str, str, str, str, str]:
    return select(
        ReportRow.id,
        ReportRow.stated_study_uid,
        ReportRow.accession_number,
        ReportRow.patient_id,
        ReportRow.study_date,
        ReportRow.modality,
    )


def _match_all(
    connection: Connection,
    reports: Sequence[Row[int, str, str, str, str, str]],
    now: datetime,
) -> int:
    events = []
    for report in reports:
        match = _match(connection, report)
        connection.execute(
            update(ReportRow)
            .where(ReportRow.id == report.id)
            .values(
                study_uid=match.study_uid,
                matched_by=match.by.value if match.by else None,
                match_tried_at=now,
                match_note=match.note,
            )
        )
        if match.study_uid is not None and match.by is not None:
            facts = {"report": report.id, "by": match.by.value}
            study_uid = StudyUid(match.study_uid)
            events.append(Event(name=EventName.REPORT_MATCHED, study_uid=study_uid, facts=facts))
    write_events(connection, events, now)
    return len(reports)


def _match(connection: Connection, report: Row[int, str, str, str, str, str]) -> _Match:
    """By study UID, else accession number, else patient and date; only where that is sure."""
    if report.stated_study_uid:
        query = select(StudyRow.study_uid).where(StudyRow.study_uid == report.stated_study_uid)
        if connection.scalar(query) is not None:
            return _Match(study_uid=report.stated_study_uid, by=MatchedBy.STUDY_UID, note="")
    if report.accession_number:
        found = _by_accession(connection, report)
        if found is not None:
            return found
    if report.patient_id and report.study_date:
        return _by_patient_and_date(connection, report)
    if report.stated_study_uid or report.accession_number:
        return _Match(study_uid=None, by=None, note=NO_STUDY)
    return _Match(
        study_uid=None,
        by=None,
        note="states neither study UID, nor accession number, nor patient and date",
    )


def _by_accession(
    connection: Connection, report: Row[int, str, str, str, str, str]
) -> _Match | None:
    query = (
        select(StudyRow.study_uid, StudyRow.patient_id)
        .where(StudyRow.accession_number == report.accession_number)
        .limit(50)
    )
    found = connection.execute(query).all()
    if not found:
        return None
    agreeing = [
        each
        for each in found
        if not (each.patient_id and report.patient_id) or each.patient_id == report.patient_id
    ]
    if not agreeing:
        note = "the study with its accession number has another patient ID"
        return _Match(study_uid=None, by=None, note=note)
    if len(agreeing) > 1:
        note = f"{len(agreeing)} studies have its accession number"
        return _Match(study_uid=None, by=None, note=note)
    return _Match(study_uid=agreeing[0].study_uid, by=MatchedBy.ACCESSION, note="")


def _by_patient_and_date(
    connection: Connection, report: Row[int, str, str, str, str, str]
) -> _Match:
    query = select(StudyRow.study_uid).where(
        StudyRow.patient_id == report.patient_id, StudyRow.study_date == report.study_date
    )
    if report.modality:
        query = query.where(
            select(SeriesRow.series_uid)
            .where(SeriesRow.study_uid == StudyRow.study_uid, SeriesRow.modality == report.modality)
            .exists()
        )
    found = list(connection.scalars(query.limit(50)))
    if len(found) == 1:
        return _Match(study_uid=found[0], by=MatchedBy.PATIENT_AND_DATE, note="")
    note = f"{len(found)} studies of the patient on that day" if found else NO_STUDY
    return _Match(study_uid=None, by=None, note=note)
