"""Diameters against ellipses of known size; peaks and their suppression."""

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull

from dicomnode.networks.detections import keep_apart, peaks
from dicomnode.networks.recist import _widest_across, long_short_axis, recist_of


def ellipse(
    half: tuple[float, float], angle: float, spacing: tuple[float, float], *, soft: bool
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Around the middle of a field of 80 mm."""
    a, b = (np.arange(round(80 / s)) * s - 40 for s in spacing)
    turn = np.deg2rad(angle)
    u = a[:, None] * np.cos(turn) + b[None] * np.sin(turn)
    v = -a[:, None] * np.sin(turn) + b[None] * np.cos(turn)
    away = np.sqrt((u / half[0]) ** 2 + (v / half[1]) ** 2)
    if not soft:
        return (away < 1).astype(float)
    return np.asarray(np.clip(0.5 + (1 - away) * min(half) / (2 * max(spacing)), 0, 1))


@pytest.mark.parametrize("angle", [0, 17, 45, 90, 130])
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.7, 0.7), (1.5, 1.0)])
def test_diameters_of_an_ellipse(angle: float, spacing: tuple[float, float]) -> None:
    told = long_short_axis(ellipse((15, 8), angle, spacing, soft=True), spacing)
    assert told is not None
    assert told.long_mm == pytest.approx(30, abs=0.5)
    assert told.short_mm == pytest.approx(16, abs=0.5)
    along, across = told.long[1] - told.long[0], told.short[1] - told.short[0]
    assert abs(along @ across) < 1e-6 * told.long_mm * told.short_mm
    direction = np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
    assert abs(along @ direction) / told.long_mm == pytest.approx(1, abs=0.01)
    assert told.long.mean(0) == pytest.approx([40, 40], abs=0.6)


def test_a_hard_mask_is_measured_within_a_pixel() -> None:
    told = long_short_axis(ellipse((15, 8), 30, (1.0, 1.0), soft=False), (1.0, 1.0))
    assert told is not None
    assert told.long_mm == pytest.approx(30, abs=1)
    assert told.short_mm == pytest.approx(16, abs=1)


def test_a_single_pixel_and_nothing() -> None:
    field = np.zeros((9, 9))
    assert long_short_axis(field, (1, 1)) is None
    field[4, 4] = 1.0
    told = long_short_axis(field, (1, 1))
    assert told is not None
    assert told.long_mm == pytest.approx(1)


def test_the_part_that_covers_most_counts() -> None:
    field = ellipse((10, 10), 0, (1.0, 1.0), soft=True)
    field[:3, :3] = 1
    told = long_short_axis(field, (1, 1))
    assert told is not None
    assert told.long_mm == pytest.approx(20, abs=0.5)


def test_a_chord_is_not_the_width_of_the_shadow() -> None:
    """Of a slanted parallelogram the widest chord across is shorter than its extent across."""
    a, b = np.mgrid[:60, :60].astype(float)
    field = ((b > 10) & (b < 50) & (np.abs(a - 30 - (b - 30) * 0.6) < 5)).astype(float)
    told = long_short_axis(field, (1, 1))
    assert told is not None
    extent = np.argwhere(field > 0) @ (
        np.array([[0, -1], [1, 0]]) @ (told.long[1] - told.long[0]) / told.long_mm
    )
    assert told.short_mm < np.ptp(extent)


def test_recist_is_read_in_the_plane_where_the_lesion_is_longest() -> None:
    x, y, z = np.mgrid[:40, :40, :30].astype(float)
    away = np.sqrt(((x - 20) / 12) ** 2 + ((y - 20) / 8) ** 2 + ((z - 11) / 9) ** 2)
    told = recist_of(np.clip(0.5 + (1 - away) * 4, 0, 1), (1.0, 1.0, 1.0))
    assert told is not None
    plane, diameters = told
    assert plane == 11
    assert diameters.long_mm == pytest.approx(24, abs=0.5)
    assert diameters.short_mm == pytest.approx(16, abs=0.5)
    assert recist_of(np.zeros((4, 4, 4)), (1, 1, 1)) is None


def test_peaks_are_highest_first_and_apart() -> None:
    heat = torch.zeros(20, 20, 20)
    heat[5, 5, 5], heat[5, 6, 5], heat[12, 3, 9], heat[18, 18, 18] = 0.9, 0.8, 0.95, 0.05
    where, values = peaks(heat, at_least=0.1, most=10)
    assert where.tolist() == [[12, 3, 9], [5, 5, 5]]
    assert values.tolist() == pytest.approx([0.95, 0.9])
    assert len(peaks(heat, at_least=0.1, most=1)[0]) == 1


def test_the_surer_of_two_near_points_stays() -> None:
    points = np.array([[0.0, 0, 0], [6, 0, 0], [30, 0, 0]])
    scores = np.array([0.5, 0.9, 0.1])
    assert keep_apart(points, scores, np.array([5.0, 5, 5])) == [1, 0, 2]
    assert keep_apart(points, scores, np.array([8.0, 2, 5])) == [1, 2]
    assert keep_apart(points[:0], scores[:0], scores[:0]) == []


def test_the_plane_of_the_longest_diameter_is_that_of_looking_at_all_planes() -> None:
    rng = np.random.default_rng(3)
    for _ in range(12):
        soft = rng.random((14, 12, 9)).astype(np.float32)
        soft = np.where(rng.random((1, 1, 9)) < 0.7, soft, 0.0) * (rng.random(soft.shape) < 0.4)
        told = recist_of(soft, (0.8, 1.1, 3.0))
        alone = [long_short_axis(soft[:, :, z], (0.8, 1.1)) for z in range(9)]
        longest = max((one.long_mm for one in alone if one is not None), default=None)
        assert (told is None) == (longest is None)
        if told is not None:
            first = next(z for z, one in enumerate(alone) if one and one.long_mm == longest)
            assert (told[0], told[1].long_mm) == (first, longest)


def test_peaks_are_the_highest_of_their_neighbourhood_and_no_lower_than_asked() -> None:
    heat = torch.rand(9, 8, 7, generator=torch.Generator().manual_seed(1))
    where, values = peaks(heat, at_least=0.6, most=100)
    told = {tuple(row) for row in where.tolist()}
    wanted = set()
    for x, y, z in torch.nonzero(heat >= 0.6).tolist():
        around = heat[max(x - 1, 0) : x + 2, max(y - 1, 0) : y + 2, max(z - 1, 0) : z + 2]
        if heat[x, y, z] >= around.max():
            wanted.add((x, y, z))
    assert told == wanted
    assert values.tolist() == sorted(values.tolist(), reverse=True)


def test_no_chord_at_right_angles_is_longer_than_the_short_axis() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        points = rng.normal(size=(30, 2))
        hull = points[ConvexHull(points).vertices]
        angle = rng.uniform(0, np.pi)
        along = np.array([np.cos(angle), np.sin(angle)])

        ends = _widest_across(hull, along)

        length = float(np.linalg.norm(ends[1] - ends[0]))
        assert (ends[1] - ends[0]) @ along == pytest.approx(0, abs=1e-9)
        u, v = hull @ along, hull @ [-along[1], along[0]]
        after = np.roll(np.arange(len(hull)), -1)
        chords = []
        for at in np.linspace(u.min(), u.max(), 301)[1:-1]:
            cut = (u - at) * (u[after] - at) <= 0
            share = (at - u[cut]) / (u[after] - u)[cut]
            chords.append(float(np.ptp(v[cut] + share * (v[after] - v)[cut])))
        assert max(chords) <= length + 1e-9
        assert max(chords) == pytest.approx(length, rel=0.05)


def test_a_square_is_as_wide_as_its_edge() -> None:
    square = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]])

    ends = _widest_across(square, np.array([1.0, 0.0]))

    assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(4)
