"""Where files say their frames lie. Read for the gate, apart from everything that writes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomnode.domain.errors import GeometryMismatch
from dicomnode.domain.volumes import Volume
from dicomnode.encode.texts import numbers_of

Numbers = npt.NDArray[np.float64]

_GROUP_OF = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
}
_COUNT = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}

POSITION_TOLERANCE_MM = 0.01
COSINE_TOLERANCE = 0.002
SPACING_TOLERANCE = 0.001
"""Relative. Images of one series may differ by so much in what they round; positions are copied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedPlane:
    """Position, orientation and spacing of one frame, as its file has them (mm, LPS)."""

    position: Numbers
    cosines: Numbers
    """Of a row, then of a column."""
    spacing: Numbers
    """Between rows, between columns."""

    @property
    def to_patient(self) -> Numbers:
        """4 x 3: (row, column, 1) -> (x, y, z, 1) (PS3.3 C.7.6.2.1.1)."""
        matrix = np.zeros((4, 3))
        matrix[:3, 0] = self.cosines[3:] * self.spacing[0]
        matrix[:3, 1] = self.cosines[:3] * self.spacing[1]
        matrix[:3, 2] = self.position
        matrix[3, 2] = 1.0
        return matrix

    def agrees_with(self, other: "StatedPlane") -> bool:
        """True if both lie at one place."""
        return bool(
            np.abs(self.position - other.position).max() <= POSITION_TOLERANCE_MM
            and np.abs(self.cosines - other.cosines).max() <= COSINE_TOLERANCE
            and np.abs(self.spacing / other.spacing - 1).max() <= SPACING_TOLERANCE
        )


def functional_group(ds: Dataset, index: int, keyword: str) -> Dataset | None:
    """The functional group of one frame, its own or the shared one (PS3.3 C.7.6.16)."""
    for place in (
        *ds.get("PerFrameFunctionalGroupsSequence", [])[index : index + 1],
        *ds.get("SharedFunctionalGroupsSequence", []),
    ):
        if keyword in place:
            item: Dataset = place[keyword].value[0]
            return item
    return None


def stated_plane(ds: Dataset, index: int) -> StatedPlane:
    """The plane of the frame at `index` (from 0).

    Raises:
        GeometryMismatch: the file does not state it.
    """
    found = {}
    for keyword, group in _GROUP_OF.items():
        item = functional_group(ds, index, group)
        numbers = numbers_of(ds if item is None else item, keyword, _COUNT[keyword])
        if numbers is None:
            raise GeometryMismatch(f"frame {index + 1} does not state {keyword}")
        found[keyword] = np.array(numbers, dtype=np.float64)
    return StatedPlane(
        position=found["ImagePositionPatient"],
        cosines=found["ImageOrientationPatient"],
        spacing=found["PixelSpacing"],
    )


class SourcePlanes:
    """The plane of each slice, as its source file states it now; read when it is asked for.

    A few lesions lie on a few of a CT's slices: the other files need not be opened again.
    """

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._headers: dict[str, Dataset] = {}

    def of_slice(self, index: int) -> StatedPlane:
        """The plane of the slice at `index`.

        Raises:
            GeometryMismatch: the file does not state it.
        """
        frame = self._volume.frames[index]
        if frame.sop_instance_uid not in self._headers:
            self._headers[frame.sop_instance_uid] = dcmread(
                frame.path,
                stop_before_pixels=True,
                specific_tags=[
                    *_GROUP_OF,
                    "SharedFunctionalGroupsSequence",
                    "PerFrameFunctionalGroupsSequence",
                ],
                force=True,
            )
        return stated_plane(self._headers[frame.sop_instance_uid], (frame.frame_number or 1) - 1)
