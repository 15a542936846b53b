"""What is told of a study that findings have made urgent."""

from dataclasses import dataclass
from datetime import datetime

SENDER = "DICOMNODE"
"""MSH-3, by which a node knows notices that are sent back to it as if they were reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticedFinding:
    """One finding that an alert holds for."""

    name: str
    code: tuple[str, str, str] | None
    """Value, scheme, meaning."""
    score: float | None
    """0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A flag of a study, and whom and what it is about."""

    id: int
    """Of the event `study.flagged`."""
    flagged_at: datetime
    job_id: str
    study_uid: str
    rule: str
    urgency: str
    """`stat`, `high` or `routine`."""
    algorithm: str
    algorithm_version: str
    findings: tuple[NoticedFinding, ...]
    patient_id: str
    patient_name: str
    """As DICOM writes it: components parted by `^`."""
    patient_birth_date: str
    patient_sex: str
    accession_number: str
    study_date: str
    study_time: str
    description: str
