"""Outlines lie on the border of their mask, whatever its shape."""

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dicomnode.encode.outlines import MOST_POINTS, largest_slice, outline

masks = arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 15))).filter(np.any)


def on_border(mask: npt.NDArray[np.bool_], x: float, y: float) -> bool:
    """True if marked and unmarked pixels (or the image's edge) meet at most half a pixel away."""
    padded = np.pad(mask, 1)
    columns = {int(np.floor(x - 0.25)) + 1, int(np.floor(x + 0.25)) + 1}
    rows = {int(np.floor(y - 0.25)) + 1, int(np.floor(y + 0.25)) + 1}
    touched = [padded[row, column] for row in rows for column in columns]
    return any(touched) and not all(touched)


@given(masks)
@settings(max_examples=100, deadline=None)
def test_an_outline_is_closed_short_and_on_the_border(mask: npt.NDArray[np.bool_]) -> None:
    points = outline(mask)
    assert 4 <= len(points) <= MOST_POINTS
    assert (points[0] == points[-1]).all()
    assert all(on_border(mask, x, y) for x, y in points)


def test_a_block_is_outlined_along_its_edges() -> None:
    mask = np.zeros((20, 30), dtype=bool)
    mask[5:10, 7:19] = True
    points = outline(mask)
    assert points.min(axis=0).tolist() == [7.0, 5.0]
    assert points.max(axis=0).tolist() == [19.0, 10.0]


def test_the_larger_part_is_outlined_and_holes_are_not() -> None:
    mask = np.zeros((40, 40), dtype=bool)
    mask[2:5, 2:5] = True
    mask[10:30, 10:35] = True
    mask[12:28, 12:33] = False
    points = outline(mask)
    assert points.min(axis=0).tolist() == [10.0, 10.0]
    assert points.max(axis=0).tolist() == [35.0, 30.0]


def test_a_ragged_outline_of_thousands_of_points_is_simplified() -> None:
    y, x = np.mgrid[:600, :600]
    angle = np.arctan2(y - 300, x - 300)
    mask = np.hypot(y - 300, x - 300) < 200 + 60 * np.sin(30 * angle)
    points = outline(mask)
    assert len(points) <= MOST_POINTS
    assert all(on_border(mask, px, py) for px, py in points)


def test_the_slice_with_the_largest_area_is_found() -> None:
    mask = np.zeros((4, 5, 6), dtype=bool)
    mask[1, :2], mask[2, :4], mask[3, 0] = True, True, True
    assert largest_slice(mask) == 2
