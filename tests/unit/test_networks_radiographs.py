"""A radiograph in a network's square: what MONAI makes of it, and where it lies."""

import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from monai.transforms.croppad.dictionary import SpatialPadd
from monai.transforms.spatial.dictionary import Resized

from dicomnode.networks.radiographs import FitIntoSquared

SIZES = [(200, 200), (250, 204), (203, 301), (64, 64), (40, 30), (129, 5)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_an_image_fits_as_monai_fits_it(size: tuple[int, int]) -> None:
    affine = torch.tensor([[-0.2, 0.01, 7.0], [0.02, -0.3, 9.0], [0, 0, 1]], dtype=torch.float64)
    lying = torch.rand(1, *size[::-1])
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
    assert torch.allclose(fitted.as_tensor(), wanted.as_tensor(), atol=1e-6)
    assert torch.allclose(fitted.affine, wanted.affine, atol=1e-9)


def test_what_is_fitted_is_no_part_of_the_image() -> None:
    image = MetaTensor(torch.rand(1, 64, 64), affine=torch.eye(3))
    before = image.clone()

    fitted = FitIntoSquared("image", 64)({"image": image})["image"]
    fitted += 1

    assert torch.equal(image.as_tensor(), before.as_tensor())


def test_an_image_without_a_place_is_refused() -> None:
    with pytest.raises(TypeError):
        FitIntoSquared("image", 64)({"image": torch.rand(1, 20, 20)})
