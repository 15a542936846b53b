"""Zeros of which little is filled."""

import numpy as np
import pytest

from dicomnode.domain.blank import blank, filled


@pytest.mark.parametrize("kind", [np.bool_, np.uint8, np.int32])
def test_a_blank_is_zeros_that_can_be_written(kind: type[np.generic]) -> None:
    zeros = blank((3, 700, 800), kind)
    assert zeros.shape == (3, 700, 800)
    assert zeros.dtype == kind
    assert not zeros.any()
    zeros[1, 500:502, 3] = True
    done = filled(zeros)
    assert done is zeros
    assert np.argwhere(done).tolist() == [[1, 500, 3], [1, 501, 3]]


def test_two_blanks_share_nothing_and_an_empty_one_is_one() -> None:
    first, second = blank((4, 4), np.uint8), blank((4, 4), np.uint8)
    first[0, 0] = 7
    assert not second.any()
    assert blank((0, 5), np.uint8).shape == (0, 5)


def test_another_array_is_left_as_it_is() -> None:
    other = np.ones((2, 2), np.uint8)
    assert filled(other) is other
