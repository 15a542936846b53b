"""What lies outside of the body: cloth does, an open lung at the image's edge does not."""

import numpy as np
import torch

from dicomnode.networks.lesion_finder import FoundInferer, LesionFinder
from dicomnode.networks.outside import lies_inside, thick_parts

AIR, LUNG, SOFT = -1000.0, -850.0, 40.0
SPACING = (2.0, 2.0, 2.0)


def trunk() -> torch.Tensor:
    """160 x 120 x 80 mm of soft tissue in air with a gas-filled bowel, a sheet of cloth above."""
    hu = torch.full((100, 80, 40), AIR)
    hu[10:90, 5:65] = SOFT
    hu[40:60, 20:40] = AIR
    hu[20:80, 74:76] = -300.0
    return hu


def inside(hu: torch.Tensor, *points_mm: tuple[float, float, float]) -> list[bool]:
    found: list[bool] = lies_inside(thick_parts(hu), np.array(points_mm), SPACING).tolist()
    return found


def test_cloth_is_outside_and_gas_in_the_bowel_is_not() -> None:
    assert inside(trunk(), (60, 60, 40), (100, 60, 40), (100, 149, 40)) == [True, True, False]


def test_the_skin_is_inside() -> None:
    assert inside(trunk(), (100, 127, 40), (21, 60, 0), (179, 60, 78)) == [True] * 3


def test_a_lung_that_the_field_of_view_cuts_is_inside() -> None:
    hu = trunk()
    hu[:50, 10:60] = LUNG
    hu[0:4, 30:34, 20:24] = SOFT
    assert inside(hu, (4, 64, 44), (1, 60, 40)) == [True, True]


def test_a_body_that_fills_the_image_is_inside_everywhere() -> None:
    assert thick_parts(torch.full((33, 30, 9), SOFT)).all()


def test_nothing_is_inside_of_air_and_no_point_is_none() -> None:
    parts = thick_parts(torch.full((33, 30, 9), AIR))
    assert not parts.any()
    assert lies_inside(parts, np.empty((0, 3)), SPACING).shape == (0,)


def test_no_candidate_lies_outside() -> None:
    torch.manual_seed(0)
    network = LesionFinder(2).eval()
    # Warm everywhere, so that every voxel may be a peak.
    bias = network.candidates.decide.bias
    assert bias is not None
    torch.nn.init.constant_(bias, 2.0)
    hu = trunk() + torch.randn(100, 80, 40) * 5
    with torch.inference_mode():
        points, _, _, _ = FoundInferer(candidates=200).find(hu, network)
    assert len(points) > 20
    assert (points[:, 1] < 140).all()
