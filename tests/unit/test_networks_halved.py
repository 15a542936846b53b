"""A network on half of the grid: nothing of the image is lost, and the answer lies where it was."""

import pytest
import torch
from torch import nn

from dicomnode.networks import HalvedGrid


def test_a_network_that_changes_nothing_gives_the_image_back() -> None:
    image = torch.rand(2, 3, 4, 6, 8)
    assert torch.equal(HalvedGrid(nn.Identity())(image), image)


def test_the_network_sees_half_of_each_side_and_eight_times_the_channels() -> None:
    seen: list[tuple[int, ...]] = []
    inner = nn.Conv3d(8, 16, 1)
    inner.register_forward_hook(lambda _m, given, _said: seen.append(tuple(given[0].shape)))
    assert HalvedGrid(inner)(torch.rand(1, 1, 4, 6, 8)).shape == (1, 2, 4, 6, 8)
    assert seen == [(1, 8, 2, 3, 4)]


def test_what_changes_one_block_changes_no_other() -> None:
    halved = HalvedGrid(nn.Conv3d(8, 8, 1))
    image = torch.rand(1, 1, 4, 4, 4)
    other = image.clone()
    other[..., 2, 0, 1] += 1
    changed = (halved(image) != halved(other))[0, 0]
    assert changed[2:, :2, :2].any()
    changed[2:, :2, :2] = False
    assert not changed.any()


def test_an_odd_side_is_refused() -> None:
    with pytest.raises(ValueError, match="divisible"):
        HalvedGrid(nn.Identity())(torch.rand(1, 1, 4, 5, 4))


def test_what_is_known_beside_the_image_joins_it_on_the_half_grid() -> None:
    seen: list[tuple[int, ...]] = []

    class Watched(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(x.shape))
            return x[:, :8] + x[:, 8:9]

    image, beside = torch.zeros(1, 1, 4, 4, 4), torch.rand(1, 1, 2, 2, 2)
    said = HalvedGrid(Watched())(image, beside)
    assert seen == [(1, 9, 2, 2, 2)]
    assert (said[..., ::2, ::2, ::2] == beside).all()
