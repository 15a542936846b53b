"""Thicker slices and larger pixels, read back on the grid."""

import numpy as np

from dicomnode.phantom.acquisition import acquired

STEPS = (1.5, 1.5, 1.5)


def test_an_even_ct_stays_where_it_was_and_a_sharp_edge_gets_blurred_at_its_place() -> None:
    edge = np.zeros((40, 24, 24), np.float32)
    edge[20:] = 400.0
    blurred = 0
    for seed in range(24):
        seen = acquired(np.random.default_rng(seed), edge, STEPS)
        assert seen.shape == edge.shape
        assert abs(seen[:12].mean()) < 8
        assert abs(seen[28:].mean() - 400) < 8
        line = seen.mean(axis=(1, 2))
        place = np.interp(200.0, line, np.arange(40))
        assert abs(place - 19.5) < 1.7
        blurred += bool(abs(line[19] - 0) > 40)
    assert 6 < blurred < 24


def test_voxels_no_larger_than_the_grids_leave_hu_alone() -> None:
    hu = np.random.default_rng(0).normal(0, 50, (10, 12, 14)).astype(np.float32)
    for seed in range(12):
        seen = acquired(np.random.default_rng(seed), hu, (6.0, 6.0, 6.0))
        assert (seen == hu).all()


def test_the_same_draw_gives_the_same_ct() -> None:
    hu = np.random.default_rng(0).normal(0, 50, (20, 20, 20)).astype(np.float32)
    one, two = (acquired(np.random.default_rng(3), hu, STEPS) for _ in range(2))
    assert (one == two).all()
