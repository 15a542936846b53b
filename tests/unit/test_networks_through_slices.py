"""A 2.5D network whose lowest levels read consecutive slices together."""

import pytest
import torch
from monai.networks.nets.basic_unet import BasicUNet
from torch import nn

from dicomnode.networks import SlabInferer, ThroughSlicesUNet
from dicomnode.networks.through_slices import ThroughSlices

FEATURES = (4, 4, 6, 8, 10, 4)


@pytest.fixture
def network() -> ThroughSlicesUNet:
    """One whose mixtures are not zero and whose norms know their scale, as after training."""
    torch.manual_seed(0)
    made = ThroughSlicesUNet(3, 5, FEATURES, reach=(1, 1, 2)).train()
    for across in made.across:
        assert isinstance(across, ThroughSlices)
        nn.init.normal_(across.mix.weight, std=0.3)
    with torch.no_grad():
        for _ in range(20):
            made(torch.randn(1, 6, 3, 48, 48))
    return made.eval()


def test_untrained_it_is_the_plain_unet_of_the_same_weights() -> None:
    plain = BasicUNet(
        spatial_dims=2,
        in_channels=3,
        out_channels=5,
        features=FEATURES,
        norm="batch",
        act=("relu", {"inplace": True}),
    ).eval()
    made = ThroughSlicesUNet(3, 5, FEATURES, reach=(1, 1, 2)).eval()
    made.load_state_dict(plain.state_dict(), strict=False)
    slices = torch.randn(2, 4, 3, 32, 48)
    with torch.no_grad():
        expected = plain(slices.flatten(0, 1)).unflatten(0, (2, 4))
        torch.testing.assert_close(made(slices), expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_slice_hears_its_reach_and_no_further_and_no_other_volume(
    network: ThroughSlicesUNet,
) -> None:
    slices = torch.randn(2, 11, 3, 48, 48)
    other = slices.clone()
    other[0, 0] += 5 * torch.randn(3, 48, 48)
    changed = (network(other) != network(slices)).flatten(2).any(2)
    assert changed[0].tolist() == [True] * 5 + [False] * 6
    assert not changed[1].any()


@torch.no_grad()
def test_slices_asked_for_alone_are_those_of_all(network: ThroughSlicesUNet) -> None:
    slices = torch.randn(2, 6, 3, 16, 32)
    torch.testing.assert_close(network(slices, torch.tensor([1, 4])), network(slices)[:, [1, 4]])


@torch.no_grad()
def test_how_a_volume_is_cut_into_batches_changes_nothing(network: ThroughSlicesUNet) -> None:
    volume = torch.randn(1, 1, 40, 48, 15)
    whole, parts = (
        SlabInferer((-2, 0, 2), batch=batch, context=4)(volume, network) for batch in (15, 4)
    )
    torch.testing.assert_close(parts, whole)
    short = SlabInferer((-2, 0, 2), batch=4, context=1)(volume, network)
    assert (short - whole).abs().max() > 1e-4
