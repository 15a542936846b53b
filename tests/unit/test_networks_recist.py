"""Axes of masks as a radiologist would draw them."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from dicomnode.networks.recist import long_short_axis, recist_axes, recist_of


def ellipse(angle: float, spacing: tuple[float, float]) -> npt.NDArray[np.bool_]:
    """40 mm long, 20 mm wide, turned by `angle` from the columns' direction."""
    rows, columns = np.mgrid[:120, :120]
    y, x = (rows - 60) * spacing[0], (columns - 60) * spacing[1]
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    return np.asarray((along / 20) ** 2 + (across / 10) ** 2 <= 1)


def lengths(
    mask: npt.NDArray[np.bool_], spacing: tuple[float, float]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    long_axis, short_axis = (axis * spacing for axis in recist_axes(mask, spacing))
    return long_axis[1] - long_axis[0], short_axis[1] - short_axis[0]


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.1, np.pi / 2, 2.6])
@pytest.mark.parametrize("spacing", [(0.7, 0.7), (1.0, 0.6)])
def test_axes_of_an_ellipse_are_its_own(angle: float, spacing: tuple[float, float]) -> None:
    long_axis, short_axis = lengths(ellipse(angle, spacing), spacing)
    assert np.linalg.norm(long_axis) == pytest.approx(40, abs=1)
    assert np.linalg.norm(short_axis) == pytest.approx(20, abs=1)
    assert long_axis @ short_axis == pytest.approx(0, abs=1e-6)


def test_a_single_pixel_has_axes_of_its_own_size() -> None:
    mask = np.zeros((5, 5), dtype=bool)
    mask[2, 3] = True
    long_axis, short_axis = lengths(mask, (1.0, 2.0))
    assert np.abs(long_axis).tolist() == [0, 2]
    assert np.abs(short_axis).tolist() == [1, 0]


def test_an_empty_mask_is_an_error() -> None:
    with pytest.raises(ValueError, match="empty"):
        recist_axes(np.zeros((3, 3), dtype=bool), (1, 1))


def test_the_plane_is_the_one_of_the_longest_diameter() -> None:
    rng = np.random.default_rng(0)
    spacing = [0.8, 0.7, 2.5]
    for _ in range(20):
        field = ndimage.gaussian_filter(rng.normal(size=(24, 20, 9)), 2)
        field = np.clip(0.5 + 8 * field, 0, 1)
        planes = [long_short_axis(field[:, :, z], spacing[:2]) for z in range(9)]
        lengths = [0.0 if one is None else one.long_mm for one in planes]
        found = recist_of(field, spacing)
        assert found is not None
        plane, diameters = found
        assert plane == int(np.argmax(lengths))
        wanted = planes[plane]
        assert wanted is not None
        assert np.array_equal(diameters.long, wanted.long)
        assert np.array_equal(diameters.short, wanted.short)
    assert recist_of(np.zeros((4, 4, 4)), spacing) is None
