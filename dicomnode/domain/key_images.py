"""Images that reports point to ("series 4, image 56"), and which stored frame that is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReference:
    """What one sentence of a report points to."""

    report_id: int
    study_uid: StudyUid | None
    """None: the report has no study here."""
    patient_id: str
    series_number: int | None
    """As written; None: none was."""
    image_number: int
    label: str | None
    concept: str
    assertion: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedFrame:
    """One frame that a person would call by a number."""

    number: int
    """InstanceNumber (0020,0013); of a multi-frame image the frame's own, from 1."""
    sop_instance_uid: InstanceUid
    path: Path
    index: int
    """0-based within the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedSeries:
    """One series, with its images by their numbers."""

    series_uid: SeriesUid
    number: int | None
    """SeriesNumber (0020,0011)."""
    frames: tuple[NumberedFrame, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unresolved:
    """Why it cannot be told which image is meant."""

    reason: str


def resolve(
    reference: ImageReference, series: Sequence[NumberedSeries]
) -> NumberedFrame | Unresolved:
    """The one frame that a reference can mean, or why there is not exactly one."""
    if reference.series_number is not None:
        series = [one for one in series if one.number == reference.series_number]
        if not series:
            return Unresolved(reason=f"the study has no series {reference.series_number} here")
    found = [
        frame for one in series for frame in one.frames if frame.number == reference.image_number
    ]
    if not found:
        return Unresolved(reason=f"no image {reference.image_number} in the series looked at")
    if len(found) > 1:
        named = "of that series" if reference.series_number is not None else "of the study"
        return Unresolved(
            reason=f"{len(found)} images {named} have the number {reference.image_number}"
        )
    return found[0]
