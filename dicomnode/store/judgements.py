"""What people say of results; a later word supersedes, and nothing is overwritten."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from dicomnode.domain.errors import StudyError
from dicomnode.domain.events import Event, EventName
from dicomnode.domain.identifiers import StudyUid
from dicomnode.domain.judgements import WHOLE_RESULT, Judgement, Verdict
from dicomnode.store.database import Database
from dicomnode.store.events import write_events
from dicomnode.store.tables import FindingRow, JobRow, JudgementRow


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgementTold:
    """A word on a result, as it is listed."""

    finding: int
    """0: the whole result."""
    verdict: Verdict
    remark: str
    by: str
    at: datetime
    is_from_object: bool
    """True: an object came back; False: judged on a page."""
    superseded_at: datetime | None


def judge(database: Database, judgement: Judgement) -> None:
    """Write down a judgement on the last run of a job; the one in force is superseded.

    Saying the same twice is written down once.

    Raises:
        StudyError: there is no such job with results, or no such finding.
    """
    with database.writing() as connection:
        write_judgement(connection, judgement, correction_id=None)


def write_judgement(
    connection: Connection, judgement: Judgement, *, correction_id: int | None
) -> None:
    """The same within a transaction; `correction_id` names an object that came back."""
    job = connection.execute(
        select(JobRow.study_uid, JobRow.run)
        .where(JobRow.id == judgement.job_id, JobRow.finished_at.is_not(None))
        .with_for_update()
    ).one_or_none()
    if job is None or not _is_known(connection, judgement):
        raise StudyError("there is no such result or finding")
    mine = (
        (JudgementRow.job_id == judgement.job_id)
        & (JudgementRow.run == job.run)
        & (JudgementRow.finding == judgement.finding)
        & JudgementRow.superseded_at.is_(None)
    )
    earlier = connection.execute(select(JudgementRow).where(mine)).one_or_none()
    said = (judgement.verdict.value, judgement.remark, judgement.by, correction_id)
    if earlier and said == (earlier.verdict, earlier.remark, earlier.by, earlier.correction_id):
        return
    connection.execute(update(JudgementRow).where(mine).values(superseded_at=judgement.at))
    connection.execute(
        insert(JudgementRow).values(
            job_id=judgement.job_id,
            run=job.run,
            finding=judgement.finding,
            verdict=judgement.verdict.value,
            remark=judgement.remark,
            by=judgement.by,
            at=judgement.at,
            correction_id=correction_id,
        )
    )
    judged = Event(
        name=EventName.RESULT_JUDGED,
        study_uid=StudyUid(job.study_uid),
        job_id=judgement.job_id,
        facts={"finding": judgement.finding, "verdict": judgement.verdict.value},
    )
    write_events(connection, [judged], judgement.at)


def _is_known(connection: Connection, judgement: Judgement) -> bool:
    if judgement.finding == WHOLE_RESULT:
        return True
    query = select(FindingRow.id).where(
        FindingRow.job_id == judgement.job_id, FindingRow.number == judgement.finding
    )
    return connection.execute(query).first() is not None


def judgements_of(connection: Connection, job_id: str, run: int) -> Sequence[JudgementTold]:
    """Every word on one run of a job, the newest first."""
    query = (
        select(JudgementRow)
        .where(JudgementRow.job_id == job_id, JudgementRow.run == run)
        .order_by(JudgementRow.id.desc())
    )
    return [
        JudgementTold(
            finding=row.finding,
            verdict=Verdict(row.verdict),
            remark=row.remark,
            by=row.by,
            at=row.at,
            is_from_object=row.correction_id is not None,
            superseded_at=row.superseded_at,
        )
        for row in connection.execute(query)
    ]
