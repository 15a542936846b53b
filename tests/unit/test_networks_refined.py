"""Some organs of many drawn anew on halves of the working grid's voxels."""

from typing import Any

import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor, nn

from dicomnode.networks import (
    KeepOrgansd,
    OntoImageGridd,
    RefinedInferer,
    ScaleSoftTissued,
    SlabInferer,
    ToWorkingGridd,
    WholeInferer,
)
from dicomnode.networks.halves import HALF
from dicomnode.networks.organs import scale_soft_tissue
from dicomnode.networks.regions import CoarseToFine

FAT, LIVER, SPLEEN = -100.0, 60.0, 160.0
LEVELS = scale_soft_tissue(torch.tensor((FAT, LIVER, SPLEEN)))


class Coarse(nn.Module):
    """Says from a slice's values which class a voxel is."""

    def forward(self, x: Tensor) -> Tensor:
        return -60 * (x[:, x.shape[1] // 2, None] - LEVELS.view(1, -1, 1, 1)).square()


class Fine(nn.Module):
    """The spleen alone, by value; remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        self.given.append((x, beside))
        spleen = 100 * (x - (LEVELS[1] + LEVELS[2]) / 2)
        return torch.cat((torch.zeros_like(spleen), spleen), 1)


def inferer(**changes: Any) -> RefinedInferer:
    settings: dict[str, Any] = {
        "coarse": SlabInferer((0,), multiple=1),
        "fine": WholeInferer(multiple=2, bfloat16=False),
        "organs": [2],
        "heard": [[2], [0, 1]],
        "margin": 4,
        "smallest": 8,
    }
    return RefinedInferer(**{**settings, **changes})


def affine(*, turned: bool) -> Tensor:
    steps = torch.tensor([1.0, 1.0, 2.0, 1.0], dtype=torch.float64)
    if turned:
        steps[:2] *= -1
    there = torch.diag(steps)
    there[:3, 3] = torch.tensor([13.0, -7.0, 40.0])
    return there


def ct(*, spleen: bool = True) -> tuple[Tensor, Tensor]:
    """72 x 66 x 40 voxels of 1 x 1 x 2 mm with a liver and a round spleen, and where that is."""
    x, y, z = torch.meshgrid(*(torch.arange(n) for n in (72, 66, 40)), indexing="ij")
    ball = (x - 41.3) ** 2 + (y - 30.2) ** 2 + (2 * (z - 17.8)) ** 2 < 14.5**2
    hu = torch.full(ball.shape, FAT)
    hu[:16, 20:50, 10:30] = LIVER
    if spleen:
        hu[ball] = SPLEEN
    return hu[None], ball


def read(hu: Tensor, *, turned: bool = False) -> dict[Any, Any]:
    data: dict[Any, Any] = {"image": MetaTensor(hu, affine=affine(turned=turned))}
    data = ToWorkingGridd("image", spacing=(3.0, 3.0, 3.0), halves=True)(data)
    return ScaleSoftTissued("image")(data)


def finish(data: dict[Any, Any], pred: Tensor, halves: bool = True) -> Tensor:
    kept = KeepOrgansd("pred", wanted=[1, 2], halves=[2] if halves else [], smallest_ml=0.1)
    onto = OntoImageGridd("pred", halves=[2] if halves else [])
    labels: Tensor = onto(kept({**data, "pred": pred}))["pred"]
    return labels.as_subclass(Tensor)[0]


def dice(a: Tensor, b: Tensor) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


@pytest.mark.parametrize("turned", [False, True])
def test_the_organ_lies_closer_than_the_coarse_grid_allows_and_the_others_stay(
    turned: bool,
) -> None:
    hu, ball = ct()
    data = read(hu, turned=turned)
    both = CoarseToFine(Coarse(), Fine())
    found = inferer()(data["image"][None], both)[0]
    assert found.shape == (3 + 8, *data["image"].shape[1:])
    torch.testing.assert_close(found[:3].sum(0), torch.ones(found.shape[1:]))
    labels = finish(data, found)
    coarse = finish(data, found[:3], halves=False)
    assert dice(labels == 2, ball) > 0.965
    assert dice(labels == 2, ball) > dice(coarse == 2, ball)
    assert ((labels == 1) == (coarse == 1))[:20].all()
    assert (labels[2:14, 22:48, 12:28] == 1).all()


def test_halves_are_read_where_they_lie() -> None:
    x, y, z = torch.meshgrid(*(torch.arange(24.0) for _ in range(3)), indexing="ij")
    ramp = MetaTensor((x + 2 * y - z)[None], affine=torch.eye(4, dtype=torch.float64))
    plain = ToWorkingGridd("image", spacing=(3.0,) * 3)({"image": ramp})["image"]
    both = ToWorkingGridd("image", spacing=(3.0,) * 3, halves=True)({"image": ramp})["image"]
    torch.testing.assert_close(both[:1], plain)
    inner = both.as_subclass(Tensor)[:, 2:-2, 2:-2, 2:-2]
    torch.testing.assert_close(inner[1:].mean(0), inner[0])
    first = HALF @ torch.tensor([0.0, 0, 0, 1], dtype=torch.float64)
    step = float(3 * first[:3] @ torch.tensor([1.0, 2, -1], dtype=torch.float64))
    torch.testing.assert_close(inner[1] - inner[0], torch.full(inner.shape[1:], step))


def test_only_the_organ_is_shown_and_what_the_coarse_network_said_of_it() -> None:
    hu, _ = ct()
    fine = Fine()
    inferer(multiple=4)(read(hu)["image"][None], CoarseToFine(Coarse(), fine))
    ((image, beside),) = fine.given
    assert image.shape[2:] == tuple(2 * n for n in beside.shape[2:])
    assert all(n % 4 == 0 for n in beside.shape[2:])
    assert beside.shape[1] == 2
    assert beside.shape[2] < 24
    assert ((image[0, 0, ::2, ::2, ::2] > 0.6) <= (beside[0, 0] > 0.05)).all()


def test_where_there_is_no_such_organ_nothing_is_refined() -> None:
    hu, _ = ct(spleen=False)
    fine = Fine()
    data = read(hu)
    found = inferer()(data["image"][None], CoarseToFine(Coarse(), fine))[0]
    assert not fine.given
    assert not found[3:].any()
    assert not (finish(data, found) == 2).any()


def test_a_stray_goes_with_its_halves() -> None:
    hu, _ = ct()
    hu[0, 60:66, 56:62, 34:38] = SPLEEN
    data = read(hu)
    found = inferer(fraction=0.01)(data["image"][None], CoarseToFine(Coarse(), Fine()))[0]
    kept = KeepOrgansd("pred", wanted=[1, 2], single=[2], halves=[2], smallest_ml=0.1)
    labels = OntoImageGridd("pred", halves=[2])(kept({**data, "pred": found}))["pred"]
    assert (labels[0, 30:50] == 2).any()
    assert not (labels[0, 58:] == 2).any()


def test_an_organ_at_the_end_of_the_volume_is_read_beyond_it() -> None:
    hu, _ = ct(spleen=False)
    hu[0, 50:, 40:, 28:] = SPLEEN
    data = read(hu)
    found = inferer(multiple=16)(data["image"][None], CoarseToFine(Coarse(), Fine()))[0]
    assert dice(finish(data, found) == 2, hu[0] == SPLEEN) > 0.95


def test_both_networks_share_in_the_answer_as_told() -> None:
    hu, _ = ct()
    image = read(hu)["image"][None]

    def halves(share: float) -> Tensor:
        return inferer(share=share, classes=[1])(image, CoarseToFine(Coarse(), Fine()))[0, 3:]

    torch.testing.assert_close(halves(0.25), halves(0.0).lerp(halves(1.0), 0.25))
    assert (halves(0.0) - halves(1.0)).abs().max() > 0.1
