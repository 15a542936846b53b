"""Lesions in a list, paged by key; and all lesions of one patient over time."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, exists, or_, select, text
from sqlalchemy.orm import aliased

from dicomnode.domain.errors import StudyError
from dicomnode.domain.jobs import JobState
from dicomnode.store.database import Database
from dicomnode.store.tables import FindingRow, JobRow, LesionMissingRow, LesionRow, StudyRow

MOST_OF_A_PATIENT = 1000


class LesionOrder(Enum):
    """What comes first."""

    NEWEST = "newest"
    LARGEST = "largest"
    GROWN = "grown most"


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionKey:
    """The place of a lesion in a list: what it is ordered by, then its number."""

    value: float
    finding_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionSearch:
    """Which lesions; empty values ask for nothing."""

    type: str = ""
    """Part of the type."""
    algorithm: str = ""
    least_mm: float | None = None
    """Of the long axis."""
    least_percent: float | None = None
    """Growth of the long axis."""
    order: LesionOrder = LesionOrder.NEWEST
    behind: LesionKey | None = None
    """Only what stands behind this place: the next page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionTold:
    """One lesion in one study."""

    finding_id: int
    job_id: str
    run: int
    study_uid: str
    study_date: str
    algorithm: str
    name: str
    type: str
    site: str
    score: float | None
    tracking_uid: str
    long_axis_mm: float
    short_axis_mm: float
    volume_ml: float | None
    days: int | None
    """Since the last study that shows it; None: it is new."""
    long_axis_percent: float | None
    volume_percent: float | None
    doubling_days: float | None

    def key(self, order: LesionOrder) -> LesionKey:
        """Its place in a list of that order."""
        value = {
            LesionOrder.NEWEST: 0.0,
            LesionOrder.LARGEST: self.long_axis_mm,
            LesionOrder.GROWN: self.long_axis_percent or 0.0,
        }[order]
        return LesionKey(value=value, finding_id=self.finding_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class SumTold:
    """The sum of diameters of the target lesions in one study."""

    study_uid: str
    study_date: str
    targets: int
    found: int
    sum_mm: float | None
    new_lesions: int
    percent_of_baseline: float | None
    percent_of_nadir: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingTold:
    """An earlier lesion that a later study has no counterpart of."""

    study_date: str
    name: str
    fate: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseTold:
    """What one algorithm marked in one patient, the oldest study first."""

    algorithm: str
    lesions: tuple[LesionTold, ...]
    sums: tuple[SumTold, ...]
    missing: tuple[MissingTold, ...]


def lesions_told(database: Database, search: LesionSearch, *, limit: int) -> list[LesionTold]:
    """Lesions of the last job of each algorithm on each study, in the order asked for."""
    key = _ordered_by(search.order)
    query = _current().where(*_conditions(search))
    if search.behind is not None:
        query = query.where(_behind(search.behind, key))
    order = (
        [LesionRow.finding_id.desc()] if key is None else [key.desc(), LesionRow.finding_id.desc()]
    )
    with database.reading() as connection:
        return [_told(row) for row in connection.execute(query.order_by(*order).limit(limit))]


def courses_told(database: Database, study_uid: str) -> tuple[CourseTold, ...]:
    """The lesions of the patient of a study, by algorithm; of the study alone without PatientID.

    Raises:
        StudyError: there is no such study.
    """
    with database.reading() as connection:
        patient = connection.scalar(
            select(StudyRow.patient_id).where(StudyRow.study_uid == study_uid)
        )
        if patient is None:
            raise StudyError("there is no such study")
        whose = StudyRow.patient_id == patient if patient else StudyRow.study_uid == study_uid
        rows = connection.execute(
            _current()
            .where(whose)
            .order_by(StudyRow.study_date, StudyRow.study_time, LesionRow.finding_id)
            .limit(MOST_OF_A_PATIENT)
        ).all()
        sums = connection.execute(
            text("SELECT * FROM recist_sum WHERE patient = :patient ORDER BY nth"),
            {"patient": patient},
        ).all()
        gone = connection.execute(
            select(StudyRow.study_date, JobRow.algorithm, LesionMissingRow)
            .join(JobRow, JobRow.id == LesionMissingRow.job_id)
            .join(StudyRow, StudyRow.study_uid == JobRow.study_uid)
            .where(whose)
            .order_by(StudyRow.study_date, LesionMissingRow.name)
        ).all()
    algorithms = sorted({row.algorithm for row in rows} | {row.algorithm for row in gone})
    return tuple(
        CourseTold(
            algorithm=name,
            lesions=tuple(_told(row) for row in rows if row.algorithm == name),
            sums=tuple(_sum(row) for row in sums if row.algorithm == name),
            missing=tuple(
                MissingTold(study_date=row.study_date, name=row.name, fate=row.fate)
                for row in gone
                if row.algorithm == name
            ),
        )
        for name in algorithms
    )


def algorithms_with_lesions(database: Database) -> list[str]:
    """Names, in order."""
    query = select(JobRow.algorithm).join(LesionRow, LesionRow.job_id == JobRow.id).distinct()
    with database.reading() as connection:
        return sorted(connection.scalars(query))


def _current() -> Select[*tuple[Any, ...]]:
    """Lesions of jobs that no later one of the same algorithm has taken the place of."""
    later = aliased(JobRow)
    is_superseded = exists().where(
        later.study_uid == JobRow.study_uid,
        later.algorithm == JobRow.algorithm,
        later.state == JobState.SUCCEEDED.value,
        or_(
            later.finished_at > JobRow.finished_at,
            and_(later.finished_at == JobRow.finished_at, later.id > JobRow.id),
        ),
    )
    return (
        select(
            LesionRow,
            FindingRow.name,
            FindingRow.code_meaning,
            FindingRow.site_meaning,
            FindingRow.laterality,
            FindingRow.score,
            JobRow.run,
            JobRow.algorithm,
            JobRow.study_uid,
            StudyRow.study_date,
        )
        .join(FindingRow, FindingRow.id == LesionRow.finding_id)
        .join(JobRow, JobRow.id == LesionRow.job_id)
        .join(StudyRow, StudyRow.study_uid == JobRow.study_uid)
        .where(JobRow.state == JobState.SUCCEEDED.value, ~is_superseded)
    )


def _conditions(search: LesionSearch) -> Sequence[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if search.type:
        conditions.append(FindingRow.code_meaning.icontains(search.type, autoescape=True))
    if search.algorithm:
        conditions.append(JobRow.algorithm == search.algorithm)
    if search.least_mm is not None:
        conditions.append(LesionRow.long_axis_mm >= search.least_mm)
    if search.least_percent is not None:
        conditions.append(LesionRow.long_axis_percent >= search.least_percent)
    if search.order is LesionOrder.GROWN:
        conditions.append(LesionRow.long_axis_percent.is_not(None))
    return conditions


def _ordered_by(order: LesionOrder) -> Any:
    """The column; None: the number alone."""
    return {
        LesionOrder.NEWEST: None,
        LesionOrder.LARGEST: LesionRow.long_axis_mm,
        LesionOrder.GROWN: LesionRow.long_axis_percent,
    }[order]


def _behind(place: LesionKey, key: Any) -> ColumnElement[bool]:
    further = LesionRow.finding_id < place.finding_id
    return further if key is None else or_(key < place.value, and_(key == place.value, further))


def _told(row: Row[*tuple[Any, ...]]) -> LesionTold:
    return LesionTold(
        finding_id=row.finding_id,
        job_id=row.job_id,
        run=row.run,
        study_uid=row.study_uid,
        study_date=row.study_date,
        algorithm=row.algorithm,
        name=row.name,
        type=row.code_meaning or "",
        site=" ".join(filter(None, (row.laterality, row.site_meaning))),
        score=row.score,
        tracking_uid=row.tracking_uid,
        long_axis_mm=row.long_axis_mm,
        short_axis_mm=row.short_axis_mm,
        volume_ml=row.volume_ml,
        days=row.days,
        long_axis_percent=row.long_axis_percent,
        volume_percent=row.volume_percent,
        doubling_days=row.doubling_days,
    )


def _sum(row: Row[Any]) -> SumTold:
    return SumTold(
        study_uid=row.study_uid,
        study_date=row.study_date,
        targets=row.targets,
        found=row.found,
        sum_mm=row.sum_mm,
        new_lesions=row.new_lesions,
        percent_of_baseline=row.percent_of_baseline,
        percent_of_nadir=row.percent_of_nadir,
    )
