"""What an algorithm says, before it is DICOM.

Masks lie on the source volume's grid, axes (slice, row, column). Points are in the image's own
coordinates as DICOM counts them (PS3.3 C.18.6): column, row; (0, 0) is the top left *corner* of the
first pixel, so the centre of the pixel in column c, row r is (c + 0.5, r + 0.5).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomnode.domain.codes import Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A number with a name and a unit."""

    name: Code
    value: float
    unit: Code
    derivation: Code | None = None
    """E.g. Mean, Standard Deviation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A line or outline on one image.

    `points` is (n, 2) float64, (column, row); closed outlines repeat the first point at the end.
    """

    slice_index: int
    points: npt.NDArray[np.float64]
    measurement: Measurement | None = None
    """The measurement this line shows, if it shows one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFinding:
    """One segment: an organ or other region as a mask, with what was measured in it."""

    name: str
    """Unique among the findings of one run; becomes SegmentLabel."""
    category: Code
    type: Code
    laterality: Code | None
    color: tuple[int, int, int]
    """sRGB, 0 to 255."""
    mask: npt.NDArray[np.bool_]
    measurements: tuple[Measurement, ...] = ()
    site: Code | None = None
    """Where it lies; None for organs, whose type says it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionFinding:
    """One lesion: place, size, score; a mask where there is one."""

    name: str
    """Unique among the findings of one run, e.g. `Nodule 1`."""
    type: Code
    site: Code | None
    laterality: Code | None
    score: float
    """0 to 1."""
    marks: tuple[Mark, ...]
    measurements: tuple[Measurement, ...] = ()
    mask: npt.NDArray[np.bool_] | None = None
    color: tuple[int, int, int] = (213, 94, 0)
    box_lps_mm: npt.NDArray[np.float64] | None = None
    """(2, 3): least and greatest corner in the patient (LPS), in millimetres."""
    tracking_uid: str | None = None
    """The one it has since an earlier study; None: one is derived from the job."""
    operating_point: float | None = None
    """The least score that was marked at; None: it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementFinding:
    """Measurements of a structure, drawn by lines on the image."""

    name: str
    finding: Code
    site: Code | None
    measurements: tuple[Measurement, ...]
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFinding:
    """A probability for one class, judged at an operating point."""

    name: str
    finding: Code
    probability: float
    operating_point: float
    marks: tuple[Mark, ...] = ()

    @property
    def positive(self) -> bool:
        """True at or above the operating point."""
        return self.probability >= self.operating_point


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionFinding:
    """A short description in words."""

    name: str
    text: str


Finding = SegmentFinding | LesionFinding | MeasurementFinding | ClassFinding | CaptionFinding
