"""Regions that an SR draws, read back: the node's own, or a radiologist's from a viewer."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomnode.domain.errors import EncodeError
from dicomnode.domain.identifiers import InstanceUid

_GROUP = "125007"
"""DCM Measurement Group (TID 1410, 1411, 1501)."""
_FINDING = "121071"
_DEEPEST = 12
"""Levels of nested content that are followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedRegion:
    """A closed outline on one image, as its bounding box.

    Pixels, from the top left corner of the image's first pixel (PS3.3 C.18.6).
    """

    sop_instance_uid: InstanceUid
    finding: str
    """Meaning of the coded finding."""
    code: str
    scheme: str
    left: float
    top: float
    right: float
    bottom: float


def read_regions(path: Path) -> tuple[StatedRegion, ...]:
    """Every closed outline of the SR at `path` that belongs to a coded finding.

    Lines, points and what has no finding are left out.

    Raises:
        EncodeError: it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return tuple(_regions(dcmread(path), 0))
    except Exception as exc:  # a damaged SR makes pydicom raise almost anything
        raise EncodeError(f"an SR cannot be read ({type(exc).__name__})") from exc


def _regions(container: Dataset, depth: int) -> Iterator[StatedRegion]:
    if depth > _DEEPEST:
        return
    for item in container.get("ContentSequence", []):
        if _concept(item) == _GROUP:
            yield from _of_group(item)
        else:
            yield from _regions(item, depth + 1)


def _of_group(group: Dataset) -> Iterator[StatedRegion]:
    findings = [item for item in group.ContentSequence if _concept(item) == _FINDING]
    codes = findings[0].get("ConceptCodeSequence") if findings else None
    if not codes:
        return
    for item in group.ContentSequence:
        if item.ValueType == "SCOORD" and (box := _box(item)) is not None:
            image = item.ContentSequence[0].ReferencedSOPSequence[0]
            yield StatedRegion(
                sop_instance_uid=InstanceUid(image.ReferencedSOPInstanceUID),
                finding=str(codes[0].get("CodeMeaning", "")),
                code=str(codes[0].get("CodeValue", "")),
                scheme=str(codes[0].get("CodingSchemeDesignator", "")),
                left=box[0],
                top=box[1],
                right=box[2],
                bottom=box[3],
            )


def _box(scoord: Dataset) -> tuple[float, float, float, float] | None:
    """Left, top, right, bottom of a closed outline; None for anything else."""
    points = np.asarray(scoord.GraphicData, dtype=np.float64).reshape(-1, 2)
    kind = scoord.GraphicType
    is_closed = kind == "POLYLINE" and len(points) > 3 and bool((points[0] == points[-1]).all())
    if kind == "CIRCLE":
        radius = float(np.hypot(*(points[1] - points[0])))
        points = np.array([points[0] - radius, points[0] + radius])
    elif kind == "ELLIPSE":
        points = _ellipse_extent(points)
    elif not is_closed:
        return None
    left, top = points.min(axis=0).tolist()
    right, bottom = points.max(axis=0).tolist()
    return left, top, right, bottom


def _ellipse_extent(ends: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Two corners of an ellipse's box from the ends of its axes (PS3.3 C.18.6.1.2)."""
    center = ends.mean(axis=0)
    half_axes = np.array([ends[1] - ends[0], ends[3] - ends[2]]) / 2
    reach = np.sqrt((half_axes**2).sum(axis=0))
    return np.array([center - reach, center + reach])


def _concept(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].get("CodeValue", "")) if names else ""
