"""Geometry that detection bundles share: peaks, their suppression in 3D, RECIST diameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from skimage.measure import find_contours
from torch import Tensor
from torch.nn import functional

__all__ = [
    "Diameters",
    "keep_apart",
    "long_short_axis",
    "peaks",
    "recist_of",
]

Points = npt.NDArray[np.float64]
Field = npt.NDArray[np.floating]


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
    hull = _hull(outline * np.asarray(spacing, float))
    between = hull[:, None] - hull[None]
    lengths = np.linalg.norm(between, axis=-1)
    first, last = np.unravel_index(int(lengths.argmax()), lengths.shape)
    long_mm = float(lengths[first, last])
    if long_mm <= 0:
        return None
    along = (hull[last] - hull[first]) / long_mm
    short = _widest_across(hull, along)
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
    order = np.arange(len(hull))
    after = np.roll(order, -1)
    # A chord is longest where it passes through a corner: its length is piecewise linear.
    best = np.stack([hull[0], hull[0]])
    longest = -1.0
    for at in u:
        low, high = np.minimum(u, u[after]), np.maximum(u, u[after])
        crossed = (low <= at) & (at <= high)
        step = np.where(high > low, high - low, 1.0)
        share = np.where(u[after] >= u, at - low, high - at) / step
        cut = v + (v[after] - v) * np.where(high > low, share, 0.0)
        ends = np.concatenate([cut[crossed], v[after][crossed & (high == low)]])
        length = float(ends.max() - ends.min())
        if length > longest:
            longest = length
            best = np.stack([at * along + ends.min() * across, at * along + ends.max() * across])
    return best


def recist_of(
    field: Field, spacing: Sequence[float], *, level: float = 0.5
) -> tuple[int, Diameters] | None:
    """Diameters in the axial plane where the longest is longest: plane number, and them.

    `field` is `(x, y, z)`, upright, z towards the head; None where nothing exceeds `level`.
    """
    best: tuple[int, Diameters] | None = None
    for plane in np.flatnonzero((field > level).any(axis=(0, 1))):
        one = long_short_axis(field[:, :, plane], spacing[:2], level=level)
        if one is not None and (best is None or one.long_mm > best[1].long_mm):
            best = (int(plane), one)
    return best


def peaks(heat: Tensor, *, at_least: float, most: int, reach: int = 1) -> tuple[Tensor, Tensor]:
    """Local maxima of a heatmap `(x, y, z)`: indices `(n, 3)` and values `(n,)`, highest first.

    Args:
        heat: values.
        at_least: lower values are none.
        most: maxima at most.
        reach: voxels to each side within which there is one maximum at most.
    """
    size = 2 * reach + 1
    highest = functional.max_pool3d(heat[None, None], size, 1, reach)[0, 0]
    where = torch.nonzero((heat >= highest) & (heat >= at_least))
    values = heat[tuple(where.T)]
    # Stable, so that equal values come in the order of the voxels on every machine.
    order = torch.argsort(values, descending=True, stable=True)[:most]
    return where[order], values[order]


def keep_apart(points: Points, scores: Points, distances: Points) -> list[int]:
    """Non-maximum suppression in 3D: rows to keep, the highest score first.

    Args:
        points: (n, 3) millimetres.
        scores: (n,).
        distances: (n,) millimetres; a point within this of one that was kept goes, the larger of
            the two distances counts.
    """
    kept: list[int] = []
    for row in np.argsort(-scores, kind="stable"):
        apart = np.linalg.norm(points[kept] - points[row], axis=1) if kept else np.empty(0)
        if (apart > np.maximum(distances[kept], distances[row])).all():
            kept.append(int(row))
    return kept
