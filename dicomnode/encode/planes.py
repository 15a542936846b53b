"""Axial, coronal and sagittal pictures of a volume, turned the way radiologists look at them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomnode.domain.findings import Mark
from dicomnode.domain.volumes import Grid

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """How array axes map to the patient's: head-foot, front-back, side to side.

    Turned arrays have axes (feet to head, front to back, right to left); of an oblique series each
    axis counts as the patient's axis it is nearest to.
    """

    axes: tuple[int, int, int]
    """Array axis for each turned axis."""
    flipped: tuple[bool, bool, bool]
    """For each turned axis: does the array run the other way?"""
    spacing_mm: tuple[float, float, float]
    """Along the turned axes."""

    @classmethod
    def of(cls, grid: Grid) -> "Turn":
        """The turn that fits a grid's affine (LPS)."""
        steps = grid.affine_lps_mm[:3, :3]
        cosines = np.abs(steps / np.linalg.norm(steps, axis=0))
        array_axis_of: dict[int, int] = {}
        for _ in range(3):
            patient_axis, array_axis = np.unravel_index(cosines.argmax(), cosines.shape)
            array_axis_of[int(patient_axis)] = int(array_axis)
            cosines[patient_axis, :] = cosines[:, array_axis] = -1
        axes = (array_axis_of[2], array_axis_of[1], array_axis_of[0])
        flipped = tuple(bool(steps[2 - turned, axes[turned]] < 0) for turned in range(3))
        spacing = tuple(grid.spacing_mm[axis] for axis in axes)
        return cls(
            axes=axes,
            flipped=(flipped[0], flipped[1], flipped[2]),
            spacing_mm=(spacing[0], spacing[1], spacing[2]),
        )

    def apply(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """A turned view of `array`."""
        turned = array.transpose(self.axes)
        return turned[tuple(slice(None, None, -1 if flip else None) for flip in self.flipped)]

    def point(self, index: Points, shape: tuple[int, int, int]) -> Points:
        """Continuous array index (slice, row, column) -> turned index."""
        turned = index[list(self.axes)]
        last = np.array([shape[axis] - 1 for axis in self.axes])
        return np.where(self.flipped, last - turned, turned)

    @property
    def slice_axis(self) -> int:
        """The turned axis along which slices are stacked."""
        return self.axes.index(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """One of the three ways to cut a turned volume."""

    name: str
    fixed: int
    """Turned axis that is cut."""
    rows: int
    """Turned axis that runs down the picture."""
    columns: int
    upside_down: bool
    """True where the row axis runs up, so that the head is at the top."""
    letters: tuple[str, str, str, str]
    """What lies at the left, right, top and bottom of the picture."""

    def cut(self, turned: npt.NDArray[np.generic], index: int) -> npt.NDArray[np.generic]:
        """The picture at `index` of the cut axis, (row, column)."""
        picture = np.take(turned, index, axis=self.fixed)
        return picture[::-1] if self.upside_down else picture

    def size_mm(self, shape: tuple[int, ...], turn: Turn) -> tuple[float, float]:
        """Height and width."""
        height = shape[self.rows] * turn.spacing_mm[self.rows]
        return height, shape[self.columns] * turn.spacing_mm[self.columns]

    def points_of(self, mark: Mark, turn: Turn, shape: tuple[int, int, int]) -> Points:
        """A mark's points as fractions (across, down) of the picture."""
        turned_shape = [shape[axis] for axis in turn.axes]
        placed = []
        for column, row in mark.points:
            index = np.array([mark.slice_index, row - 0.5, column - 0.5])
            turned = turn.point(index, shape)
            across = (turned[self.columns] + 0.5) / turned_shape[self.columns]
            down = (turned[self.rows] + 0.5) / turned_shape[self.rows]
            placed.append((across, 1 - down if self.upside_down else down))
        return np.array(placed)


AXIAL = Plane(
    name="axial", fixed=0, rows=1, columns=2, upside_down=False, letters=("R", "L", "A", "P")
)
CORONAL = Plane(
    name="coronal", fixed=1, rows=0, columns=2, upside_down=True, letters=("R", "L", "H", "F")
)
SAGITTAL = Plane(
    name="sagittal", fixed=2, rows=0, columns=1, upside_down=True, letters=("A", "P", "H", "F")
)
PLANES = (AXIAL, CORONAL, SAGITTAL)
