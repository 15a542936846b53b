"""Marrow of vertebral bodies, held against phantoms whose vertebrae are known."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from dicomnode.domain.codes import (
    MEDIAN,
    VERTEBRAL_MARROW,
    VERTEBRAL_MARROW_VOLUME,
)
from dicomnode.domain.findings import MeasurementFinding
from dicomnode.domain.outcomes import record_of
from dicomnode.domain.volumes import Volume
from dicomnode.phantom import Case, Organ, make_case
from dicomnode.phantom.structures import VERTEBRAE
from dicomnode.pipeline.measured import Measured
from dicomnode.pipeline.spine import DEPTH_MM, vertebral_marrow_of
from dicomnode.testing.findings import outlined
from tests.unit.test_pipeline_ct_measures import volume

BONES = (
    *VERTEBRAE,
    Organ.SACRUM,
    Organ.HIP_BONE,
    Organ.FEMUR,
    Organ.RIBS,
    Organ.STERNUM,
    Organ.SCAPULA,
    Organ.CLAVICLE,
    Organ.HUMERUS,
)
STEPS = (3.0, 1.5, 1.5)
Bones = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


@functools.cache
def person(seed: int, low: float, high: float) -> tuple[Case, Bones]:
    case = make_case(seed, region=(low, high), spacing_mm=STEPS, pathology={}, detail=False)
    return case, np.isin(case.labels, [int(one) for one in BONES])


def marrow(mask: Bones, image: Volume) -> Measured:
    return vertebral_marrow_of(outlined(mask, "bone"), image)


@pytest.mark.parametrize("seed", [2, 5, 9])
def test_the_marrow_is_that_of_the_vertebrae_though_all_bone_is_given(seed: int) -> None:
    case, bone = person(seed, 60.0, 220.0)
    found = marrow(bone, volume(case.hu, STEPS)).numbers
    by_name = {(one.name, one.derivation): one.value for one in found}
    vertebrae = np.isin(case.labels, [int(one) for one in VERTEBRAE])
    depth = ndimage.distance_transform_edt(np.pad(vertebrae, 1), sampling=STEPS)[1:-1, 1:-1, 1:-1]
    true = np.median(case.hu[depth > DEPTH_MM])
    assert by_name[VERTEBRAL_MARROW, MEDIAN] == pytest.approx(true, abs=10)
    true_ml = (depth > DEPTH_MM).sum() * np.prod(STEPS) / 1000
    assert 0.5 * true_ml < by_name[VERTEBRAL_MARROW_VOLUME, None] < 1.2 * true_ml


def test_the_pelvis_has_no_vertebral_marrow() -> None:
    case, bone = person(3, -140.0, -80.0)
    assert (case.labels == Organ.HIP_BONE).any()
    assert (case.labels == Organ.SACRUM).any()
    assert marrow(bone, volume(case.hu, STEPS)) == Measured()


def test_other_bone_in_the_same_slices_does_not_count() -> None:
    case, bone = person(2, 60.0, 160.0)
    hu = case.hu.copy()
    plain = marrow(bone, volume(hu, STEPS)).numbers
    ribs = bone & ~np.isin(case.labels, [int(one) for one in VERTEBRAE])
    hu[ribs] += 1000
    assert ribs.any()
    assert marrow(bone, volume(hu, STEPS)).numbers == plain


def test_a_series_that_is_not_axial_is_not_measured() -> None:
    case, bone = person(2, 60.0, 160.0)
    image = volume(case.hu, STEPS)
    coronal = image.grid.affine_lps_mm[:, [1, 0, 2, 3]]
    turned = replace(image, grid=replace(image.grid, affine_lps_mm=coronal))
    assert marrow(bone, image).numbers
    assert marrow(bone, turned) == Measured()


def test_bone_too_thin_for_a_core_is_not_measured() -> None:
    mask = np.zeros((20, 60, 60), np.bool_)
    mask[:, 30:34, 20:40] = True
    assert marrow(mask, volume(np.zeros(mask.shape, np.float32), STEPS)) == Measured()


LEVELS = {int(one): one for one in VERTEBRAE}


def true_median(case: Case, level: Organ) -> float:
    mask = np.pad(case.labels == level, 1)
    depth = ndimage.distance_transform_edt(mask, sampling=STEPS)[1:-1, 1:-1, 1:-1]
    return float(np.median(case.hu[depth > min(DEPTH_MM, depth.max() - 1)]))


def bodies(case: Case, bone: Bones, within: float) -> list[Organ]:
    """The true vertebra below the middle of each outline, from below as the names count."""
    found = marrow(bone, volume(case.hu, STEPS)).parts
    assert [one.name for one in found] == [
        f"Vertebral body {n} from below" for n in range(1, len(found) + 1)
    ]
    levels = []
    for one in found:
        assert isinstance(one, MeasurementFinding)
        (mark,) = one.marks
        column, row = mark.points.mean(axis=0)
        level = LEVELS.get(int(case.labels[mark.slice_index, int(row), int(column)]))
        assert level is not None
        assert one.measurements[0].derivation == MEDIAN
        assert one.measurements[0].value == pytest.approx(true_median(case, level), abs=within)
        levels.append(level)
    return levels


UPWARDS = [Organ.VERTEBRA_L3, Organ.VERTEBRA_L2, Organ.VERTEBRA_L1]


@pytest.mark.parametrize("seed", [2, 5, 9])
def test_each_body_is_told_from_below(seed: int) -> None:
    case, bone = person(seed, 60.0, 220.0)
    assert bodies(case, bone, within=2)[:3] == UPWARDS


@pytest.mark.parametrize("seed", [2, 5, 9])
def test_bodies_are_parted_though_all_discs_were_called_bone(seed: int) -> None:
    """Then nothing is eroded next to the end plates, where marrow is denser."""
    case, bone = person(seed, 60.0, 220.0)
    assert bodies(case, bone | (case.labels == Organ.DISC), within=30)[:2] == UPWARDS[:2]


def test_bodies_are_counted_from_below_in_slices_from_head_to_foot_too() -> None:
    case, bone = person(2, 60.0, 220.0)
    image = volume(case.hu[::-1].copy(), STEPS)
    affine = image.grid.affine_lps_mm.copy()
    affine[:, 0] = -affine[:, 0]
    turned = replace(image, grid=replace(image.grid, affine_lps_mm=affine))
    upright = marrow(bone, volume(case.hu, STEPS)).parts
    told = marrow(bone[::-1].copy(), turned).parts
    assert [record_of(one) for one in told] == [record_of(one) for one in upright]
    assert told


def test_bodies_that_nothing_parts_are_measured_together_only() -> None:
    mask = np.zeros((30, 80, 80), np.bool_)
    mask[:, 20:60, 20:60] = True  # 90 mm tall
    found = marrow(mask, volume(np.full(mask.shape, 150, np.float32), STEPS))
    assert found.numbers[0].value == 150
    assert found.parts == ()
