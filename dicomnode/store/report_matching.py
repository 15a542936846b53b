"""Reports find their studies, and studies the reports that came before them.

What a report is tied to depends on the reports and studies that are there, not on the order in
which they came: every new study, and every new kind of series in one, has the reports looked at
again that it might belong to, tied ones too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, select, update

from dicomnode.domain.events import Event, EventName
from dicomnode.domain.identifiers import StudyUid
from dicomnode.domain.incoming_reports import MatchedBy
from dicomnode.store.comparisons import take_turn
from dicomnode.store.database import Database
from dicomnode.store.events import write_events
from dicomnode.store.locking import lock_studies
from dicomnode.store.summaries import recounted
from dicomnode.store.tables import ReportRow, SeriesRow, StudyRow

MOST_CANDIDATES = 50

_ReportToMatch = Row[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Match:
    """The study of a report, or why it has none."""

    study_uid: str | None = None
    by: MatchedBy | None = None
    note: str = ""


def match_new_reports(database: Database, limit: int, now: datetime) -> int:
    """Look for the studies of reports never looked up; return how many were."""
    query = _reports().where(ReportRow.match_tried_at.is_(None)).limit(limit)
    if not _any(database, query):
        return 0
    with database.writing() as connection:
        return _match_all(connection, connection.execute(query).all(), now)


def match_new_studies(database: Database, limit: int, now: datetime) -> int:
    """Look at the reports that new studies might belong to; return how many studies were taken up.

    A report that was tied by less than its study UID is looked at again: it may not be alone any
    more.
    """
    new = select(StudyRow.study_uid).where(StudyRow.reports_sought_at.is_(None)).limit(limit)
    if not _any(database, new):
        return 0
    with database.writing() as connection:
        uids = list(connection.scalars(new))
        take_turn(connection)
        # Before they are read: a series that comes meanwhile asks for another look, which stands.
        lock_studies(connection, uids)
        studies = connection.execute(
            select(
                StudyRow.study_uid,
                StudyRow.accession_number,
                StudyRow.patient_id,
                StudyRow.study_date,
            ).where(StudyRow.study_uid.in_(uids))
        ).all()
        _match_all(connection, _concerned(connection, studies), now)
        connection.execute(
            update(StudyRow).where(StudyRow.study_uid.in_(uids)).values(reports_sought_at=now)
        )
        return len(studies)


def _concerned(
    connection: Connection, studies: Sequence[Row[str, str, str, str]]
) -> list[_ReportToMatch]:
    """Reports that state a key of one of the studies; one query for each key and its index."""
    days = {(each.patient_id, each.study_date) for each in studies if each.patient_id}
    keys: tuple[tuple[ColumnElement[str], set[str]], ...] = (
        (ReportRow.stated_study_uid.expression, {each.study_uid for each in studies}),
        (ReportRow.accession_number.expression, {each.accession_number for each in studies} - {""}),
        # Not in pairs: for a list of pairs SQLite reads the whole table.
        (ReportRow.patient_id.expression, {patient for patient, _ in days}),
    )
    found: dict[int, _ReportToMatch] = {}
    for column, values in keys:
        query = _reports().where(
            column.in_(sorted(values)),
            ReportRow.is_current,
            ReportRow.match_tried_at.is_not(None),
        )
        by_patient = column is keys[-1][0]
        for row in connection.execute(query) if values else ():
            if not by_patient or (row.patient_id, row.study_date) in days:
                found[row.id] = row
    return list(found.values())


def _any(database: Database, query: Select[*tuple[Any, ...]]) -> bool:
    """Looked up without the write lock, which the receiver needs."""
    with database.reading() as connection:
        return connection.execute(query.limit(1)).first() is not None


def _reports() -> Select[*tuple[Any, ...]]:
    return select(
        ReportRow.id,
        ReportRow.stated_study_uid,
        ReportRow.accession_number,
        ReportRow.patient_id,
        ReportRow.study_date,
        ReportRow.modality,
        ReportRow.study_uid,
        ReportRow.matched_by,
        ReportRow.match_note,
        ReportRow.match_tried_at,
    )


def _match_all(connection: Connection, reports: Sequence[_ReportToMatch], now: datetime) -> int:
    """Write down what has changed; return how many were looked at."""
    found = [(report, _match(connection, report)) for report in reports]
    changed = [(report, match) for report, match in found if _is_news(report, match)]
    with recounted(connection, [report.id for report, _ in changed], study_only=True):
        for report, match in changed:
            connection.execute(
                update(ReportRow)
                .where(ReportRow.id == report.id)
                .values(
                    study_uid=match.study_uid,
                    matched_by=match.by.value if match.by else None,
                    match_note=match.note,
                    match_tried_at=now,
                )
            )
    events = [event for report, match in changed for event in _events(report, match)]
    write_events(connection, events, now)
    return len(reports)


def _is_news(report: _ReportToMatch, match: _Match) -> bool:
    by = match.by.value if match.by else None
    known = (report.study_uid, report.matched_by, report.match_note)
    return report.match_tried_at is None or (match.study_uid, by, match.note) != known


def _events(report: _ReportToMatch, match: _Match) -> list[Event]:
    """What changed for the study it was tied to, and for the one it is tied to now."""
    if match.study_uid == report.study_uid:
        return []
    events = []
    if report.study_uid is not None:
        facts = {"report": report.id, "was_by": report.matched_by, "reason": match.note}
        study_uid = StudyUid(report.study_uid)
        events.append(Event(name=EventName.REPORT_UNTIED, study_uid=study_uid, facts=facts))
    if match.study_uid is not None and match.by is not None:
        facts = {"report": report.id, "by": match.by.value}
        study_uid = StudyUid(match.study_uid)
        events.append(Event(name=EventName.REPORT_MATCHED, study_uid=study_uid, facts=facts))
    return events


def _match(connection: Connection, report: _ReportToMatch) -> _Match:
    """By the best key that is stated, and by no other; only where that is sure.

    A stated key that is not there waits: on the same day the patient may have had another study.
    """
    if report.stated_study_uid:
        query = select(StudyRow.study_uid).where(StudyRow.study_uid == report.stated_study_uid)
        if connection.scalar(query) is None:
            return _Match(note="no study has its study UID yet")
        return _Match(study_uid=report.stated_study_uid, by=MatchedBy.STUDY_UID)
    if report.accession_number:
        return _by_accession(connection, report)
    if report.patient_id and report.study_date:
        return _by_patient_and_date(connection, report)
    return _Match(note="states neither study UID, nor accession number, nor patient and date")


def _by_accession(connection: Connection, report: _ReportToMatch) -> _Match:
    query = (
        select(StudyRow.study_uid, StudyRow.patient_id)
        .where(StudyRow.accession_number == report.accession_number)
        .limit(MOST_CANDIDATES)
    )
    found = connection.execute(query).all()
    if not found:
        return _Match(note="no study has its accession number yet")
    agreeing = [
        each.study_uid
        for each in found
        if not (each.patient_id and report.patient_id) or each.patient_id == report.patient_id
    ]
    if not agreeing:
        return _Match(note="the study with its accession number has another patient ID")
    if len(agreeing) > 1:
        # One order may have led to several studies; the modality may tell them apart.
        among = select(StudyRow.study_uid).where(StudyRow.study_uid.in_(agreeing))
        fitting = list(connection.scalars(_of_its_modality(among, report)))
        if len(fitting) != 1:
            return _Match(note=f"{len(agreeing)} studies have its accession number")
        agreeing = fitting
    return _Match(study_uid=agreeing[0], by=MatchedBy.ACCESSION)


def _by_patient_and_date(connection: Connection, report: _ReportToMatch) -> _Match:
    query = select(StudyRow.study_uid).where(
        StudyRow.patient_id == report.patient_id, StudyRow.study_date == report.study_date
    )
    found = list(connection.scalars(_of_its_modality(query, report).limit(MOST_CANDIDATES)))
    if len(found) == 1:
        return _Match(study_uid=found[0], by=MatchedBy.PATIENT_AND_DATE)
    if not found:
        return _Match(note="no study of the patient on that day yet")
    return _Match(note=f"{len(found)} studies of the patient on that day")


def _of_its_modality(query: Select[str], report: _ReportToMatch) -> Select[str]:
    """Narrowed to studies with a series of the modality that the report states, if it does."""
    if not report.modality:
        return query
    series = select(SeriesRow.series_uid).where(
        SeriesRow.study_uid == StudyRow.study_uid, SeriesRow.modality == report.modality
    )
    return query.where(series.exists())
