"""What a model said of studies, beside what their reports say: for calibrations."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import select

from dicomnode.domain.exporting import LabelValue, combined
from dicomnode.store.database import Database
from dicomnode.store.tables import ComparisonRow, JobRow, StudyRow


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredScore:
    """One class of one study."""

    study_uid: str
    patient: str
    """PatientID, or the study where there is none; never to be written anywhere."""
    label: str
    """As reports have it, e.g. `effusion`."""
    probability: float
    model_digest: str
    said: LabelValue
    """What the reports of the study make together; what none mentions counts as denied."""


def stored_scores(database: Database, algorithm: str) -> Iterator[StoredScore]:
    """Every probability of the algorithm's last jobs for which there is a report that counts."""
    query = (
        select(
            ComparisonRow.study_uid,
            ComparisonRow.label,
            ComparisonRow.score,
            ComparisonRow.report_value,
            JobRow.model_digest,
            StudyRow.patient_id,
        )
        .join(JobRow, JobRow.id == ComparisonRow.job_id)
        .join(StudyRow, StudyRow.study_uid == ComparisonRow.study_uid)
        .where(ComparisonRow.algorithm == algorithm, ComparisonRow.score.is_not(None))
        .order_by(ComparisonRow.study_uid, ComparisonRow.label, ComparisonRow.report_id)
    )
    with database.reading() as connection:
        rows = connection.execute(query).all()
    said: dict[tuple[str, str], list[LabelValue]] = {}
    for row in rows:
        value = LabelValue.NEGATIVE if row.report_value is None else LabelValue(row.report_value)
        said.setdefault((row.study_uid, row.label), []).append(value)
    for row in rows:
        values = said.pop((row.study_uid, row.label), None)
        if values is not None:
            yield StoredScore(
                study_uid=row.study_uid,
                patient=row.patient_id or f"study {row.study_uid}",
                label=row.label,
                probability=row.score,
                model_digest=row.model_digest or "",
                said=combined(values),
            )
