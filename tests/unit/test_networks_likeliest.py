"""The likeliest class of each voxel is torch's."""

import pytest
import torch

from dicomnode.networks.likeliest import likeliest


@pytest.mark.parametrize("classes", [1, 2, 3, 21])
@pytest.mark.parametrize("turned", [False, True])
def test_the_likeliest_class_is_that_of_the_highest_value(classes: int, turned: bool) -> None:
    values = torch.rand(classes, 7, 6, 5, generator=torch.Generator().manual_seed(0))
    values = (values * 4).round() / 4  # many are equal
    if turned:
        values = values.transpose(1, 3)
    assert torch.equal(likeliest(values).long(), values.argmax(0))


def test_nothing_is_needed_of_an_empty_volume_and_a_byte_is_enough() -> None:
    assert likeliest(torch.rand(3, 0, 4)).shape == (0, 4)
    values = torch.zeros(256, 2, 2)
    values[255] = 1
    assert (likeliest(values) == 255).all()
    with pytest.raises(ValueError, match="257"):
        likeliest(torch.zeros(257, 2, 2))
