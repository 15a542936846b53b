"""The closed outline of a mask on one slice, in image coordinates."""

import numpy as np
import numpy.typing as npt
from skimage.measure import find_contours

MOST_POINTS = 200
MOST_POINTS_EACH = 8000
"""Where all parts are outlined; a graphic object holds 8191 (VR FL, 64 kB)."""
_LEAST_PIXELS = 4
_LEAST_SHARE = 0.001
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
    exact = max(_contours(mask), key=_enclosed_area)
    return _simplified(exact, MOST_POINTS)


def outlines(mask: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.float64]]:
    """Outer borders of all connected parts, the largest first; like `outline`, but exact.

    Holes are not drawn, nor are parts below `least_part`. Pixels that touch at a corner alone are
    parts of their own.
    """
    exact = sorted(_contours(mask), key=_enclosed_area, reverse=True)
    # A contour cuts half a pixel off its corners in all. Around holes it runs the other way.
    turn, least = np.sign(_signed_area(exact[0])), least_part(mask) - 0.6
    outer = [line for line in exact if np.sign(_signed_area(line)) == turn]
    shown = [line for line in outer if _enclosed_area(line) > least]
    return [_without_straight(line)[:, ::-1] - 0.5 for line in shown or outer]


def least_part(mask: npt.NDArray[np.bool_]) -> int:
    """Pixels, holes included, that a part has to have to be outlined beside larger ones.

    Else a threshold on a noisy image would be thousands of dots.
    """
    return max(_LEAST_PIXELS, int(mask.sum() * _LEAST_SHARE))


def _without_straight(exact: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A closed line less the points between which it runs straight."""
    steps = np.diff(exact, axis=0)
    before, after = np.roll(steps, 1, axis=0), steps
    bends = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    corners = exact[:-1][bends]
    if len(corners) >= MOST_POINTS_EACH:
        corners = corners[np.linspace(0, len(corners) - 1, MOST_POINTS_EACH).round().astype(int)]
    return np.concatenate([corners, corners[:1]])


def _contours(mask: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.float64]]:
    return list(find_contours(np.pad(mask, 1).astype(np.float64), 0.5))


def _simplified(exact: npt.NDArray[np.float64], most: int) -> npt.NDArray[np.float64]:
    # Here, for it brings scipy.signal and scipy.stats: a fifth of the start of a node.
    from skimage.measure import approximate_polygon

    for tolerance in _TOLERANCES:
        simple = approximate_polygon(exact, tolerance)
        if len(simple) <= most:
            break
    else:
        keep = np.linspace(0, len(exact) - 1, most).round().astype(int)
        simple = exact[keep]
    # Minus the padding, plus the half pixel from the centre of a pixel to its corner.
    return np.asarray(simple[:, ::-1] - 0.5)


def _enclosed_area(points: npt.NDArray[np.float64]) -> float:
    return abs(_signed_area(points))


def _signed_area(points: npt.NDArray[np.float64]) -> float:
    y, x = points.T
    return float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1])) / 2
