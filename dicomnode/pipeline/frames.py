"""What one image's header says, as values: where it lies, how pixels are kept, what they mean."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid
from dicomnode.domain.volumes import SourceFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelLayout:
    """How a file keeps its pixels (PS3.3 C.7.6.3, PS3.5 section 8)."""

    rows: int
    columns: int
    frames: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    transfer_syntax_uid: str
    encapsulated: bool
    """In fragments, for a decoder; else one frame after the other as they are."""
    offset: int | None
    """Where the value of Pixel Data starts in the file; None: only the whole data set tells."""

    @property
    def frame_bytes(self) -> int:
        """Length of one native frame."""
        return self.rows * self.columns * self.bits_allocated // 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """One SOP instance with pixels."""

    path: Path
    study_uid: StudyUid
    series_uid: SeriesUid
    sop_instance_uid: InstanceUid
    sop_class_uid: str
    modality: str
    instance_number: int | None
    layout: PixelLayout
    patient_id: str = field(repr=False)
    """PatientID, only to be compared; empty: not stated."""

    @property
    def label(self) -> str:
        """What a person calls it."""
        return "one image" if self.instance_number is None else f"image {self.instance_number}"

    def source(self, index: int) -> SourceFrame:
        """The reference that results carry; `index` counts frames from 0."""
        return SourceFrame(
            path=self.path,
            sop_instance_uid=self.sop_instance_uid,
            sop_class_uid=self.sop_class_uid,
            frame_number=index + 1 if self.layout.frames > 1 else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupTable:
    """A Modality or VOI LUT (PS3.3 C.11.1.1, C.11.2.1.1)."""

    first: int
    """The stored value that maps to `values[0]`; everything below does too."""
    values: npt.NDArray[np.float32]
    bits: int
    """Of an entry, so that 2 ** bits - 1 is the brightest."""

    def apply(self, stored: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        """Look every value up; what lies outside takes the nearest end."""
        index = np.clip(stored.astype(np.int64) - self.first, 0, len(self.values) - 1)
        return self.values[index]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescale:
    """Stored values to units: `slope * stored + intercept`, or a Modality LUT instead."""

    slope: float = 1.0
    intercept: float = 0.0
    kind: str | None = None
    """RescaleType, e.g. `HU`; None where the header does not say."""
    stated: bool = False
    """False: the header holds no rescale, so stored values are taken as they are."""
    table: LookupTable | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """Where one image lies in the patient (PS3.3 C.7.6.2)."""

    label: str
    """What a person calls it, e.g. `image 12`."""
    position: tuple[float, float, float]
    """ImagePositionPatient: centre of the first pixel, LPS mm."""
    orientation: tuple[float, float, float, float, float, float]
    """ImageOrientationPatient: unit vectors along a row, then along a column."""
    spacing: tuple[float, float]
    """(between rows, between columns), mm."""
    thickness: float | None
    """SpacingBetweenSlices or SliceThickness; used only when there is one slice."""
    localizer: bool
    """ImageType says LOCALIZER."""
    phase: str
    """What sets images at one position apart (acquisition, echo, time), as the header has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One plane of pixels, in a file of its own or one of many in a multi-frame file."""

    image: ImageFile
    index: int
    """0-based within the file."""
    plane: Plane
    frame_of_reference_uid: str | None
    rescale: Rescale
