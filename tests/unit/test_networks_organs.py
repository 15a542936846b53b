"""Transforms of bundles that label many organs."""

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from dicomnode.domain.errors import InputRefused
from dicomnode.networks import KeepOrgansd, MaskBodyd, RefuseWithoutd, ScaleSoftTissued
from dicomnode.phantom import Organ, Region, make_case

AFFINE = torch.diag(torch.tensor([10.0, 10.0, 10.0, 1.0], dtype=torch.float64))  # 1 ml voxels


def one_hot(labels: torch.Tensor, classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(labels, classes).movedim(-1, 0).float()


def image(shape: tuple[int, int, int]) -> MetaTensor:
    return MetaTensor(torch.zeros(1, *shape), affine=AFFINE)


def test_scale_rises_everywhere_and_is_steepest_in_soft_tissue() -> None:
    hu = torch.tensor([[-1000.0, -900.0, -100.0, 40.0, 140.0, 800.0, 900.0]])
    scaled = ScaleSoftTissued("image")({"image": hu})["image"][0]
    steps = scaled.diff()
    assert (steps > 0).all()
    assert steps[3] / 100 > 5 * steps[5] / 100


def test_body_mask_removes_table_and_keeps_the_patient() -> None:
    case = make_case(8, region=Region.ABDOMEN, spacing_mm=(6.0, 3.0, 3.0), detail=False)
    upright = torch.from_numpy(np.ascontiguousarray(case.hu[:, ::-1, ::-1].transpose(2, 1, 0)))
    masked = MaskBodyd("image")({"image": upright[None]})["image"][0].numpy()
    inside = masked.transpose(2, 1, 0)[:, ::-1, ::-1] > -999
    patient = np.isin(case.labels, [int(Organ.LIVER), int(Organ.PSOAS), int(Organ.MUSCLE)])
    assert inside[patient].mean() > 0.99
    outside = (case.labels == Organ.OUTSIDE) & (case.hu > -700)
    assert not outside.any() or inside[outside].mean() < 0.3


def test_a_stray_part_of_an_organ_goes_and_its_twin_class_stays() -> None:
    labels = torch.zeros(12, 12, 12, dtype=torch.long)
    labels[:5, :5, :5] = 1
    labels[9:11, 9:11, 9:11] = 1
    labels[9:11, :2, :2] = 2
    keep = KeepOrgansd("pred", wanted=[2, 1], single=[1], smallest_ml=2)
    pred = keep({"pred": one_hot(labels, 3), "image": image((12, 12, 12))})["pred"]
    assert pred.shape == (3, 12, 12, 12)
    assert pred[2].sum() == 125
    assert pred[1].sum() == 8
    assert torch.allclose(pred.sum(0), torch.ones(12, 12, 12))


def test_several_channels_are_joined_to_one_label() -> None:
    labels = torch.zeros(8, 8, 8, dtype=torch.long)
    labels[:4], labels[4:6], labels[6:] = 1, 2, 3
    keep = KeepOrgansd("pred", wanted=[[1, 3], 2])
    pred = keep({"pred": one_hot(labels, 4), "image": image((8, 8, 8))})["pred"]
    assert (pred[1] == ((labels == 1) | (labels == 3))).all()
    assert (pred[2] == (labels == 2)).all()


def test_an_organ_of_a_few_voxels_is_none() -> None:
    labels = torch.zeros(8, 8, 8, dtype=torch.long)
    labels[0, 0, :3] = 1
    keep = KeepOrgansd("pred", wanted=[1], smallest_ml=4)
    pred = keep({"pred": one_hot(labels, 2), "image": image((8, 8, 8))})["pred"]
    assert pred[1].sum() == 0


def refusal(labels: torch.Tensor) -> dict[object, torch.Tensor]:
    check = RefuseWithoutd(
        "pred", organ=[1, "pancreas", 5], region=[[2, "liver", 50], [3, "spleen", 10]]
    )
    return dict(check({"pred": one_hot(labels, 4), "image": image((8, 8, 8))}))


def test_refusal_names_the_region_first_then_the_organ() -> None:
    labels = torch.zeros(8, 8, 8, dtype=torch.long)
    labels[0, 0, :6] = 1
    with pytest.raises(InputRefused, match="liver and spleen"):
        refusal(labels)
    labels[4:], labels[3] = 2, 3
    assert "pred" in refusal(labels)
    labels[0, 0, 2:6] = 0
    with pytest.raises(InputRefused, match="no pancreas found"):
        refusal(labels)
