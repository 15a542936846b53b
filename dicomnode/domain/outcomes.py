"""What a run leaves behind for SQL and people: findings without their pixels."""

from dataclasses import dataclass
from pathlib import Path

from dicomnode.domain.codes import Code
from dicomnode.domain.findings import (
    CaptionFinding,
    ClassFinding,
    Finding,
    LesionFinding,
    Measurement,
    MeasurementFinding,
    SegmentFinding,
)
from dicomnode.domain.follow_up import BodyMap, Compared, LesionRecord
from dicomnode.domain.results import EncodedObject


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingRecord:
    """One finding, as it is listed and queried."""

    kind: str
    """segment, lesion, measurement, class or caption."""
    name: str
    code: Code | None = None
    site: Code | None = None
    laterality: Code | None = None
    score: float | None = None
    text: str | None = None
    measurements: tuple[Measurement, ...] = ()
    lesion: LesionRecord | None = None
    """Place, size and growth, for lesions that can be found again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """Everything one run of an algorithm made."""

    algorithm: str
    algorithm_version: str
    model_digest: str
    device: str
    findings: tuple[FindingRecord, ...]
    objects: tuple[EncodedObject, ...]
    preview: Path | None
    warnings: tuple[str, ...]
    seconds: dict[str, float]
    """Stage -> wall seconds."""
    voxels: int | None = None
    """Of all inputs."""
    peak_bytes: int | None = None
    """What the run took of its device's memory at most; None where nobody can tell."""
    body: BodyMap | None = None
    """Of the CT in which lesions were looked for."""
    compared: tuple[Compared, ...] = ()
    """Earlier studies of the patient, the newest first."""


def record_of(finding: Finding) -> FindingRecord:
    """The finding without its mask and marks."""
    match finding:
        case SegmentFinding():
            return FindingRecord(
                kind="segment",
                name=finding.name,
                code=finding.type,
                site=finding.site,
                laterality=finding.laterality,
                measurements=finding.measurements,
            )
        case LesionFinding():
            return FindingRecord(
                kind="lesion",
                name=finding.name,
                code=finding.type,
                site=finding.site,
                laterality=finding.laterality,
                score=finding.score,
                measurements=finding.measurements,
            )
        case MeasurementFinding():
            return FindingRecord(
                kind="measurement",
                name=finding.name,
                code=finding.finding,
                site=finding.site,
                measurements=finding.measurements,
            )
        case ClassFinding():
            return FindingRecord(
                kind="class",
                name=finding.name,
                code=finding.finding,
                score=finding.probability,
                text="positive" if finding.positive else "negative",
            )
        case CaptionFinding():
            return FindingRecord(kind="caption", name=finding.name, text=finding.text)
