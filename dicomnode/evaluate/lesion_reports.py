"""Lesions that a structured report (PS3.16 TID 1500) measures, as truth.

A measurement group is a lesion; groups of one Tracking UID are one. Its place and size are those
of its longest line or outline, on the image it was drawn on or in the patient.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from scipy.spatial.distance import cdist

from dicomnode.domain.errors import UnsupportedImage
from dicomnode.domain.volumes import Volume
from dicomnode.evaluation.froc import TrueLesion

Points = npt.NDArray[np.float64]

_GROUP, _FINDING = "125007", "121071"
_IDENTIFIER, _UID = "112039", "112040"
_LESION = "52988006"
"""SNOMED CT: a lesion of any kind, which says nothing of its type."""
_SR_CLASSES = "1.2.840.10008.5.1.4.1.1.88."
_NO_LINE_MM = 10.0
"""Diameter of a lesion that is marked by a point and has no length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """One measurement group."""

    tracking: str
    """Tracking UID, else its identifier."""
    kind: str
    lines: tuple[Points, ...]
    """(n, 3) each, LPS mm."""
    length_mm: float | None
    """The greatest length that is stated in millimetres."""


def is_report(path: Path) -> bool:
    """True if the file is a structured report."""
    try:
        ds = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    except (InvalidDicomError, OSError):
        return False
    return str(ds.get("SOPClassUID", "")).startswith(_SR_CLASSES)


def lesions_of_report(path: Path, name: str, volume: Volume) -> Iterator[TrueLesion]:
    """The lesions of a report on `volume`, as balls around the middle of their longest line.

    Raises:
        UnsupportedImage: it cannot be read, or draws on an image that is none of the volume's.
    """
    try:
        groups = [_read(item, path, volume) for item in _groups(dcmread(path))]
    except (InvalidDicomError, AttributeError, ValueError, IndexError, TypeError) as exc:
        raise UnsupportedImage(f"{path.name} is no report of measurements (TID 1500)") from exc
    joined: dict[str, list[_Group]] = {}
    for group in groups:
        joined.setdefault(group.tracking, []).append(group)
    for together in joined.values():
        one = _lesion([line for group in together for line in group.lines], together, name)
        if one is not None:
            yield one


def _lesion(lines: list[Points], groups: list[_Group], name: str) -> TrueLesion | None:
    kinds = [group.kind for group in groups if group.kind]
    stated = [group.length_mm for group in groups if group.length_mm is not None]
    # A group without a finding and without a number only frames an image.
    if not lines or not (kinds or stated):
        return None
    ends = [_ends(line) for line in lines]
    longest = max(ends, key=lambda pair: float(np.linalg.norm(pair[1] - pair[0])))
    drawn = float(np.linalg.norm(longest[1] - longest[0]))
    size = drawn if drawn > 0 else max(stated, default=None)
    radius = (size or _NO_LINE_MM) / 2
    middle = longest.mean(axis=0)
    low, high = middle - radius, middle + radius
    return TrueLesion(
        volume=name,
        low_mm=(float(low[0]), float(low[1]), float(low[2])),
        high_mm=(float(high[0]), float(high[1]), float(high[2])),
        is_sphere=True,
        size_mm=size,
        kind=kinds[0] if kinds else "",
    )


def _ends(line: Points) -> Points:
    """The two points of a line or outline that are farthest apart."""
    apart = cdist(line, line)
    first, second = np.unravel_index(int(apart.argmax()), apart.shape)
    return np.array([line[first], line[second]])


def _groups(ds: Dataset) -> Iterator[Dataset]:
    for item in ds.get("ContentSequence") or ():
        if _concept(item) == _GROUP:
            yield item
        else:
            yield from _groups(item)


def _concept(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].get("CodeValue", "")) if names else ""


def _read(group: Dataset, path: Path, volume: Volume) -> _Group:
    items = list(group.get("ContentSequence") or ())
    identifier = next((str(one.TextValue) for one in items if _concept(one) == _IDENTIFIER), "")
    uid = next((str(one.UID) for one in items if _concept(one) == _UID), "")
    finding = next((one.ConceptCodeSequence[0] for one in items if _concept(one) == _FINDING), None)
    called = re.sub(r"[\s\d]+$", "", identifier)
    said = str(finding.CodeMeaning) if finding is not None else ""
    is_any = finding is not None and str(finding.get("CodeValue")) == _LESION
    numbers = [one for one in items if one.ValueType == "NUM"]
    drawn = [*items, *(below for one in numbers for below in one.get("ContentSequence") or ())]
    slices = {
        (str(frame.sop_instance_uid), frame.frame_number): index
        for index, frame in enumerate(volume.frames)
    }
    return _Group(
        tracking=uid or identifier,
        kind=called if is_any and called else said,
        lines=tuple(
            line for one in drawn if (line := _placed(one, slices, path, volume)) is not None
        ),
        length_mm=max(filter(None, map(_millimetres, numbers)), default=None),
    )


def _millimetres(number: Dataset) -> float | None:
    measured = number.get("MeasuredValueSequence")
    if not measured or measured[0].MeasurementUnitsCodeSequence[0].CodeValue != "mm":
        return None
    return float(measured[0].NumericValue)


def _placed(
    item: Dataset, slices: Mapping[tuple[str, int | None], int], path: Path, volume: Volume
) -> Points | None:
    """(n, 3) LPS mm of a coordinate item; None for all others."""
    if item.ValueType == "SCOORD3D":
        return _all_around(np.asarray(item.GraphicData, float).reshape(-1, 3), item.GraphicType)
    if item.ValueType != "SCOORD":
        return None
    image = item.ContentSequence[0].ReferencedSOPSequence[0]
    number = image.get("ReferencedFrameNumber")
    key = (str(image.ReferencedSOPInstanceUID), int(number) if number else None)
    if key not in slices:
        raise UnsupportedImage(f"{path.name} draws on an image that is none of this volume")
    columns_rows = np.asarray(item.GraphicData, float).reshape(-1, 2)
    index = np.column_stack([np.full(len(columns_rows), slices[key]), columns_rows[:, ::-1] - 0.5])
    affine = volume.grid.affine_lps_mm
    return _all_around(index @ affine[:3, :3].T + affine[:3, 3], item.GraphicType)


def _all_around(points: Points, graphic: str) -> Points:
    """A circle is given by its centre and one point: here by two points across."""
    if graphic == "CIRCLE" and len(points) == 2:
        return np.array([points[1], 2 * points[0] - points[1]])
    return points
