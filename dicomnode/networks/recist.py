"""Long and short axis of a mask or a soft mask on one slice, as RECIST 1.1 has them drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import cdist, pdist
from skimage.measure import find_contours

__all__ = ["Diameters", "long_short_axis", "recist_axes", "recist_of"]

Points = npt.NDArray[np.float64]
Field = npt.NDArray[np.floating]

# From a pixel's centre to the middles of its four edges: ends lie on the border of the mask, and
# the corners of pixels, which would lengthen slanted axes by half a pixel, do not count.
_EDGES = np.array([[-0.5, 0], [0.5, 0], [0, -0.5], [0, 0.5]])


def recist_axes(
    mask: npt.NDArray[np.bool_], spacing_mm: tuple[float, float]
) -> tuple[Points, Points]:
    """Ends of the longest diameter, and of the longest one at a right angle to it.

    Args:
        mask: (rows, columns), at least one pixel.
        spacing_mm: between rows, between columns.

    Returns:
        Two arrays (2, 2) of (row, column); integers are centres of pixels. Of a mask of several
        parts the diameters run across the gaps between them.
    """
    spacing = np.array(spacing_mm)
    pixels = np.argwhere(mask)
    found = _diameters((pixels[:, None] + _EDGES).reshape(-1, 2) * spacing) if len(pixels) else None
    if found is None:
        raise ValueError("an empty mask has no axes")
    return found.long / spacing, found.short / spacing


@dataclass(frozen=True, slots=True, kw_only=True)
class Diameters:
    """RECIST diameters in one plane: the longest, and the longest at right angles to it."""

    long: Points
    """(2, 2) ends, in the units of the spacing, along the field's own two axes."""
    short: Points
    long_mm: float
    short_mm: float


def long_short_axis(
    field: Field, spacing: Sequence[float], *, level: float = 0.5
) -> Diameters | None:
    """Diameters of what exceeds `level` in a plane `(a, b)`; None if nothing does.

    The outline is interpolated between pixels, so that a soft mask is measured more finely than
    its pixels are. Of several parts, the one that covers most counts. Index 0 lies at 0 mm.
    """
    outline = _outline(field, level)
    if outline is None:
        return None
    return _diameters(outline * np.asarray(spacing, float))


def _diameters(outline: Points) -> Diameters | None:
    """Of the convex hull of points; None if they are all one."""
    hull = _hull(outline)
    apart = cdist(hull, hull)
    first, last = np.unravel_index(int(apart.argmax()), apart.shape)
    long_mm = float(apart[first, last])
    if long_mm <= 0:
        return None
    short = _widest_across(hull, (hull[last] - hull[first]) / long_mm)
    return Diameters(
        long=np.stack([hull[first], hull[last]]),
        short=short,
        long_mm=long_mm,
        short_mm=float(np.linalg.norm(short[1] - short[0])),
    )


def _outline(field: Field, level: float) -> Points | None:
    parts, count = ndimage.label(field > level)
    if count == 0:
        return None
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    kept = ndimage.binary_dilation(parts == sizes.argmax(), structure=np.ones((3, 3), bool))
    padded = np.pad(np.where(kept, field, 0.0), 1)
    outlines = find_contours(padded, level)
    return np.asarray(max(outlines, key=len)) - 1 if outlines else None


def _hull(points: Points) -> Points:
    try:
        return np.asarray(points[ConvexHull(points).vertices])
    except QhullError:  # fewer than three points that are not on one line
        return np.asarray(points)


def _widest_across(hull: Points, along: Points) -> Points:
    """The longest chord of a convex outline at right angles to a direction."""
    across = np.array([-along[1], along[0]])
    u, v = hull @ along, hull @ across
    after = np.roll(np.arange(len(hull)), -1)
    # A chord is longest where it passes through a corner: its length is piecewise linear. Of each
    # corner (rows), where its chord cuts the edges (columns).
    at = u[:, None]
    low, high = np.minimum(u, u[after]), np.maximum(u, u[after])
    crossed = (low <= at) & (at <= high)
    step = np.where(high > low, high - low, 1.0)
    share = np.where(u[after] >= u, at - low, high - at) / step
    cut = v + (v[after] - v) * np.where(high > low, share, 0.0)
    # An edge along the chord is cut at both its ends.
    flat = crossed & (high == low)
    least = np.minimum(
        np.where(crossed, cut, np.inf).min(1), np.where(flat, v[after], np.inf).min(1)
    )
    most = np.maximum(
        np.where(crossed, cut, -np.inf).max(1), np.where(flat, v[after], -np.inf).max(1)
    )
    best = int((most - least).argmax())
    return np.stack([u[best] * along + least[best] * across, u[best] * along + most[best] * across])


def recist_of(
    field: Field, spacing: Sequence[float], *, level: float = 0.5
) -> tuple[int, Diameters] | None:
    """Diameters in the axial plane where the longest is longest: plane number, and them.

    `field` is `(x, y, z)`, upright, z towards the head; None where nothing exceeds `level`.
    """
    inside = field > level
    planes = np.flatnonzero(inside.any(axis=(0, 1)))
    bounds = [_longest_possible(inside[:, :, plane], spacing) for plane in planes]
    longest, best = 0.0, -1
    for row in np.argsort(-np.array(bounds), kind="stable"):
        if bounds[row] < longest:
            break
        plane = int(planes[row])
        outline = _outline(field[:, :, plane], level)
        if outline is None:
            continue
        points = outline * np.asarray(spacing[:2], float)
        long_mm = float(pdist(points).max()) if len(points) > 1 else 0.0
        if (long_mm, -plane) > (longest, -best):
            longest, best = long_mm, plane
    # What else an outline tells is wanted of that one alone.
    one = long_short_axis(field[:, :, best], spacing[:2], level=level) if longest > 0 else None
    return None if one is None else (best, one)


def _longest_possible(inside: npt.NDArray[np.bool_], spacing: Sequence[float]) -> float:
    """No diameter of a plane exceeds its box, whose border lies less than a pixel further out."""
    sides = []
    for axis in (0, 1):
        lines = np.flatnonzero(inside.any(axis=1 - axis))
        sides.append((int(lines[-1]) - int(lines[0]) + 2) * spacing[axis])
    return float(np.hypot(sides[0], sides[1]))
