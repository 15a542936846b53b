"""The coarse grid of a CT: axis by axis as by interpolation between means of blocks."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from dicomnode.networks import outside
from dicomnode.pipeline import body_map
from dicomnode.pipeline.block_reading import _block_means, _parallel_axes, read_blocks

BEYOND = -5000.0


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_parallel_axes_give_what_interpolation_between_blocks_gives(order: list[int]) -> None:
    array = np.random.default_rng(0).normal(0, 300, (31, 44, 53)).astype(np.float32)
    block = np.array([1, 3, 2])
    turn = np.zeros((4, 4))
    # One axis runs backwards, one begins and one ends beyond the blocks' centres.
    turn[range(3), order] = 2.1, -1.3, 1.9
    turn[:, 3] = 1.7, 13.0, -2.5, 1.0
    size = np.array([9, 11, 14])
    assert _parallel_axes(turn, size) == list(order)

    read = read_blocks(array, block, turn, size, beyond=BEYOND)

    wanted = ndimage.affine_transform(
        _block_means(array, block),
        turn[:3, :3],
        offset=turn[:3, 3],
        output_shape=(9, 11, 14),
        order=1,
        mode="constant",
        cval=BEYOND,
    )
    assert read.shape == wanted.shape
    assert np.array_equal(read == BEYOND, wanted == BEYOND)
    assert 0 < (read == BEYOND).mean() < 1
    assert np.abs(read - wanted).max() < 1e-2


def test_axes_that_run_apart_are_not_parallel() -> None:
    turn = np.diag([2.0, 2.0, 2.0, 1.0])
    turn[0, 1] = 0.01
    assert _parallel_axes(turn, np.array([5, 5, 5])) == [0, 1, 2]
    assert _parallel_axes(turn, np.array([50, 50, 50])) is None


def test_openings_are_those_of_scipy() -> None:
    rng = np.random.default_rng(1)
    for share in (0.6, 0.8, 0.95):
        parts = rng.random((12, 17, 15)) < share
        planes = ndimage.binary_opening(parts, np.ones((1, 3, 3)))
        assert np.array_equal(body_map._opened(parts), planes)
        padded = np.pad(parts, 2, mode="edge")
        cubes = ndimage.binary_opening(padded, np.ones((3, 3, 3)))[2:-2, 2:-2, 2:-2]
        assert np.array_equal(outside._opened(padded), cubes)
