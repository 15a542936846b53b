"""Lesions over time: what is kept of an earlier CT, and what a comparison with it says."""

from dataclasses import dataclass
from datetime import date
from enum import Enum

from dicomnode.domain.codes import Code
from dicomnode.domain.identifiers import JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyMap:
    """The tissues of a CT, coarse: what two scans of one patient are laid on each other by.

    Voxel (z, y, x) of the map lies at `origin_lps_mm` (x, y, z) + index x `spacing_mm` in the
    patient, axes along those of LPS. The array is packed, so that the map can be kept as text.
    """

    shape: tuple[int, int, int]
    origin_lps_mm: tuple[float, float, float]
    spacing_mm: float
    packed: str
    """uint8 classes of `pipeline.body_map`, in C order, zlib, base64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionPlace:
    """Where a lesion lies and how large it is."""

    tracking_uid: str
    center_lps_mm: tuple[float, float, float]
    long_axis_mm: float
    short_axis_mm: float
    volume_ml: float | None = None
    sop_instance_uid: str = ""
    """The image that its axes are drawn on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorLesion:
    """A lesion of an earlier study."""

    name: str
    type: Code
    place: LesionPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorStudy:
    """What the same algorithm found in an earlier CT of the same patient."""

    job_id: JobId
    study_date: date
    body: BodyMap
    lesions: tuple[PriorLesion, ...]
    same_study: bool = False
    """The revision that this one supersedes: lesions keep their UIDs, and nothing has grown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Priors:
    """The date of a study, and the earlier ones that it is compared with, the newest first."""

    study_date: date
    studies: tuple[PriorStudy, ...]


class Fate(Enum):
    """What became of an earlier lesion that no present one was matched to."""

    NOT_FOUND = "not found again"
    OUTSIDE = "outside of these images"


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingLesion:
    """An earlier lesion without a counterpart."""

    name: str
    tracking_uid: str
    fate: Fate


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """How one earlier study was laid on the present one, and what it told."""

    job_id: JobId
    study_date: date
    days: int
    agreement: float
    """-1 to 1: correlation of the tissues, once laid on each other."""
    common_mm: float
    """Length along the body that both show."""
    reason: str
    """Why nothing was matched; empty if lesions were."""
    missing: tuple[MissingLesion, ...] = ()

    @property
    def usable(self) -> bool:
        """True if lesions were brought in place."""
        return not self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionRecord:
    """A lesion of the present study, as it is listed, queried and found again."""

    place: LesionPlace
    growth: "Growth | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """A lesion's sizes then and now."""

    tracking_uid: str
    prior_job_id: JobId
    prior_name: str
    days: int
    long_axis_percent: float
    short_axis_percent: float
    volume_percent: float | None
    doubling_days: float | None
    """Of the volume; None unless it grew."""
