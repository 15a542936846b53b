"""A radiograph in a network's square: what MONAI makes of it, and where it lies."""

import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from monai.transforms.croppad.dictionary import SpatialPadd
from monai.transforms.spatial.dictionary import Resized
from torch.nn import functional

from dicomnode.networks.quantiles import quantiles_at_ends
from dicomnode.networks.radiographs import FitIntoSquared, _scaled

SIZES = [(200, 200), (128, 128), (128, 90), (250, 204), (203, 301), (64, 64), (40, 30), (129, 5)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_an_image_lies_where_monai_puts_it(size: tuple[int, int]) -> None:
    affine = torch.tensor([[-0.2, 0.01, 7.0], [0.02, -0.3, 9.0], [0, 0, 1]], dtype=torch.float64)
    lying = waves(size[::-1])
    image = MetaTensor(lying.transpose(1, 2), affine=affine)
    by_monai = Compose(
        [
            Resized("image", 64, size_mode="longest", mode="area"),
            SpatialPadd("image", (64, 64)),
        ]
    )

    fitted = FitIntoSquared("image", 64)({"image": image})["image"]

    wanted = by_monai({"image": image.clone()})["image"]
    assert isinstance(fitted, MetaTensor)
    assert fitted.shape == wanted.shape == (1, 64, 64)
    assert torch.allclose(fitted.affine, wanted.affine, atol=1e-9)
    # A picture of long waves is the same by whatever weights; areas are uneven by half a pixel.
    assert (fitted - wanted).abs().mean() < 0.01


def waves(shape: tuple[int, ...], length: float = 0.5) -> torch.Tensor:
    """`(1, *shape)`, 0 to 1: waves of so many of the longer side, down and across."""
    down, across = (torch.arange(n) / max(shape) * 2 * torch.pi / length for n in shape)
    return (0.5 + 0.25 * (down.sin()[:, None] + across.cos()[None, :]))[None]


@pytest.mark.parametrize("cut", [1, 4, 16, -1])
def test_an_image_of_nearly_the_fields_size_stays_as_sharp(cut: int) -> None:
    """By areas 504 pixels on 512 lost a half of what waves of four pixels say."""
    side = 512 - 2 * cut
    column = torch.arange(side)
    image = (0.5 + 0.5 * (column * 2 * torch.pi / 4 + 0.3).sin()).expand(1, side, side)
    meta = MetaTensor(image.transpose(1, 2), affine=torch.eye(3))

    fitted = FitIntoSquared("image", 512)({"image": meta})["image"]

    assert fitted.std() > 0.9 * image.std()
    by_areas = functional.interpolate(image[None], size=(512, 512), mode="area")
    assert by_areas.std() < 0.82 * image.std()


def test_values_stay_within_those_of_the_image() -> None:
    image = torch.zeros(1, 70, 70)
    image[:, 30:] = 255
    fitted = FitIntoSquared("image", 64)({"image": MetaTensor(image, affine=torch.eye(3))})["image"]
    assert [float(end) for end in fitted.aminmax()] == [0, 255]


def test_what_is_fitted_is_no_part_of_the_image() -> None:
    image = MetaTensor(torch.rand(1, 64, 64), affine=torch.eye(3))
    before = image.clone()

    fitted = FitIntoSquared("image", 64)({"image": image})["image"]
    fitted += 1

    assert torch.equal(image.as_tensor(), before.as_tensor())


def test_an_image_without_a_place_is_refused() -> None:
    with pytest.raises(TypeError):
        FitIntoSquared("image", 64)({"image": torch.rand(1, 20, 20)})


@pytest.mark.parametrize("size", [(64, 64), (64, 40)], ids=str)
def test_halving_gives_to_the_last_bit_what_torch_gives(size: tuple[int, int]) -> None:
    image = torch.rand(1, 1, 2 * size[0], 2 * size[1])
    wanted = functional.interpolate(image, size=size, mode="area")
    assert torch.equal(_scaled(image, size), wanted)


@pytest.mark.parametrize("count", [1, 2, 3, 100, 9216])
@pytest.mark.parametrize("share", [0.0, 0.005, 0.02, 0.3, 0.5])
def test_quantiles_at_the_ends_are_to_the_last_bit_those_of_all(count: int, share: float) -> None:
    generator = torch.Generator().manual_seed(count)
    values = torch.rand(2, count, generator=generator)
    for some in (values, (values * 20).round() / 20):
        wanted = torch.quantile(some, torch.tensor([share, 1 - share]), dim=1)
        assert torch.equal(torch.stack(quantiles_at_ends(some, share)), wanted)
