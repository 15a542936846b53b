"""The network that outlines organs: axes, its encoder's levels, and the fused form it ships in."""

import pytest
import torch

from dicomnode.networks.efficient_unet import EfficientUNet
from dicomnode.networks.efficientnet import EfficientNetLite0


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(3)


def test_every_parameter_learns() -> None:
    network = EfficientUNet(3)
    network(torch.rand(2, 1, 64, 64)).square().mean().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


def test_norms_taken_into_convolutions_change_nothing() -> None:
    network = EfficientUNet(2).train()
    with torch.no_grad():
        network(torch.rand(4, 1, 64, 64))  # so that the norms have something to take along
        image = torch.rand(1, 1, 64, 96)
        expected = network.eval()(image)
        fused = network.fuse()
        torch.testing.assert_close(fused(image), expected, atol=1e-5, rtol=1e-4)
    again = EfficientUNet(2, fused=True)
    again.load_state_dict(fused.state_dict())
    assert not any("norm" in name for name in again.state_dict())


def test_an_answer_lies_where_its_pixel_lies() -> None:
    """Columns come first outside and rows first inside: a mix-up would move a far corner."""
    network = EfficientUNet(1).eval()
    image = torch.zeros(1, 1, 512, 256, requires_grad=True)
    network(image)[0, 0, 500, 10].backward()
    assert image.grad is not None
    column, row = divmod(int(image.grad[0, 0].abs().argmax()), 256)
    assert abs(column - 500) < 40
    assert abs(row - 10) < 40


def test_the_encoder_sees_pictures_upright() -> None:
    network = EfficientUNet(1).eval()
    seen: list[torch.Tensor] = []
    network.encoder.stem.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    image = torch.rand(1, 1, 64, 32)
    with torch.no_grad():
        network(image)
    assert seen[0].shape == (1, 3, 32, 64)
    torch.testing.assert_close(seen[0][0, 1] * 128 + 127, image[0, 0].T * 255)


def test_levels_of_the_encoder_are_those_of_its_stages() -> None:
    encoder = EfficientNetLite0(stages=6).eval()
    with torch.no_grad():
        levels = encoder.pyramid(torch.rand(1, 3, 64, 96))
        trunk = encoder.trunk(torch.rand(1, 3, 64, 96))
    assert [level.shape[1] for level in levels] == encoder.pyramid_channels
    assert [tuple(level.shape[2:]) for level in levels] == [
        (32, 48),
        (16, 24),
        (8, 12),
        (4, 6),
        (2, 3),
    ]
    assert trunk.shape[1:] == levels[3].shape[1:]


def test_a_shorter_encoder_takes_over_published_weights() -> None:
    whole = EfficientNetLite0()
    published = whole.state_dict()
    short = EfficientNetLite0(stages=6)
    short.load_imagenet(published)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(short.eval().trunk(image), whole.eval().trunk(image))
