"""Planes become a grid, or are refused with the reason."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from dicomnode.pipeline.geometry import arrange
from dicomnode.testing.studies import AXIAL, forty_eight_orientations

Orientation = tuple[float, float, float, float, float, float]


def stack(
    heights: Sequence[float],
    *,
    orientation: Sequence[float] = AXIAL,
    sideways: Callable[[int], tuple[float, float]] = lambda _: (0.0, 0.0),
) -> list[Plane]:
    """Planes at `heights` along the normal, shifted in the plane by `sideways` (row, column)."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    normal = np.cross(row, column)
    planes = []
    for index, height in enumerate(heights):
        along_row, along_column = sideways(index)
        position = height * normal + along_row * row + along_column * column
        planes.append(plane(index, position.tolist(), orientation))
    return planes


def plane(index: int, position: Sequence[float], orientation: Sequence[float]) -> Plane:
    x, y, z = (float(value) for value in position)
    a, b, c, d, e, f = (float(value) for value in orientation)
    return Plane(
        label=f"image {index + 1}",
        position=(x, y, z),
        orientation=(a, b, c, d, e, f),
        spacing=(1.5, 0.75),
        thickness=3.0,
        localizer=False,
        phase="1",
    )


@given(
    orientation=st.sampled_from([orientation for orientation, _ in forty_eight_orientations()]),
    order=st.permutations(range(7)),
    step=st.floats(0.3, 12.0),
    start=st.floats(-900, 900),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_voxel_centre_is_where_its_slice_says(
    orientation: Orientation, order: list[int], step: float, start: float, seed: int
) -> None:
    planes = stack([start + step * index for index in range(7)], orientation=orientation)
    shuffled = [planes[index] for index in order]
    arrangement = arrange(shuffled)
    generator = np.random.default_rng(seed)
    normal = np.cross(orientation[:3], orientation[3:])
    heights = [np.dot(shuffled[i].position, normal) for i in arrangement.order]
    assert heights == sorted(heights)
    for slot, index in enumerate(arrangement.order):
        row, column = generator.uniform(0, 500, 2)
        # PS3.3 C.7.6.2.1.1: rows apart along the column direction, columns along the row's.
        expected = (
            np.array(shuffled[index].position)
            + np.array(orientation[3:]) * 1.5 * row
            + np.array(orientation[:3]) * 0.75 * column
        )
        found = arrangement.affine_lps_mm @ [slot, row, column, 1]
        np.testing.assert_allclose(found[:3], expected, atol=1e-6)
    assert np.linalg.det(arrangement.affine_lps_mm) != 0


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_even() -> None:
    heights = [round(0.625 * index, 1) for index in range(200)]
    affine = arrange(stack(heights)).affine_lps_mm
    assert affine[2, 0] == pytest.approx(0.625, abs=0.001)


def test_missing_slices_are_named_by_their_neighbours() -> None:
    with pytest.raises(
        MissingSlices,
        match=r"1 between image 3 \(z = 6.00 mm\) and image 4 \(z = 12.00 mm\), 2 between image 5",
    ):
        arrange(stack([0, 3, 6, 12, 15, 24, 27, 30, 33]))


def test_uneven_spacing_is_named() -> None:
    with pytest.raises(UnevenSpacing, match=r"3.00 mm apart, but 4.00 mm between image 4"):
        arrange(stack([0, 3, 6, 9, 13, 16, 19]))


def test_spacing_that_drifts_slowly_is_found() -> None:
    heights = np.cumsum([3 + 0.01 * index for index in range(40)])
    with pytest.raises(UnevenSpacing, match=r"beside the even grid|mm apart"):
        arrange(stack([float(height) for height in heights]))


def test_no_slice_lies_further_than_the_tolerance_from_the_even_grid() -> None:
    """5 % of 3 mm; each step is within that of the others, and their sum is not."""
    fine = [0.0, 3.01, 6.02, 9.03, 12.04, 15.03, 18.02, 21.01, 24.0]
    assert arrange(stack(fine)).warnings == ()
    coarse = [height + 0.06 * min(index, 8 - index) for index, height in enumerate(fine)]
    with pytest.raises(UnevenSpacing, match=r"0\.28 mm beside the even grid of 9 slices"):
        arrange(stack(coarse))


def test_two_images_at_one_position_are_named() -> None:
    with pytest.raises(DuplicateSlices, match=r"image 2 and image 3 \(z = 3.00 mm\); the slice"):
        arrange(stack([0, 3, 3, 6, 9]))


def test_several_phases_at_one_position_are_told_from_duplicates() -> None:
    planes = stack([0, 0, 3, 3, 6, 6])
    phases = [replace(plane, phase=str(index % 2)) for index, plane in enumerate(planes)]
    with pytest.raises(DuplicateSlices, match="several volumes"):
        arrange(phases)


def test_gantry_tilt_is_given_in_degrees() -> None:
    tilt = np.tan(np.radians(12))
    with pytest.raises(TiltedGantry, match=r"lean by 12.0 degrees"):
        arrange(stack([3.0 * i for i in range(20)], sideways=lambda i: (0, 3.0 * i * tilt)))


def test_lean_within_rounding_is_kept_in_the_affine() -> None:
    planes = stack([3.0 * i for i in range(20)], sideways=lambda i: (0.002 * i, 0))
    affine = arrange(planes).affine_lps_mm
    np.testing.assert_allclose((affine @ [19, 0, 0, 1])[:3], planes[19].position, atol=1e-9)


def test_slice_moved_sideways_is_named() -> None:
    with pytest.raises(VolumeError, match=r"image 5 .* 8.0 mm to the side"):
        arrange(stack([3.0 * i for i in range(9)], sideways=lambda i: (8.0 if i == 4 else 0, 0)))


def test_other_orientation_is_named_even_when_it_comes_first() -> None:
    scout = plane(0, (0, 0, 0), (0, 1, 0, 0, 0, -1))
    with pytest.raises(MixedOrientation, match=r"^image 1: other ImageOrientationPatient"):
        arrange([scout, *stack([0, 3, 6])])


def test_localizer_is_called_one() -> None:
    planes = stack([0, 3, 6])
    with pytest.raises(MixedOrientation, match=r"image 2 of this series: a localizer"):
        arrange([planes[0], replace(planes[1], localizer=True), planes[2]])


def test_other_pixel_spacing_is_named() -> None:
    planes = stack([0, 3, 6])
    with pytest.raises(VolumeError, match=r"image 3: PixelSpacing \[1.4, 0.75\] mm, but"):
        arrange([*planes[:2], replace(planes[2], spacing=(1.4, 0.75))])


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0.1, 1, 0), (2, 0, 0, 0, 1, 0), (0,) * 6])
def test_cosines_that_are_no_right_angle_are_refused(orientation: Orientation) -> None:
    with pytest.raises(UnsupportedImage, match="right angle"):
        arrange([plane(0, (0, 0, 0), orientation)])


def test_cosines_a_little_off_the_right_angle_make_a_grid_of_right_angles() -> None:
    orientation = (1.0, 0.0, 0.0, 0.0008, 0.9999, 0.0002)
    affine = arrange(stack([0, 3, 6], orientation=orientation)).affine_lps_mm
    row, column = affine[:3, 2] / 0.75, affine[:3, 1] / 1.5
    assert abs(row @ column) < 1e-12
    assert np.linalg.norm(row) == pytest.approx(1, abs=1e-12)
    assert np.linalg.norm(column) == pytest.approx(1, abs=1e-12)


def test_one_slice_takes_its_thickness_and_says_when_there_is_none() -> None:
    only = stack([5.0])[0]
    assert arrange([only]).affine_lps_mm[2, 0] == 3.0
    unknown = arrange([replace(only, thickness=None)])
    assert unknown.affine_lps_mm[2, 0] == 1.0
    assert unknown.warnings == ("one slice of unknown thickness, taken as 1 mm",)
