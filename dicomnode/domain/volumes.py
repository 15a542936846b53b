"""Pixels with their place in the patient."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Where array indices lie in the patient.

    Array axes are (slice, row, column). `affine_lps_mm @ (slice, row, column, 1)` is the centre of
    that voxel in the patient coordinate system of DICOM (LPS: x to the left, y to the back, z to
    the head), in millimetres (PS3.3 C.7.6.2.1.1).
    """

    affine_lps_mm: npt.NDArray[np.float64]
    """4 x 4. For an uncalibrated radiograph: pixels instead of millimetres, see `calibrated`."""
    shape: tuple[int, int, int]
    """(slices, rows, columns)."""
    frame_of_reference_uid: str | None
    """None for projection radiographs."""
    calibrated: bool = True
    """False: the image has no pixel spacing; lengths are in pixels."""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbours along (slice, row, column) axes."""
        steps = np.linalg.norm(self.affine_lps_mm[:3, :3], axis=0)
        return float(steps[0]), float(steps[1]), float(steps[2])

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel."""
        return float(abs(np.linalg.det(self.affine_lps_mm[:3, :3])))


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFrame:
    """The image that one slice of a volume was read from."""

    path: Path
    sop_instance_uid: InstanceUid
    sop_class_uid: str
    frame_number: int | None
    """1-based, for multi-frame images; None for classic ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """One series as a regular grid of values.

    `array` is float32 of `grid.shape`. CT: Hounsfield units. Radiographs: one slice, 0 (dark, air)
    to 1 as displayed by the header's VOI window, MONOCHROME1 inverted. Slices rise along the
    normal (row direction x column direction).
    """

    study_uid: StudyUid
    series_uid: SeriesUid
    modality: str
    array: npt.NDArray[np.float32]
    grid: Grid
    frames: tuple[SourceFrame, ...]
    """In slice order, `len(frames) == grid.shape[0]`."""
    warnings: tuple[str, ...] = ()
    """What a reader should know, e.g. that the pixel spacing is that of the detector."""
    orientation: tuple[str, str] | None = None
    """Of radiographs: where rows and columns lead (PatientOrientation), if the header says."""
