"""Planes to one regular grid, or the reason why they are none. Pure; lengths in mm, LPS.

Tolerances, all on what the header states:

* direction cosines may differ by 0.001 (0.06 degrees) between slices, and be off unit length and
  right angle by as much; pixel spacing by 1 part in 5000;
* distances between slices may differ from their median by 5 %, but 0.11 mm is always allowed,
  because positions are often rounded to 0.1 mm; no slice may lie further than that from
  the even grid;
* the stack may lean against its normal by 0.25 degrees, 0.2 mm always allowed; a slice may lie
  half a pixel beside the straight line of the stack.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomnode.domain.errors import (
    DuplicateSlices,
    MissingSlices,
    MixedOrientation,
    TiltedGantry,
    UnevenSpacing,
    UnsupportedImage,
    VolumeError,
)
from dicomnode.pipeline.frames import Plane

_COSINE = 0.001
_PIXEL_SPACING = 0.0002
_STEP_SHARE = 0.05
_STEP_MM = 0.11
_SAME_PLACE_MM = 0.01
_TILT_DEGREES = 0.25
_TILT_MM = 0.2
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrangement:
    """Planes in the order of their positions along the normal, as a grid."""

    order: tuple[int, ...]
    """Indices into the planes that were given."""
    affine_lps_mm: npt.NDArray[np.float64]
    """See `Grid`: axes (slice, row, column)."""
    warnings: tuple[str, ...]


def arrange(planes: Sequence[Plane]) -> Arrangement:
    """Sort planes along row x column direction and check that they form a grid.

    Raises:
        MixedOrientation, DuplicateSlices, MissingSlices, UnevenSpacing, TiltedGantry: as named.
        VolumeError: pixel spacing differs, or slices are shifted sideways.
        UnsupportedImage: the direction cosines are no right-angled pair of unit vectors.
    """
    _check_localizers(planes)
    row, column = _directions(planes)
    _check_pixel_spacing(planes)
    normal = np.cross(row, column)
    positions = np.array([plane.position for plane in planes])
    heights = positions @ normal
    order = np.argsort(heights, kind="stable")
    ordered = [planes[index] for index in order]
    warnings: tuple[str, ...] = ()
    if len(planes) == 1:
        thickness = planes[0].thickness
        warnings = () if thickness else ("one slice of unknown thickness, taken as 1 mm",)
        step = normal * (thickness or 1.0)
    else:
        _check_steps(ordered, heights[order], normal)
        step = _straight_step(ordered, positions[order], normal)
    affine = np.eye(4)
    between_rows, between_columns = planes[0].spacing
    affine[:3, 0] = step
    affine[:3, 1] = column * between_rows
    affine[:3, 2] = row * between_columns
    affine[:3, 3] = ordered[0].position
    return Arrangement(
        order=tuple(int(index) for index in order), affine_lps_mm=affine, warnings=warnings
    )


def _check_localizers(planes: Sequence[Plane]) -> None:
    scouts = [plane for plane in planes if plane.localizer]
    if scouts and len(scouts) < len(planes):
        raise MixedOrientation(
            f"{_listed(plane.label for plane in scouts)} of this series: a localizer (ImageType), "
            "which does not belong into the volume; store it in a series of its own"
        )


def _directions(
    planes: Sequence[Plane],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    cosines = np.array([plane.orientation for plane in planes])
    reference = cosines[_most_common(cosines)]
    strays = _where(np.abs(cosines - reference).max(axis=1) > _COSINE)
    if strays:
        raise MixedOrientation(
            f"{_listed(planes[index].label for index in strays)}: other ImageOrientationPatient "
            f"than the rest of the series ({_rounded(cosines[strays[0]])} against "
            f"{_rounded(reference)})"
        )
    row, column = reference[:3], reference[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > _COSINE or abs(row @ column) > _COSINE:
        raise UnsupportedImage(
            f"ImageOrientationPatient {_rounded(reference)} is no pair of unit vectors "
            "at a right angle"
        )
    # Headers round cosines; a grid of exact right angles keeps masks of big volumes in place.
    row = row / lengths[0]
    column = column - (column @ row) * row
    return row, column / np.linalg.norm(column)


def _most_common(cosines: npt.NDArray[np.float64]) -> int:
    """Index of a plane that agrees with as many others as any does."""
    _, first, counts = np.unique(
        np.round(cosines, 2) + 0.0, axis=0, return_index=True, return_counts=True
    )
    return int(first[np.argmax(counts)])


def _check_pixel_spacing(planes: Sequence[Plane]) -> None:
    spacing = np.array([plane.spacing for plane in planes])
    strays = _where(np.any(np.abs(spacing / spacing[0] - 1) > _PIXEL_SPACING, axis=1))
    if strays:
        raise VolumeError(
            f"{_listed(planes[index].label for index in strays)}: PixelSpacing "
            f"{_rounded(spacing[strays[0]])} mm, but {_rounded(spacing[0])} mm in "
            f"{planes[0].label}"
        )


def _check_steps(
    ordered: Sequence[Plane], heights: npt.NDArray[np.float64], normal: npt.NDArray[np.float64]
) -> None:
    """Refuse what is not evenly spaced; `heights` rise along the normal."""
    steps = np.diff(heights)
    same = _where(steps < _SAME_PLACE_MM)
    if same:
        raise DuplicateSlices(_duplicates_message(ordered, same, normal))
    usual = float(np.median(steps))
    tolerance = max(_STEP_MM, _STEP_SHARE * usual)
    wide = _where(steps - usual > tolerance)
    ratios = steps[wide] / usual
    if wide and np.all(ratios > 1.5) and np.all(np.abs(ratios - np.round(ratios)) < 0.2):
        gaps = [
            f"{round(ratio) - 1} between {_at(ordered[index], normal)} and "
            f"{_at(ordered[index + 1], normal)}"
            for index, ratio in zip(wide, ratios, strict=True)
        ]
        raise MissingSlices(
            f"slices are missing at {usual:.2f} mm spacing: {_listed(gaps)}; send the series again"
        )
    uneven = _where(np.abs(steps - usual) > tolerance)
    if uneven:
        index = uneven[0]
        raise UnevenSpacing(
            f"slices are {usual:.2f} mm apart, but {steps[index]:.2f} mm between "
            f"{_at(ordered[index], normal)} and {_at(ordered[index + 1], normal)}"
            f"{_more(len(uneven) - 1)}"
        )
    even = np.linspace(heights[0], heights[-1], len(heights))
    off = np.abs(heights - even)
    worst = int(np.argmax(off))
    if off[worst] > tolerance:
        raise UnevenSpacing(
            f"{_at(ordered[worst], normal)} lies {off[worst]:.2f} mm beside the even grid of "
            f"{len(heights)} slices; the spacing changes within the series"
        )


def _straight_step(
    ordered: Sequence[Plane], positions: npt.NDArray[np.float64], normal: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The vector from one slice to the next; refuses stacks that lean or are shifted."""
    whole = positions[-1] - positions[0]
    rise = float(whole @ normal)
    lean = float(np.linalg.norm(whole - rise * normal))
    if lean > max(_TILT_MM, rise * np.tan(np.radians(_TILT_DEGREES))):
        degrees = np.degrees(np.arctan2(lean, rise))
        raise TiltedGantry(
            f"slices lean by {degrees:.1f} degrees against their normal ({lean:.1f} mm over "
            f"{rise:.1f} mm: gantry tilt); reformat the series at the scanner"
        )
    share = np.linspace(0.0, 1.0, len(positions))[:, None]
    offsets = positions - (positions[0] + share * whole)
    sideways = np.linalg.norm(offsets - np.outer(offsets @ normal, normal), axis=1)
    worst = int(np.argmax(sideways))
    if sideways[worst] > max(_TILT_MM, 0.5 * min(ordered[0].spacing)):
        raise VolumeError(
            f"{_at(ordered[worst], normal)} lies {sideways[worst]:.1f} mm to the side of the "
            "others: the field of view was moved within the series"
        )
    return np.asarray(whole / (len(positions) - 1), dtype=np.float64)


def _duplicates_message(
    ordered: Sequence[Plane], same: Sequence[int], normal: npt.NDArray[np.float64]
) -> str:
    pairs = [f"{ordered[i].label} and {_at(ordered[i + 1], normal)}" for i in same]
    phases = {ordered[i].phase != ordered[i + 1].phase for i in same}
    hint = (
        "they differ in acquisition, echo or time: the series holds several volumes"
        if True in phases
        else "the slice was sent twice under two UIDs"
    )
    return f"two images at one position: {_listed(pairs)}; {hint}"


def _where(condition: npt.NDArray[np.bool_]) -> list[int]:
    return [int(index) for index in np.flatnonzero(condition)]


def _at(plane: Plane, normal: npt.NDArray[np.float64]) -> str:
    axis = int(np.argmax(np.abs(normal)))
    return f"{plane.label} ({'xyz'[axis]} = {plane.position[axis]:.2f} mm)"


def _listed(items: Iterable[str]) -> str:
    names = list(items)
    return ", ".join(names[:_SHOWN]) + _more(len(names) - _SHOWN)


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


def _rounded(values: npt.NDArray[np.float64]) -> str:
    return "[" + ", ".join(f"{value:.4g}" for value in values) + "]"
