"""The same gate for the SR: are lines and outlines on what they show?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from scipy import ndimage

from dicomnode.domain.errors import GeometryMismatch
from dicomnode.domain.findings import Finding, LesionFinding, Mark, SegmentFinding
from dicomnode.domain.volumes import Volume
from dicomnode.encode.tracking import WHOLE_IMAGE, marks_of, tracking_identifiers

Mask = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float64]

POINT_TOLERANCE = 0.01
"""Pixels; coordinates are stored as 32-bit floats."""
EXTENT_TOLERANCE = 0.02
"""Of an outline's size, and one pixel: what simplifying may take off."""

_VALUE_TYPE = Tag("ValueType")
_CONTENT_SEQUENCE = Tag("ContentSequence")
_GROUP = "125007"
_TRACKING_IDENTIFIER = "112039"
_REFERENCED_SEGMENT = "121191"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawn:
    """One SCOORD of the report."""

    slice_index: int
    points: Points


def check_report(path: Path, findings: Sequence[Finding], volume: Volume) -> None:
    """Read the SR at `path`; its coordinates must lie where the findings lie.

    Every line is the algorithm's own on the right image; every outline runs along the border of its
    mask (each point within one pixel, about the same extent); segment numbers fit their findings.

    Raises:
        GeometryMismatch: naming finding and fault.
    """
    ds = dcmread(path, specific_tags=["ContentSequence"])
    drawn: dict[str, list[_Drawn]] = {}
    segments: dict[str, list[int]] = {}
    for group in _groups(ds):
        name = _tracking_identifier(group)
        drawn.setdefault(name, []).extend(_coordinates(group, volume))
        segments.setdefault(name, []).extend(_segment_numbers(group))
    numbers = _expected_numbers(findings)
    for finding in findings:
        found = [line for name in tracking_identifiers(finding) for line in drawn.pop(name, [])]
        _compare(finding, found)
        wanted = [numbers[finding.name]] if finding.name in numbers else []
        if segments.get(finding.name, []) != wanted:
            raise GeometryMismatch(f"{finding.name!r} refers to the wrong segment")
    if drawn and set(drawn) != {WHOLE_IMAGE}:
        raise GeometryMismatch(f"the report draws unknown findings: {sorted(drawn)}")


def _groups(ds: Dataset) -> Iterator[Dataset]:
    for container in ds.ContentSequence:
        if _may_hold_groups(container):
            for item in container.ContentSequence:
                if _is(item, "CONTAINER", _GROUP):
                    yield item


def _may_hold_groups(container: Dataset) -> bool:
    """False if what lies below it, not parsed yet, has nowhere the code of a group."""
    below = container.get_item(_CONTENT_SEQUENCE) if _CONTENT_SEQUENCE in container else None
    if isinstance(below, RawDataElement) and isinstance(below.value, bytes):
        return _GROUP.encode() in below.value
    return below is not None


def _is(item: Dataset, value_type: str, concept: str) -> bool:
    """The value type first: a concept is a sequence, which takes longer to parse."""
    return _value_type(item) == value_type and _concept(item) == concept


def _value_type(item: Dataset) -> str:
    """As it stands in the file, where that has not been parsed: there are dozens in a report."""
    element = item.get_item(_VALUE_TYPE) if _VALUE_TYPE in item else None
    if isinstance(element, RawDataElement) and isinstance(element.value, bytes):
        return element.value.decode("ascii", "replace").strip()
    return str(element.value) if element is not None else ""


def _concept(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].get("CodeValue", "")) if names else ""


def _tracking_identifier(group: Dataset) -> str:
    for item in group.ContentSequence:
        if _is(item, "TEXT", _TRACKING_IDENTIFIER):
            return str(item.TextValue)
    raise GeometryMismatch("a measurement group has no tracking identifier")


def _segment_numbers(group: Dataset) -> Iterator[int]:
    for item in group.ContentSequence:
        if _is(item, "IMAGE", _REFERENCED_SEGMENT):
            yield int(item.ReferencedSOPSequence[0].ReferencedSegmentNumber)


def _spatial(group: Dataset) -> Iterator[Dataset]:
    """The regions of a group, and the lines below its numbers."""
    for item in group.ContentSequence:
        below = item.get("ContentSequence", []) if _value_type(item) == "NUM" else [item]
        yield from (one for one in below if _value_type(one) == "SCOORD")


def _coordinates(group: Dataset, volume: Volume) -> Iterator[_Drawn]:
    slices = {
        (frame.sop_instance_uid, frame.frame_number): index
        for index, frame in enumerate(volume.frames)
    }
    _, rows, columns = volume.grid.shape
    for item in _spatial(group):
        image = item.ContentSequence[0].ReferencedSOPSequence[0]
        frame_number = image.get("ReferencedFrameNumber")
        key = (str(image.ReferencedSOPInstanceUID), int(frame_number) if frame_number else None)
        if key not in slices:
            raise GeometryMismatch("a line is drawn on an image that was not read")
        points = np.asarray(item.GraphicData, dtype=np.float64).reshape(-1, 2)
        if (points < 0).any() or (points > (columns, rows)).any():
            raise GeometryMismatch("a line runs outside its image")
        yield _Drawn(slice_index=slices[key], points=points)


def _expected_numbers(findings: Sequence[Finding]) -> dict[str, int]:
    masked = [finding.name for finding in findings if _mask_of(finding) is not None]
    return {name: number for number, name in enumerate(masked, start=1)}


def _mask_of(finding: Finding) -> Mask | None:
    if isinstance(finding, SegmentFinding | LesionFinding):
        mask = finding.mask
        return mask if mask is not None and mask.any() else None
    return None


def _compare(finding: Finding, drawn: Sequence[_Drawn]) -> None:
    if marks := marks_of(finding):
        _compare_marks(finding.name, marks, drawn)
        return
    mask = _mask_of(finding)
    if mask is None:
        if drawn:
            raise GeometryMismatch(f"{finding.name!r} is drawn but marks nothing")
        return
    if not drawn:
        raise GeometryMismatch(f"{finding.name!r} is not drawn")
    for outline in drawn:
        _check_outline(finding.name, outline, mask[outline.slice_index])


def _compare_marks(name: str, marks: Sequence[Mark], drawn: Sequence[_Drawn]) -> None:
    if len(marks) != len(drawn):
        raise GeometryMismatch(f"{name!r} has {len(marks)} lines, {len(drawn)} are drawn")
    for mark, line in zip(marks, drawn, strict=True):
        if line.slice_index != mark.slice_index:
            raise GeometryMismatch(
                f"a line of {name!r} is drawn on slice {line.slice_index}, not {mark.slice_index}"
            )
        if line.points.shape != mark.points.shape:
            raise GeometryMismatch(f"a line of {name!r} has lost points")
        distance = float(np.abs(line.points - mark.points).max())
        if distance > POINT_TOLERANCE:
            raise GeometryMismatch(f"a line of {name!r} is drawn {distance:.2f} pixels off")


def _check_outline(name: str, outline: _Drawn, mask: Mask) -> None:
    if not mask.any():
        raise GeometryMismatch(f"the outline of {name!r} is on a slice that has none of it")
    # Two pixels of margin, so that the pixels around any point inside the image exist.
    padded = np.pad(mask, 2)
    for x, y in outline.points:
        column, row = int(np.floor(x)) + 2, int(np.floor(y)) + 2
        around = padded[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        if around.all() or not around.any():
            raise GeometryMismatch(
                f"the outline of {name!r} leaves its border by over a pixel at ({x:.1f}, {y:.1f})"
            )
    regions = ndimage.find_objects(ndimage.label(mask)[0])
    drawn = _extent(outline.points)
    fits = (np.abs(drawn - _extent_of(region)) <= _allowed(drawn) for region in regions)
    if not any(fit.all() for fit in fits):
        raise GeometryMismatch(f"the outline of {name!r} spans no part of its mask")


def _extent(points: Points) -> Points:
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def _extent_of(region: tuple[slice, slice]) -> Points:
    rows, columns = region
    return np.array([columns.start, rows.start, columns.stop, rows.stop], dtype=np.float64)


def _allowed(extent: Points) -> float:
    return 1.0 + EXTENT_TOLERANCE * float((extent[2:] - extent[:2]).max())
