"""Coarse to fine: where an organ is looked for, what is refused, and where the result lies."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dicomnode.domain.errors import InputRefused
from dicomnode.networks import (
    PlaneCombiner,
    SlabInferer,
    ThreePlaneInferer,
    ThreePlaneNetwork,
    WholeInferer,
)
from dicomnode.networks.organs import scale_soft_tissue
from dicomnode.networks.regions import CoarseToFine, GivenRegionInferer, RegionInferer

FAT, LIVER, PANCREAS = -100.0, 60.0, 40.0


class ByValue(nn.Module):
    """Says from one slice's values which class a voxel is; remembers the sizes it was given."""

    def __init__(self, levels: tuple[float, ...], boundary: int = 0) -> None:
        super().__init__()
        self.levels = scale_soft_tissue(torch.tensor(levels))
        self.boundary = boundary
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(tuple(x.shape[2:]))
        middle = x[:, x.shape[1] // 2, None]
        logits = -500 * (middle - self.levels.view(1, -1, 1, 1)).square()
        edge = torch.zeros_like(logits[:, : self.boundary])
        return torch.cat([logits, edge], dim=1)


class VolumeByValue(nn.Module):
    """The same in 3D."""

    def __init__(self, levels: tuple[float, ...]) -> None:
        super().__init__()
        self.levels = scale_soft_tissue(torch.tensor(levels))
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(tuple(x.shape[2:]))
        return -500 * (x - self.levels.view(1, -1, 1, 1, 1)).square()


def network() -> CoarseToFine:
    axial, coronal, sagittal = (ByValue((FAT, PANCREAS), boundary=1) for _ in range(3))
    fine = ThreePlaneNetwork(axial, coronal, sagittal, PlaneCombiner(3, 2, channels=3))
    return CoarseToFine(ByValue((FAT, LIVER, PANCREAS)), fine)


def inferer(**changes: Any) -> RegionInferer:
    settings: dict[str, Any] = {
        "spacing_mm": 2.0,
        "coarse_spacing_mm": 4.0,
        "organ": [2, "pancreas", 1.0],
        "region": [[1, "liver", 20.0]],
        "coarse": SlabInferer((0,), multiple=1),
        "fine": ThreePlaneInferer(2, slabs={"offsets": (0,), "multiple": 1}),
        "margin_mm": 8.0,
    }
    return RegionInferer(**{**settings, **changes})


def belly(*, liver: bool = True, pancreas: bool = True) -> Tensor:
    """60 x 60 x 48 voxels of 2 mm."""
    hu = torch.full((1, 1, 60, 60, 48), FAT)
    if liver:
        hu[..., 36:56, 20:50, 20:40] = LIVER
    if pancreas:
        hu[..., 8:28, 24:32, 24:32] = PANCREAS
    return hu


def test_the_organ_is_drawn_where_it_is_and_only_its_region_is_refined() -> None:
    both = network().eval()
    hu = belly()
    with torch.no_grad():
        found = inferer()(hu, both)
    assert found.shape == (1, 2, 60, 60, 48)
    torch.testing.assert_close(found.sum(1), torch.ones(1, 60, 60, 48))
    drawn = found[0].argmax(0) == 1
    assert (drawn == (hu[0, 0] == PANCREAS)).float().mean() > 0.999
    assert isinstance(both.fine, ThreePlaneNetwork)
    axial = both.fine.planes["axial"]
    assert isinstance(axial, ByValue)
    rows, columns = axial.sizes[0]
    assert columns <= 20 + 8 + 4
    assert rows <= 8 + 8 + 4


@pytest.mark.parametrize(
    ("shown", "reason"),
    [({"liver": False}, "upper abdomen.*liver"), ({"pancreas": False}, "no pancreas found")],
)
def test_what_does_not_show_it_is_refused_with_the_reason(
    shown: dict[str, bool], reason: str
) -> None:
    with pytest.raises(InputRefused, match=reason), torch.no_grad():
        inferer()(belly(**shown), network().eval())


def test_a_3d_network_is_shown_the_region_in_one_piece() -> None:
    both = CoarseToFine(ByValue((FAT, LIVER, PANCREAS)), VolumeByValue((FAT, PANCREAS)))
    hu = belly()
    with torch.no_grad():
        found = inferer(fine=WholeInferer(bfloat16=False))(hu, both)
    torch.testing.assert_close(found.sum(1), torch.ones(1, 60, 60, 48))
    assert ((found[0].argmax(0) == 1) == (hu[0, 0] == PANCREAS)).all()
    assert isinstance(both.fine, VolumeByValue)
    assert both.fine.sizes == [(32, 32, 32)]


def test_a_far_stray_of_the_coarse_network_does_not_widen_the_region() -> None:
    hu = belly()
    hu[..., 50:54, 2:6, 2:6] = PANCREAS
    both = network().eval()
    with torch.no_grad():
        found = inferer()(hu, both)[0].argmax(0)
    assert found[8:28, 24:32, 24:32].all()
    assert not found[50:54, 2:6, 2:6].any()


def test_an_organ_at_the_edge_of_the_volume_is_refined_there() -> None:
    hu = belly(pancreas=False)
    hu[..., 0:16, 0:10, 0:12] = PANCREAS
    with torch.no_grad():
        found = inferer()(hu, network().eval())[0].argmax(0)
    assert (found == (hu[0, 0] == PANCREAS)).float().mean() > 0.999


def test_a_coarse_network_that_reads_the_other_way_finds_the_same_place() -> None:
    with torch.no_grad():
        plain = inferer()(belly(), network().eval())
        turned = inferer(coarse_flip=(0, 1))(belly(), network().eval())
    torch.testing.assert_close(plain, turned)


def test_several_channels_count_together_as_one_part_of_the_region() -> None:
    with torch.no_grad():
        inferer(region=[[[1, 2], "liver and pancreas", 21.0]])(belly(), network().eval())
    with pytest.raises(TypeError, match="channel or channels"):
        inferer(region=[["1", "liver", 20.0]])


def test_another_organ_may_say_that_the_belly_is_shown() -> None:
    instead = [[1, "liver", 20.0, [2, "pancreas", 5.0]]]
    with torch.no_grad():
        found = inferer(region=instead)(belly(liver=False), network().eval())
    assert (found[0].argmax(0) == 1).any()
    with pytest.raises(InputRefused, match=r"upper abdomen.*liver"), torch.no_grad():
        inferer(region=instead)(belly(liver=False, pancreas=False), network().eval())


def seen_sizes(one: RegionInferer) -> list[tuple[int, ...]]:
    both = CoarseToFine(ByValue((FAT, LIVER, PANCREAS)), VolumeByValue((FAT, PANCREAS)))
    with torch.no_grad():
        one(belly(), both)
    assert isinstance(both.fine, VolumeByValue)
    return both.fine.sizes


def test_a_region_may_be_given_instead_of_found() -> None:
    given = GivenRegionInferer(
        given=[[8 / 60, 28 / 60], [24 / 60, 32 / 60], [0.5, 32 / 48]],
        spacing_mm=2.0,
        coarse_spacing_mm=4.0,
        organ=[9, "what the coarse network does not know", 1e6],
        region=[],
        coarse=SlabInferer((0,), multiple=1),
        fine=WholeInferer(multiple=1, bfloat16=False),
        margin_mm=8.0,
    )
    (size,) = seen_sizes(given)
    assert size == (29, 17, 17)
