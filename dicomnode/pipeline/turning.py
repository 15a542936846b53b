"""Radiographs that are stored turned or mirrored, as their header says, are read upright.

A network for frontal radiographs has learned one way to look at them: upright, the patient's left
at the viewer's right (PatientOrientation L\\F). Detectors also store them mirrored or turned, and
say so there (PS3.3 C.7.6.1.1.1). Read as stored, right and left would be exchanged in the result.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from dicomnode.domain.findings import (
    ClassFinding,
    Finding,
    LesionFinding,
    Mark,
    MeasurementFinding,
    SegmentFinding,
)
from dicomnode.domain.volumes import Grid, Volume

_Pixel = TypeVar("_Pixel", bound=np.generic)
UPRIGHT = ("L", "F")
"""PatientOrientation of a frontal image as it is looked at."""
_ACROSS, _DOWN = ("L", "R"), ("F", "H")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """From an image as it is stored to one that is looked at: exchange axes first, then mirror."""

    exchange: bool
    """Rows become columns."""
    mirror: bool
    """Left becomes right."""
    upend: bool
    """Top becomes bottom."""

    def turned(self, array: npt.NDArray[_Pixel]) -> npt.NDArray[_Pixel]:
        """`(rows, columns)` as they are stored, as they are looked at; a copy."""
        array = array.T if self.exchange else array
        return array[:: -1 if self.upend else 1, :: -1 if self.mirror else 1].copy()

    def upright(self, volume: Volume) -> Volume:
        """The image as it is looked at; its grid keeps the sizes of pixels, not the place."""
        array = self.turned(volume.array[0])[np.newaxis]
        array.flags.writeable = False
        return replace(volume, array=array, grid=self._grid(volume.grid), orientation=UPRIGHT)

    def findings_back(
        self, findings: Sequence[Finding], shape: tuple[int, int]
    ) -> tuple[Finding, ...]:
        """Findings on the upright image, on the stored one; `shape`: its rows and columns."""
        return tuple(self._back(finding, shape) for finding in findings)

    def to_stored(self, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
        """3 x 3: (column, row, 1) on the upright image to the stored one's, both counted from
        the corner of the first pixel; `shape`: rows and columns of the stored one."""
        rows, columns = shape[::-1] if self.exchange else shape
        back = np.eye(3)
        if self.mirror:
            back[0] = [-1, 0, columns]
        if self.upend:
            back[1] = [0, -1, rows]
        return back[[1, 0, 2]] if self.exchange else back

    def box_seen(
        self, box: tuple[float, float, float, float], shape: tuple[int, int]
    ) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of a box on the stored image, of `shape`, on the upright one."""
        left, top, right, bottom = box
        corners = np.array([[left, top, 1], [right, bottom, 1]])
        seen = np.sort(corners @ np.linalg.inv(self.to_stored(shape)).T, axis=0)
        return float(seen[0, 0]), float(seen[0, 1]), float(seen[1, 0]), float(seen[1, 1])

    def _grid(self, grid: Grid) -> Grid:
        if not self.exchange:
            return grid
        affine, (slices, rows, columns) = grid.affine_lps_mm.copy(), grid.shape
        _, between_rows, between_columns = grid.spacing_mm
        affine[1, 1], affine[0, 2] = between_columns, between_rows
        return replace(grid, affine_lps_mm=affine, shape=(slices, columns, rows))

    def _back(self, finding: Finding, shape: tuple[int, int]) -> Finding:
        if isinstance(finding, SegmentFinding):
            return replace(finding, mask=self._mask_back(finding.mask))
        if isinstance(finding, LesionFinding):
            mask = None if finding.mask is None else self._mask_back(finding.mask)
            return replace(finding, mask=mask, marks=self._marks_back(finding.marks, shape))
        if isinstance(finding, MeasurementFinding | ClassFinding):
            return replace(finding, marks=self._marks_back(finding.marks, shape))
        return finding

    def _mask_back(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        mask = mask[:, :: -1 if self.upend else 1, :: -1 if self.mirror else 1]
        return np.ascontiguousarray(mask.transpose(0, 2, 1) if self.exchange else mask)

    def _marks_back(self, marks: Sequence[Mark], shape: tuple[int, int]) -> tuple[Mark, ...]:
        back = self.to_stored(shape)
        return tuple(
            replace(mark, points=mark.points @ back[:2, :2].T + back[:2, 2]) for mark in marks
        )


def is_frontal(orientation: tuple[str, str]) -> bool:
    """True if one side of the image runs across the patient and the other down, or up."""
    along_row, along_column = (part[:1].upper() for part in orientation)
    across, down = along_row in _ACROSS, along_row in _DOWN
    return (across and along_column in _DOWN) or (down and along_column in _ACROSS)


def turn_of(orientation: tuple[str, str] | None) -> Turn | None:
    """How a radiograph with that PatientOrientation is turned to be looked at.

    None: it lies so already, it does not say how it lies, or it is no frontal view.
    """
    if orientation is None or not is_frontal(orientation):
        return None
    along_row, along_column = (part[:1].upper() for part in orientation)
    exchange = along_row in _DOWN
    if exchange:
        along_row, along_column = along_column, along_row
    turn = Turn(exchange=exchange, mirror=along_row == "R", upend=along_column == "H")
    return turn if exchange or turn.mirror or turn.upend else None
