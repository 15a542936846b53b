"""Two segmentations of the same images beside each other, segment by segment."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array

from dicomnode.domain.errors import EncodeError
from dicomnode.domain.judgements import SegmentComparison
from dicomnode.encode.stated_planes import functional_group, stated_plane

LARGEST_FILE = 1_000_000_000
MOST_FRAMES = 20_000
MOST_PIXELS = 64_000_000
"""Of one frame."""

Mask = npt.NDArray[np.bool_]
Key = tuple[str, ...]
"""Names the image plane a frame lies on."""
KeyOf = Callable[[Dataset, int], Key | None]
Pair = tuple[int, int]
"""Segment number in ours and in theirs; 0: there is none."""


@dataclass(slots=True, kw_only=True)
class _Counts:
    """Voxels of one pair of segments."""

    ours: int = 0
    theirs: int = 0
    both: int = 0

    @property
    def dice(self) -> float:
        every = self.ours + self.theirs
        return 2 * self.both / every if every else 1.0


def compare_segmentations(ours: Path, theirs: Path) -> tuple[SegmentComparison, ...]:
    """Voxel by voxel, plane by plane.

    Segments go together by tracking UID, else by label, else if there is one of each. Frames go
    together by the image they refer to, else by their position.

    Raises:
        EncodeError: they do not lie on the same pixel grid, or theirs cannot be read.
    """
    try:
        first, second = _opened(ours), _opened(theirs)
        pairs = _pairs(first, second)
        counts = _counted(first, second, pairs)
        voxel_ml = _voxel_ml(first)
    except EncodeError:
        raise
    except Exception as exc:  # peers write anything, and pydicom meets it as any error
        raise EncodeError(f"its segments cannot be read ({type(exc).__name__})") from exc
    ours_named, theirs_named = _labels(first), _labels(second)
    return tuple(
        SegmentComparison(
            name=ours_named[mine] if mine else theirs_named[other],
            ours_voxels=counts[mine, other].ours,
            theirs_voxels=counts[mine, other].theirs,
            ours_ml=None if voxel_ml is None else counts[mine, other].ours * voxel_ml,
            theirs_ml=None if voxel_ml is None else counts[mine, other].theirs * voxel_ml,
            dice=counts[mine, other].dice,
        )
        for mine, other in pairs
    )


def _opened(path: Path) -> Dataset:
    if path.stat().st_size > LARGEST_FILE:
        raise EncodeError("a segmentation of more than 1 GB is not compared")
    ds = dcmread(path)
    if not 0 < int(ds.NumberOfFrames) <= MOST_FRAMES or ds.Rows * ds.Columns > MOST_PIXELS:
        raise EncodeError("it has more or larger frames than are compared")
    return ds


def _labels(ds: Dataset) -> dict[int, str]:
    return {
        int(one.SegmentNumber): str(one.get("SegmentLabel", one.SegmentNumber))
        for one in ds.SegmentSequence
    }


def _pairs(first: Dataset, second: Dataset) -> Sequence[Pair]:
    """Every segment once: with its counterpart, or alone."""
    mine = {int(one.SegmentNumber): one for one in first.SegmentSequence}
    left = {int(one.SegmentNumber): one for one in second.SegmentSequence}
    pairs: dict[int, int] = {}
    for same in (_same_tracking, _same_label):
        for number, segment in mine.items():
            found = [other for other, theirs in left.items() if same(segment, theirs)]
            if number not in pairs and found:
                pairs[number] = found[0]
                del left[found[0]]
    if len(mine) == len(left) == 1:
        pairs[next(iter(mine))] = left.popitem()[0]
    return [*((number, pairs.get(number, 0)) for number in mine), *((0, other) for other in left)]


def _same_tracking(one: Dataset, other: Dataset) -> bool:
    return "TrackingUID" in one and one.get("TrackingUID") == other.get("TrackingUID")


def _same_label(one: Dataset, other: Dataset) -> bool:
    labels = [str(each.get("SegmentLabel", "")).strip().lower() for each in (one, other)]
    return labels[0] == labels[1] != ""


def _counted(first: Dataset, second: Dataset, pairs: Sequence[Pair]) -> Mapping[Pair, _Counts]:
    counts = {pair: _Counts() for pair in pairs}
    if (first.Rows, first.Columns) != (second.Rows, second.Columns):
        raise EncodeError("it lies on another pixel grid than ours")
    ours, theirs = _planes(first, second)
    empty = np.zeros((first.Rows, first.Columns), dtype=bool)
    for key in ours.keys() | theirs.keys():
        if key in ours and key in theirs:
            _check_same_plane(first, ours[key][0], second, theirs[key][0])
        masks = _masks(first, ours.get(key, ())), _masks(second, theirs.get(key, ()))
        for (mine, other), count in counts.items():
            a, b = masks[0].get(mine, empty), masks[1].get(other, empty)
            count.ours += int(a.sum())
            count.theirs += int(b.sum())
            count.both += int((a & b).sum())
    return counts


Planes = Mapping[Key, Sequence[int]]
"""Plane -> indices of its frames."""


def _planes(first: Dataset, second: Dataset) -> tuple[Planes, Planes]:
    for key_of in (_source_key, _position_key):
        ours, theirs = _planes_by(first, key_of), _planes_by(second, key_of)
        if ours is not None and theirs is not None:
            return ours, theirs
    raise EncodeError("its frames neither refer to images nor state positions as ours do")


def _planes_by(ds: Dataset, key_of: KeyOf) -> Planes | None:
    """None: some frame has no such key."""
    planes: dict[Key, list[int]] = defaultdict(list)
    for index in range(int(ds.NumberOfFrames)):
        key = key_of(ds, index)
        if key is None:
            return None
        planes[key].append(index)
    return planes


def _source_key(ds: Dataset, index: int) -> Key | None:
    derivation = functional_group(ds, index, "DerivationImageSequence")
    sources = derivation.get("SourceImageSequence") if derivation is not None else None
    if not sources:
        return None
    image = sources[0]
    return str(image.ReferencedSOPInstanceUID), str(image.get("ReferencedFrameNumber", 1))


def _position_key(ds: Dataset, index: int) -> Key | None:
    item = functional_group(ds, index, "PlanePositionSequence")
    if item is None or "FrameOfReferenceUID" not in ds:
        return None
    numbers = [f"{float(number):.1f}" for number in item.ImagePositionPatient]
    return str(ds.FrameOfReferenceUID), *numbers


def _check_same_plane(first: Dataset, mine: int, second: Dataset, other: int) -> None:
    """Frames of one image may be turned or shifted against each other, where both state it."""
    if functional_group(first, mine, "PlanePositionSequence") is None:
        return
    if functional_group(second, other, "PlanePositionSequence") is None:
        return
    if not stated_plane(first, mine).agrees_with(stated_plane(second, other)):
        raise EncodeError("its frames lie turned or shifted against ours")


def _masks(ds: Dataset, indices: Sequence[int]) -> Mapping[int, Mask]:
    """Segment number -> pixels on one plane."""
    masks: dict[int, Mask] = {}
    for index in indices:
        for number, mask in _frame(ds, index):
            masks[number] = masks[number] | mask if number in masks else mask
    return masks


def _frame(ds: Dataset, index: int) -> Iterator[tuple[int, Mask]]:
    kind = str(ds.get("SegmentationType", "BINARY"))
    if kind == "LABELMAP":
        values = pixel_array(ds, index=index)
        for number in np.unique(values[values > 0]).tolist():
            yield int(number), values == number
        return
    group = functional_group(ds, index, "SegmentIdentificationSequence")
    if group is None:
        raise EncodeError(f"frame {index + 1} belongs to no segment")
    number = int(group.ReferencedSegmentNumber)
    if kind == "FRACTIONAL":
        half = int(ds.get("MaximumFractionalValue", 255)) / 2
        yield number, pixel_array(ds, index=index) >= half
    elif ds.file_meta.TransferSyntaxUID.is_encapsulated:
        yield number, pixel_array(ds, index=index) > 0
    else:
        yield number, _bits(ds, index)


def _bits(ds: Dataset, index: int) -> Mask:
    """One frame of bit-packed pixel data, which runs on across frames (PS3.5 8.1.1)."""
    size = int(ds.Rows) * int(ds.Columns)
    start, end = index * size, (index + 1) * size
    packed = np.frombuffer(ds.PixelData, dtype=np.uint8)[start // 8 : (end + 7) // 8]
    bits = np.unpackbits(packed, bitorder="little")[start % 8 : start % 8 + size]
    return bits.reshape(ds.Rows, ds.Columns).astype(bool)


def _voxel_ml(ds: Dataset) -> float | None:
    """Volume of one voxel; None where frames have no place in space."""
    if functional_group(ds, 0, "PlanePositionSequence") is None:
        return None
    planes = [stated_plane(ds, index) for index in range(int(ds.NumberOfFrames))]
    first = planes[0]
    normal = np.cross(first.cosines[:3], first.cosines[3:])
    heights = np.unique(np.round([float(normal @ plane.position) for plane in planes], 3))
    if len(heights) > 1:
        # What slices are thick says nothing of how far apart they lie.
        between = float(np.diff(heights).min())
    else:
        measures = functional_group(ds, 0, "PixelMeasuresSequence")
        between = float((measures or Dataset()).get("SliceThickness") or 0)
    return float(first.spacing.prod()) * between / 1000 if between else None
