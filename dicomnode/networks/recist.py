"""Long and short axis of a mask on one slice, as RECIST 1.1 has a radiologist draw them."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

Points = npt.NDArray[np.float64]

__all__ = ["recist_axes"]

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
    if not len(pixels):
        raise ValueError("an empty mask has no axes")
    border = (pixels[:, None] + _EDGES).reshape(-1, 2) * spacing
    hull = border[ConvexHull(border).vertices]
    apart = cdist(hull, hull)
    first, second = np.unravel_index(int(apart.argmax()), apart.shape)
    along = (hull[second] - hull[first]) / apart[first, second]
    long_axis = np.array([hull[first], hull[second]])
    return long_axis / spacing, _longest_chord(hull, along) / spacing


def _longest_chord(hull: Points, along: Points) -> Points:
    """The longest chord of a convex ring at a right angle to `along`; it begins at a corner."""
    across = np.array([-along[1], along[0]])
    position, height = hull @ along, hull @ across
    ring = np.append(np.arange(len(hull)), 0)
    best = np.zeros((2, 2))
    longest = -1.0
    for here in position:
        heights = [
            height[a] + (height[b] - height[a]) * (here - position[a]) / (position[b] - position[a])
            for a, b in pairwise(ring)
            if position[a] != position[b]
            and min(position[a], position[b]) <= here <= max(position[a], position[b])
        ]
        if max(heights) - min(heights) > longest:
            longest = max(heights) - min(heights)
            best = np.array([here * along + each * across for each in (min(heights), max(heights))])
    return best
