"""Fluid beside an organ is given back; what is part of the organ is left."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from dicomnode.networks import ApartFromFluidd, ScaleSoftTissued
from dicomnode.networks.fluid import fluid_within

STEP_MM = 3.0
SHAPE = (50, 50, 40)
Values = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def scanned(
    organ_hu: float, other_hu: float, other: tuple[slice, ...], sigma: float = 20.0
) -> tuple[Values, Mask, Mask]:
    """HU in which an organ of 40 x 40 x 30 voxels holds a part of other HU; outline; that part."""
    rng = np.random.default_rng(3)
    outlined = np.zeros(SHAPE, bool)
    outlined[5:45, 5:45, 5:35] = True
    part = np.zeros(SHAPE, bool)
    part[other] = True
    hu = np.where(part, other_hu, organ_hu) + rng.normal(0, sigma, SHAPE)
    return np.where(outlined, hu, -100).astype(np.float32), outlined, part & outlined


BEHIND = np.s_[5:45, 5:20, 5:35]


@pytest.mark.parametrize(("organ_hu", "fluid_hu"), [(58, 18), (110, 5), (50, 20)])
def test_fluid_behind_an_organ_is_told_to_the_voxel(organ_hu: float, fluid_hu: float) -> None:
    hu, outlined, fluid = scanned(organ_hu, fluid_hu, BEHIND)
    found = fluid_within(hu, outlined, (STEP_MM,) * 3)
    both = 2 * (found & fluid).sum() / (found.sum() + fluid.sum())
    assert both > 0.97


@pytest.mark.parametrize(
    ("organ_hu", "other_hu", "other"),
    [
        pytest.param(58, 10, np.s_[20:35, 20:35, 12:27], id="a cyst amid the organ"),
        pytest.param(58, 10, np.s_[5:11, 5:11, 5:11], id="less than 30 ml"),
        pytest.param(110, 60, BEHIND, id="metastases in the portal phase"),
        pytest.param(30, 15, BEHIND, id="a fatty liver, hardly brighter than fluid"),
        pytest.param(10, 45, np.s_[24:27, 5:45, 5:35], id="vessels in a liver dark with fat"),
        pytest.param(58, 58, BEHIND, id="nothing but liver"),
        pytest.param(58, -60, BEHIND, id="fat"),
    ],
)
def test_what_is_no_fluid_beside_an_organ_is_left(
    organ_hu: float, other_hu: float, other: tuple[slice, ...]
) -> None:
    hu, outlined, _ = scanned(organ_hu, other_hu, other)
    assert not fluid_within(hu, outlined, (STEP_MM,) * 3).any()


def test_its_probability_goes_to_the_class_of_fluid_and_to_none_of_another_organ() -> None:
    hu, outlined, fluid = scanned(58, 18, BEHIND)
    affine = torch.diag(torch.tensor([STEP_MM, STEP_MM, STEP_MM, 1.0], dtype=torch.float64))
    image = ScaleSoftTissued("image")({"image": MetaTensor(torch.from_numpy(hu)[None], affine)})
    p = torch.full((4, *SHAPE), 0.1)
    p[1][torch.from_numpy(outlined)] = 0.7
    apart = ApartFromFluidd("pred", organs=[1, 2], fluid=3)
    said = apart({"pred": p, "image": image["image"]})["pred"]
    assert torch.allclose(said.sum(0), p.sum(0))
    assert (said.argmax(0).numpy() == 3)[fluid].mean() > 0.97
    assert (said.argmax(0).numpy() == 1)[outlined & ~fluid].mean() > 0.97
    assert torch.equal(said[2], p[2])
    assert p[1].max() == pytest.approx(0.7), "the probabilities given were changed"
    nothing = apart({"pred": torch.ones(4, *SHAPE) / 4, "image": image["image"]})["pred"]
    assert torch.equal(nothing, torch.ones(4, *SHAPE) / 4)


def test_an_organs_halves_go_where_its_fluid_was() -> None:
    hu, outlined, fluid = scanned(58, 18, BEHIND)
    affine = torch.diag(torch.tensor([STEP_MM, STEP_MM, STEP_MM, 1.0], dtype=torch.float64))
    image = ScaleSoftTissued("image")({"image": MetaTensor(torch.from_numpy(hu)[None], affine)})
    p = torch.full((3 + 8, *SHAPE), 0.1)
    p[[1, *range(3, 11)]] += 0.6 * torch.from_numpy(outlined)
    apart = ApartFromFluidd("pred", organs=[1], fluid=2, halves=[1])
    halves = apart({"pred": p, "image": image["image"]})["pred"][3:]
    assert (halves[:, torch.from_numpy(fluid)] == 0).float().mean() > 0.97
    assert (halves[:, torch.from_numpy(outlined & ~fluid)] > 0.6).float().mean() > 0.97
