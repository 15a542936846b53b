"""Flags of studies that nobody outside has been told of yet.

That one was told, or refused to hear it, is an event of the same job behind the flag's.
"""

from datetime import datetime

from sqlalchemy import Connection, Row, exists, select
from sqlalchemy.orm import aliased

from dicomnode.domain.events import EventName
from dicomnode.domain.notices import Notice, NoticedFinding
from dicomnode.store.database import Database
from dicomnode.store.tables import EventRow, FindingRow, JobRow, StudyRow

_ENDED = (EventName.NOTICE_ACCEPTED.value, EventName.NOTICE_REFUSED.value)


def untold_flags(database: Database, since: datetime, limit: int) -> tuple[Notice, ...]:
    """Flags from `since` on without an end, oldest first."""
    later = aliased(EventRow)
    told = exists().where(
        later.name.in_(_ENDED), later.job_id == EventRow.job_id, later.id > EventRow.id
    )
    query = (
        select(EventRow.id, EventRow.at, EventRow.facts, JobRow, StudyRow)
        .join(JobRow, JobRow.id == EventRow.job_id)
        .join(StudyRow, StudyRow.study_uid == JobRow.study_uid)
        .where(EventRow.name == EventName.STUDY_FLAGGED.value, EventRow.at >= since, ~told)
        .order_by(EventRow.id)
        .limit(limit)
    )
    with database.reading() as connection:
        return tuple(_notice(connection, row) for row in connection.execute(query))


def _notice(connection: Connection, row: Row[tuple[object, ...]]) -> Notice:
    facts = row.facts
    return Notice(
        id=row.id,
        flagged_at=row.at,
        job_id=row.id_1,
        study_uid=row.study_uid,
        rule=row.rule_name,
        urgency=str(facts.get("to", "")),
        algorithm=row.algorithm,
        algorithm_version=row.algorithm_version or "",
        findings=_findings(connection, row.id_1, str(facts.get("finding", ""))),
        patient_id=row.patient_id,
        patient_name=row.patient_name,
        patient_birth_date=row.patient_birth_date,
        patient_sex=row.patient_sex,
        accession_number=row.accession_number,
        study_date=row.study_date,
        study_time=row.study_time,
        description=row.description,
    )


def _findings(connection: Connection, job: str, named: str) -> tuple[NoticedFinding, ...]:
    """Those the flag names, in the order of the report."""
    wanted = set(named.split(", "))
    rows = connection.execute(
        select(FindingRow).where(FindingRow.job_id == job).order_by(FindingRow.number)
    )
    return tuple(
        NoticedFinding(
            name=row.name,
            code=(row.code_value, row.code_scheme, row.code_meaning) if row.code_value else None,
            score=row.score,
        )
        for row in rows
        if row.name in wanted
    )
