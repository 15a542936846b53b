"""Results with their findings and what people say of them, for a page; listed by key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, select, tuple_

from dicomnode.domain.errors import StudyError
from dicomnode.domain.identifiers import JobId
from dicomnode.domain.jobs import JobState
from dicomnode.domain.judgements import Verdict
from dicomnode.store.database import Database
from dicomnode.store.judgements import JudgementTold, judgements_of
from dicomnode.store.story import FindingTold, findings_told
from dicomnode.store.tables import (
    CorrectionRow,
    CorrectionSegmentRow,
    FindingRow,
    JobRow,
    JudgementRow,
    StudyRow,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentTold:
    """One segment that came back, beside ours."""

    name: str
    ours_ml: float | None
    theirs_ml: float | None
    dice: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionTold:
    """An object that came back."""

    sop_instance_uid: str
    kind: str
    sign: str
    sent_by: str
    made_with: str
    note: str
    at: datetime
    segments: tuple[SegmentTold, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultKey:
    """The place of a result in the list, newest first."""

    finished_at: datetime
    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultTold:
    """What one job found, and what people say of it."""

    job_id: JobId
    study_uid: str
    study_date: str
    description: str
    accession_number: str
    algorithm: str
    version: str
    run: int
    finished_at: datetime
    warnings: tuple[str, ...]
    findings: tuple[FindingTold, ...]
    in_force: Mapping[int, JudgementTold]
    """Number of a finding, or 0 for the whole result -> the word in force."""
    superseded: tuple[JudgementTold, ...]
    corrections: tuple[CorrectionTold, ...]

    @property
    def key(self) -> ResultKey:
        """Its place in the list."""
        return ResultKey(finished_at=self.finished_at, job_id=self.job_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultSearch:
    """Which results; empty values ask for nothing."""

    algorithm: str = ""
    study_uid: str = ""
    finding: str = ""
    """Part of a finding's name."""
    verdict: Verdict | None = None
    """Results or findings with this word in force."""
    unjudged: bool = False
    """Only results on which nobody has said anything."""
    before: ResultKey | None = None
    """Only what stands behind this place: the next page."""


def results_told(database: Database, search: ResultSearch, *, limit: int) -> list[ResultTold]:
    """Results, the newest first."""
    query = _matching(search).order_by(JobRow.finished_at.desc(), JobRow.id.desc())
    with database.reading() as connection:
        rows = connection.execute(query.limit(limit)).all()
        return [_told(connection, row) for row in rows]


def result_told(database: Database, job_id: str) -> ResultTold:
    """One of them.

    Raises:
        StudyError: there is no such job with results.
    """
    with database.reading() as connection:
        query = _matching(ResultSearch()).where(JobRow.id == job_id)
        row = connection.execute(query).one_or_none()
        if row is None:
            raise StudyError("there is no such result")
        return _told(connection, row)


def algorithms_with_results(database: Database) -> list[str]:
    """Names, in order."""
    query = select(JobRow.algorithm).where(JobRow.state == JobState.SUCCEEDED.value).distinct()
    with database.reading() as connection:
        return sorted(connection.scalars(query))


def _matching(search: ResultSearch) -> Select[Any, Any, Any, Any]:
    query: Select[Any, Any, Any, Any] = (
        select(JobRow, StudyRow.study_date, StudyRow.description, StudyRow.accession_number)
        .join(StudyRow, StudyRow.study_uid == JobRow.study_uid)
        .where(JobRow.state == JobState.SUCCEEDED.value)
    )
    if search.algorithm:
        query = query.where(JobRow.algorithm == search.algorithm)
    if search.study_uid:
        query = query.where(JobRow.study_uid == search.study_uid)
    if search.finding:
        named = select(FindingRow.job_id).where(
            FindingRow.name.icontains(search.finding, autoescape=True)
        )
        query = query.where(JobRow.id.in_(named))
    words = (
        select(JudgementRow.id)
        .where(
            JudgementRow.job_id == JobRow.id,
            JudgementRow.run == JobRow.run,
            JudgementRow.superseded_at.is_(None),
        )
        .correlate(JobRow)
    )
    if search.verdict is not None:
        query = query.where(words.where(JudgementRow.verdict == search.verdict.value).exists())
    if search.unjudged:
        query = query.where(~words.exists())
    if search.before is not None:
        before = search.before
        place = tuple_(JobRow.finished_at, JobRow.id)
        # Said twice: the first leads the index, the second tells equal moments apart.
        query = query.where(
            JobRow.finished_at <= before.finished_at,
            place < tuple_(before.finished_at, before.job_id),
        )
    return query


def _told(connection: Connection, row: Row[Any, Any, Any, Any]) -> ResultTold:
    words = judgements_of(connection, row.id, row.run)
    return ResultTold(
        job_id=JobId(row.id),
        study_uid=row.study_uid,
        study_date=row.study_date,
        description=row.description,
        accession_number=row.accession_number,
        algorithm=row.algorithm,
        version=row.algorithm_version or "",
        run=row.run,
        finished_at=row.finished_at,
        warnings=tuple(row.warnings or ()),
        findings=findings_told(connection, row.id),
        in_force={one.finding: one for one in words if one.superseded_at is None},
        superseded=tuple(one for one in words if one.superseded_at is not None),
        corrections=_corrections(connection, row.id),
    )


def _corrections(connection: Connection, job_id: str) -> tuple[CorrectionTold, ...]:
    query = (
        select(CorrectionRow)
        .where(CorrectionRow.job_id == job_id)
        .order_by(CorrectionRow.id.desc())
    )
    return tuple(
        CorrectionTold(
            sop_instance_uid=row.sop_instance_uid,
            kind=row.kind,
            sign=row.sign,
            sent_by=row.sent_by,
            made_with=row.made_with,
            note=row.note,
            at=row.at,
            segments=tuple(_segments(connection, row.id)),
        )
        for row in connection.execute(query).all()
    )


def _segments(connection: Connection, correction_id: int) -> Sequence[SegmentTold]:
    query = (
        select(CorrectionSegmentRow)
        .where(CorrectionSegmentRow.correction_id == correction_id)
        .order_by(CorrectionSegmentRow.id)
    )
    return [
        SegmentTold(name=row.name, ours_ml=row.ours_ml, theirs_ml=row.theirs_ml, dice=row.dice)
        for row in connection.execute(query)
    ]
