"""The geometry gate: does the SEG just written lie where the network's mask lies?

Nothing of the writing path is used. Each frame is placed by what the file itself says (position,
orientation, spacing), mapped to the patient, and from there to the volume's grid by its affine. All
voxels must agree with the mask, and each frame must lie exactly on the image it refers to.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomnode.domain.blank import blank, filled
from dicomnode.domain.codes import Code
from dicomnode.domain.errors import GeometryMismatch
from dicomnode.domain.findings import Finding, LesionFinding, SegmentFinding
from dicomnode.domain.volumes import Grid, Volume
from dicomnode.encode.stated_planes import (
    SourcePlanes,
    StatedPlane,
    functional_group,
    stated_plane,
)

Mask = npt.NDArray[np.bool_]
Matrix = npt.NDArray[np.float64]

MOST_VOXELS_OFF = 0.6
"""Along any axis of the grid. Slices of a volume that counts as regular may lie a little uneven and
beside each other; whatever lies a slice or a pixel off, or is turned, is further away than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Expected:
    """What a segment has to be."""

    type: Code
    mask: Mask


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """One frame of the file."""

    number: int
    """1-based."""
    pixels: Mask
    """(row, column)."""
    slice_index: int
    """Slice of the volume whose image the frame refers to."""
    plane: StatedPlane | None
    """Where the file says it lies; None for projection radiographs."""


def check_segmentation(path: Path, findings: Sequence[Finding], volume: Volume) -> None:
    """Read the SEG at `path`, BINARY or LABELMAP, and compare it with the masks of `findings`.

    Images without a frame of reference (radiographs) are compared by referred image and pixel grid.

    Raises:
        GeometryMismatch: with the figures. Nothing may be sent then.
    """
    ds = dcmread(path)
    _check_grid(ds, volume)
    numbers = _segment_numbers(ds, findings)
    frames_of = _frames_by_segment(ds, numbers.values())
    if not set(frames_of) <= set(numbers.values()):
        raise GeometryMismatch("frames belong to a segment that is not described")
    planes = None if volume.grid.frame_of_reference_uid is None else SourcePlanes(volume)
    for name, expected in _expected_segments(findings).items():
        placed = blank(volume.grid.shape, np.bool_)
        off = 0.0
        number = numbers[name]
        for frame in _frames(ds, frames_of[number], number, volume, planes):
            off = max(off, _place(frame, placed, volume.grid))
            _check_source_plane(frame, planes)
        if off > MOST_VOXELS_OFF or not _same(filled(placed), expected.mask):
            raise GeometryMismatch(_figures(name, placed, expected.mask, volume.grid, off))


def _same(placed: Mask, mask: Mask) -> bool:
    """Compared slice by slice, which stay near the processor."""
    return all(np.array_equal(*pair) for pair in zip(placed, mask, strict=True))


def _check_source_plane(frame: _Frame, planes: SourcePlanes | None) -> None:
    if planes is None or frame.plane is None:
        return
    stated = planes.of_slice(frame.slice_index)
    if not frame.plane.agrees_with(stated):
        distance = np.linalg.norm(frame.plane.position - stated.position)
        raise GeometryMismatch(
            f"frame {frame.number} lies {distance:.3f} mm from the image it refers to, "
            "or is turned or scaled against it"
        )


def _expected_segments(findings: Iterable[Finding]) -> dict[str, _Expected]:
    return {
        finding.name[:64]: _Expected(type=finding.type, mask=finding.mask)
        for finding in findings
        if isinstance(finding, SegmentFinding | LesionFinding)
        and finding.mask is not None
        and finding.mask.any()
    }


def _check_grid(ds: Dataset, volume: Volume) -> None:
    if (ds.Rows, ds.Columns) != volume.grid.shape[1:]:
        raise GeometryMismatch(
            f"frames of {ds.Rows} x {ds.Columns} on images of {volume.grid.shape[1:]}"
        )
    if ds.get("FrameOfReferenceUID") != volume.grid.frame_of_reference_uid:
        raise GeometryMismatch("the frame of reference is not that of the source")


def _segment_numbers(ds: Dataset, findings: Sequence[Finding]) -> dict[str, int]:
    """SegmentLabel -> SegmentNumber, checked against the codes of the findings."""
    items = [item for item in ds.SegmentSequence if not _is_background(ds, item)]
    numbers = {str(item.SegmentLabel): int(item.SegmentNumber) for item in items}
    expected = _expected_segments(findings)
    if set(numbers) != set(expected):
        raise GeometryMismatch(f"segments {sorted(numbers)} instead of {sorted(expected)}")
    for item in items:
        wanted = expected[str(item.SegmentLabel)].type
        kind = item.SegmentedPropertyTypeCodeSequence[0]
        if (kind.get("CodeValue") or kind.LongCodeValue, kind.CodingSchemeDesignator) != (
            wanted.value,
            wanted.scheme,
        ):
            raise GeometryMismatch(f"segment {item.SegmentLabel!r} is coded as {kind.CodeMeaning}")
    return numbers


def _is_labelmap(ds: Dataset) -> bool:
    return bool(ds.SegmentationType == "LABELMAP")


def _is_background(ds: Dataset, item: Dataset) -> bool:
    """The item that describes the padding value of a LABELMAP (Supplement 243)."""
    return _is_labelmap(ds) and int(item.SegmentNumber) == int(ds.get("PixelPaddingValue", -1))


def _frames_by_segment(ds: Dataset, numbers: Collection[int]) -> Mapping[int, Sequence[int]]:
    """SegmentNumber -> indices of its frames; in a LABELMAP each may lie on all."""
    if _is_labelmap(ds):
        values = set(np.unique(_labels(ds)).tolist()) - {int(ds.PixelPaddingValue)}
        return {number: range(int(ds.NumberOfFrames)) for number in {*values, *numbers}}
    frames_of: dict[int, list[int]] = defaultdict(list)
    for index in range(int(ds.NumberOfFrames)):
        segment = functional_group(ds, index, "SegmentIdentificationSequence")
        if segment is None:
            raise GeometryMismatch(f"frame {index + 1} belongs to no segment")
        frames_of[int(segment.ReferencedSegmentNumber)].append(index)
    return frames_of


def _frames(
    ds: Dataset,
    indices: Iterable[int],
    number: int,
    volume: Volume,
    planes: SourcePlanes | None,
) -> Iterator[_Frame]:
    slices = slices_by_image(volume)
    for index in indices:
        slice_index = _referred_slice(ds, index, slices)
        yield _Frame(
            number=index + 1,
            pixels=_labels(ds)[index] == number if _is_labelmap(ds) else _pixels(ds, index),
            slice_index=slice_index,
            plane=stated_plane(ds, index) if planes is not None else None,
        )


def slices_by_image(volume: Volume) -> Mapping[tuple[str, int | None], int]:
    """(SOPInstanceUID, frame number or None) -> slice."""
    return {
        (frame.sop_instance_uid, frame.frame_number): index
        for index, frame in enumerate(volume.frames)
    }


def _referred_slice(ds: Dataset, index: int, slices: Mapping[tuple[str, int | None], int]) -> int:
    derivation = functional_group(ds, index, "DerivationImageSequence")
    if derivation is None:
        raise GeometryMismatch(f"frame {index + 1} refers to no image")
    image = derivation.SourceImageSequence[0]
    frame_number = image.get("ReferencedFrameNumber")
    key = (str(image.ReferencedSOPInstanceUID), int(frame_number) if frame_number else None)
    if key not in slices:
        raise GeometryMismatch(f"frame {index + 1} refers to an image that was not read")
    return slices[key]


def _labels(ds: Dataset) -> npt.NDArray[Any]:
    """Pixel data of a LABELMAP: 8 or 16 bits, uncompressed; (frame, row, column)."""
    kind = np.uint8 if int(ds.BitsAllocated) == 8 else np.dtype("<u2")
    shape = (int(ds.NumberOfFrames), int(ds.Rows), int(ds.Columns))
    return np.frombuffer(ds.PixelData, dtype=kind, count=math.prod(shape)).reshape(shape)


def _pixels(ds: Dataset, index: int) -> Mask:
    """One frame of the bit-packed pixel data, which runs on across frames (PS3.5 8.1.1)."""
    size = int(ds.Rows) * int(ds.Columns)
    first, last = index * size, (index + 1) * size
    packed = np.frombuffer(ds.PixelData, dtype=np.uint8)[first // 8 : (last + 7) // 8]
    bits = np.unpackbits(packed, bitorder="little")[first % 8 : first % 8 + size]
    return bits.reshape(ds.Rows, ds.Columns).astype(bool)


def _place(frame: _Frame, placed: Mask, grid: Grid) -> float:
    """Mark the voxels of `frame` in `placed`; how many voxels it lies off its slice at worst."""
    expected = np.array([[0.0, 0.0, frame.slice_index], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    if frame.plane is None:
        placed[frame.slice_index] |= frame.pixels
        return 0.0
    to_index = (np.linalg.inv(grid.affine_lps_mm) @ frame.plane.to_patient)[:3]
    rows, columns = frame.pixels.shape
    corners = np.array([[r, c, 1] for r, c in product((0, rows - 1), (0, columns - 1))]).T
    off = float(np.abs((to_index - expected) @ corners).max())
    if off <= MOST_VOXELS_OFF:
        placed[frame.slice_index] |= frame.pixels
        return off
    marked = np.nonzero(frame.pixels)
    voxels = np.rint(to_index @ np.stack([*marked, np.ones(len(marked[0]))])).astype(int)
    inside = ((voxels >= 0) & (voxels < np.array(grid.shape)[:, None])).all(axis=0)
    placed[tuple(voxels[:, inside])] = True
    return off


def _figures(name: str, placed: Mask, mask: Mask, grid: Grid, off: float) -> str:
    both, marked = int((placed & mask).sum()), int(placed.sum())
    dice = 2 * both / (marked + int(mask.sum()))
    text = (
        f"segment {name!r} does not lie where its mask lies: Dice {dice:.4f}, "
        f"{marked - both} voxels too many, {int(mask.sum()) - both} missing, "
        f"frames up to {off:.2f} voxels off"
    )
    if not marked:
        return text
    distance = np.linalg.norm(_centroid_mm(placed, grid) - _centroid_mm(mask, grid))
    return (
        f"{text}, centroid {distance:.2f} mm away, extent {_extent(placed)} instead of "
        f"{_extent(mask)} (slice, row, column)"
    )


def _centroid_mm(mask: Mask, grid: Grid) -> Matrix:
    centre = np.array([axis.mean() for axis in np.nonzero(mask)])
    return np.asarray(grid.affine_lps_mm[:3, :3] @ centre + grid.affine_lps_mm[:3, 3])


def _extent(mask: Mask) -> str:
    return ", ".join(f"{axis.min()}-{axis.max()}" for axis in np.nonzero(mask))
