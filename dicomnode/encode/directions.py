"""Which side of the patient lies at which edge of an image."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomnode.domain.volumes import Grid

_OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "H": "F", "F": "H"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """Direction letters (PS3.3 C.7.6.1.1.1); empty where the image does not say."""

    left: str
    right: str
    top: str
    bottom: str

    @property
    def patient_orientation(self) -> tuple[str, str] | None:
        """PatientOrientation (0020,0020): where rows and columns lead; None if not known."""
        return (self.right, self.bottom) if self.right and self.bottom else None


def edges_of(grid: Grid, stated: tuple[str, str] | None) -> Edges:
    """From the grid's affine; for radiographs, which have none, from what their header states."""
    if grid.frame_of_reference_uid is None:
        right, bottom = stated or ("", "")
    else:
        right, bottom = _letter(grid.affine_lps_mm[:3, 2]), _letter(grid.affine_lps_mm[:3, 1])
    return Edges(
        left=_OPPOSITE.get(right[:1], ""),
        right=right[:1] if right[:1] in _OPPOSITE else "",
        top=_OPPOSITE.get(bottom[:1], ""),
        bottom=bottom[:1] if bottom[:1] in _OPPOSITE else "",
    )


def _letter(direction: npt.NDArray[np.float64]) -> str:
    """The patient's direction (LPS) a vector is nearest to."""
    axis = int(np.abs(direction).argmax())
    return ("RL", "AP", "FH")[axis][int(direction[axis] > 0)]
