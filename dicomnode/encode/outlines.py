"""The closed outline of a mask on one slice, in image coordinates."""

import numpy as np
import numpy.typing as npt
from skimage.measure import approximate_polygon, find_contours

MOST_POINTS = 200
_TOLERANCES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
"""Pixels between a simplified line and the exact one; the least that leaves few points is taken."""


def largest_slice(mask: npt.NDArray[np.bool_]) -> int:
    """The slice on which a non-empty mask (slice, row, column) has its largest area."""
    return int(mask.sum(axis=(1, 2)).argmax())


def outline(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Outer border of the largest connected part of a non-empty mask (row, column).

    Returns (n, 2) float64, (column, row) as DICOM counts them (PS3.3 C.18.6: the top left corner of
    the first pixel is (0, 0)); closed, at most `MOST_POINTS` points. Every point lies on an edge
    between a marked and an unmarked pixel, or of the image.
    """
    exact = max(find_contours(np.pad(mask, 1).astype(np.float64), 0.5), key=_enclosed_area)
    for tolerance in _TOLERANCES:
        simple = approximate_polygon(exact, tolerance)
        if len(simple) <= MOST_POINTS:
            break
    else:
        keep = np.linspace(0, len(exact) - 1, MOST_POINTS).round().astype(int)
        simple = exact[keep]
    # Minus the padding, plus the half pixel from the centre of a pixel to its corner.
    return simple[:, ::-1] - 0.5


def _enclosed_area(points: npt.NDArray[np.float64]) -> float:
    y, x = points.T
    return float(abs(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1])) / 2)
