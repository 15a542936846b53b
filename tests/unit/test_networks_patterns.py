"""A lattice over the body, and labels interpolated from what its places show."""

import pytest
import torch
from torch import Tensor

from dicomnode.networks.patterns import PatternInferer, lattice_of
from dicomnode.networks.views import ViewNet


class Dense(ViewNet):
    """Class 1 where a view is dense on the whole, class 2 where it is empty."""

    def __init__(self) -> None:
        super().__init__(3)

    def forward(self, views: Tensor) -> Tensor:
        mean = views[:, :, 9:15, 9:15].mean((1, 2, 3))
        told = torch.full((len(views), 3), -9.0)
        told[:, 0] = 0.0
        told[mean > 500, 1] = 9.0
        told[mean < -880, 2] = 9.0
        return told


def body() -> Tensor:
    """A block of tissue with a hole in it that air fills; a dense half."""
    hu = torch.full((72, 60, 48), -1000.0)
    hu[12:60, 12:48] = 40.0
    hu[36:60, 12:48] = 900.0
    hu[18:30, 18:36, :] = -1000.0
    return hu


def test_the_lattice_covers_the_body_and_what_it_encloses() -> None:
    cells, inside = lattice_of(body(), 6)
    assert inside.shape == (12, 10, 8)
    assert len(cells) == inside.sum() == 8 * 6 * 8
    assert inside[3, 4].all()
    assert not inside[0].any()
    nothing, _ = lattice_of(torch.full((20, 20, 20), -1000.0), 6)
    assert len(nothing) == 0


def test_labels_lie_where_the_views_say_so_and_only_there() -> None:
    inferer = PatternInferer(lattice_mm=12.0, views=2)
    with torch.inference_mode():
        labels = inferer(body()[None, None], Dense().eval())
    assert labels.shape == (1, 1, 72, 60, 48)
    (dense,) = labels[0]
    assert (dense[46:56, 24:40, 12:36] == 1).all()
    assert (dense[:24] != 1).all()
    assert (dense[:6] == 0).all()


def test_sides_need_not_be_whole_cells_and_air_shows_nothing() -> None:
    inferer = PatternInferer(lattice_mm=12.0, views=1)
    with torch.inference_mode():
        labels = inferer(torch.full((1, 1, 25, 31, 17), -1000.0), Dense().eval())
    assert labels.shape == (1, 1, 25, 31, 17)
    assert not labels.any()


def test_another_network_is_refused() -> None:
    with pytest.raises(TypeError, match="ViewNet"):
        PatternInferer()(torch.zeros(1, 1, 8, 8, 8), torch.nn.Identity())
