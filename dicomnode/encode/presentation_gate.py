"""The gate for presentation states: do lines and outlines lie where the findings lie?"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset
from scipy import ndimage

from dicomnode.domain.errors import GeometryMismatch
from dicomnode.domain.findings import Finding, LesionFinding, SegmentFinding
from dicomnode.domain.volumes import Volume
from dicomnode.encode.gate import slices_by_image
from dicomnode.encode.outlines import least_part
from dicomnode.encode.tracking import marks_of, tracking_identifiers

Mask = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float64]
Place = tuple[str, int]
"""Tracking identifier, slice."""

POINT_TOLERANCE = 0.01
"""Pixels; coordinates are stored as 32-bit floats."""
BORDER_TOLERANCE = 0.1
"""Pixels along the whole border: what an outline of more than 8000 corners may lose."""


def check_presentation(path: Path, findings: Sequence[Finding], volume: Volume) -> None:
    """Read the presentation state at `path`; what it draws must be what was found, where it was.

    Every line is the algorithm's own on the right image. The outlines of a mask, filled, are the
    mask on every slice it lies on, but for its holes, its crumbs and what simplifying takes off.

    Raises:
        GeometryMismatch: naming finding, slice and fault.
    """
    drawn: dict[Place, list[Points]] = defaultdict(list)
    for place, points in _graphics(dcmread(path), volume):
        drawn[place].append(points)
    for finding in findings:
        _take_marks(finding, drawn)
        if isinstance(finding, SegmentFinding | LesionFinding) and finding.mask is not None:
            for index in np.flatnonzero(finding.mask.any(axis=(1, 2))).tolist():
                lines = drawn.pop((finding.name, index), [])
                _check_outlines(finding.name, index, lines, finding.mask[index])
    left = sorted(name for (name, _), lines in drawn.items() if lines)
    if left:
        raise GeometryMismatch(f"drawn where nothing was found: {', '.join(left)}")


def _graphics(ds: Dataset, volume: Volume) -> Iterator[tuple[Place, Points]]:
    slices = slices_by_image(volume)
    for annotation in ds.get("GraphicAnnotationSequence", []):
        index = _slice_of(annotation, slices)
        for item in annotation.get("GraphicObjectSequence", []):
            if item.GraphicAnnotationUnits != "PIXEL":
                raise GeometryMismatch("a line is not given in pixels of the image")
            points = np.asarray(item.GraphicData, dtype=np.float64).reshape(-1, 2)
            yield (str(item.TrackingID), index), points


def _slice_of(annotation: Dataset, slices: Mapping[tuple[str, int | None], int]) -> int:
    if len(annotation.ReferencedImageSequence) != 1:
        raise GeometryMismatch("a line is drawn on several images")
    (image,) = annotation.ReferencedImageSequence
    number = image.get("ReferencedFrameNumber")
    key = (str(image.ReferencedSOPInstanceUID), int(number) if number else None)
    if key not in slices:
        raise GeometryMismatch("a line is drawn on an image that was not read")
    return slices[key]


def _take_marks(finding: Finding, drawn: dict[Place, list[Points]]) -> None:
    """Take the finding's own lines out of `drawn`."""
    for name, mark in zip(tracking_identifiers(finding), marks_of(finding), strict=False):
        found = drawn.get((name, mark.slice_index), [])
        # The first line and the outlines of a lesion's mask share its name.
        off = [
            float(np.abs(points - mark.points).max())
            if points.shape == mark.points.shape
            else np.inf
            for points in found
        ]
        if not off or min(off) > POINT_TOLERANCE:
            raise GeometryMismatch(f"a line of {name!r} is not drawn where it was measured")
        del found[int(np.argmin(off))]


def _check_outlines(name: str, index: int, lines: Sequence[Points], mask: Mask) -> None:
    if not all(np.array_equal(line[0], line[-1]) for line in lines):
        raise GeometryMismatch(f"an outline of {name!r} on slice {index} is not closed")
    inside = enclosed(lines, mask.shape)
    wanted = _outlined(mask)
    wrong = int((inside ^ wanted).sum())
    border = int((wanted ^ ndimage.binary_erosion(wanted)).sum())
    if wrong > BORDER_TOLERANCE * border:
        raise GeometryMismatch(
            f"the outline of {name!r} on slice {index} encloses {int((inside & ~wanted).sum())} "
            f"pixels too many and {int((wanted & ~inside).sum())} of {int(wanted.sum())} too few"
        )


def enclosed(lines: Sequence[Points], shape: tuple[int, ...]) -> Mask:
    """Pixels whose centre closed lines, (column, row) from the image's corner, run around.

    Row by row: each line that crosses a row of centres changes what lies to the right of it.
    """
    turns = np.zeros((shape[0], shape[1] + 1), dtype=np.int64)
    for line in lines:
        # From the corner of the first pixel to its centre.
        x, y = (line - 0.5).T
        low, high = np.minimum(y[:-1], y[1:]), np.maximum(y[:-1], y[1:])
        first = np.ceil(low).astype(int).clip(0, shape[0])
        counts = np.maximum(np.ceil(high).astype(int).clip(0, shape[0]) - first, 0)
        edge = np.repeat(np.arange(len(first)), counts)
        row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
        slope = (x[edge + 1] - x[edge]) / (y[edge + 1] - y[edge])
        column = np.ceil(x[edge] + (row - y[edge]) * slope).astype(int).clip(0, shape[1])
        np.add.at(turns, (row, column), np.sign(y[edge + 1] - y[edge]).astype(int))
    return np.asarray(np.cumsum(turns, axis=1)[:, :-1] != 0)


def _outlined(mask: Mask) -> Mask:
    """What the outlines of a mask should enclose: no holes, no crumbs beside larger parts."""
    whole = ndimage.binary_fill_holes(mask, structure=np.ones((3, 3), dtype=bool))
    parts, _ = ndimage.label(whole)
    sizes = np.bincount(parts.ravel())
    large = sizes >= least_part(mask)
    large[0] = False
    return np.asarray(large[parts] if large.any() else whole)
