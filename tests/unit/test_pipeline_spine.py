"""Marrow of vertebral bodies, held against phantoms whose vertebrae are known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from dicomnode.domain.codes import MEDIAN, VERTEBRAL_MARROW, VERTEBRAL_MARROW_VOLUME
from dicomnode.phantom import Case, Organ, make_case
from dicomnode.phantom.structures import VERTEBRAE
from dicomnode.pipeline.spine import DEPTH_MM, vertebral_marrow_of
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


def person(
    seed: int, low: float, high: float
) -> tuple[Case, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
    case = make_case(seed, region=(low, high), spacing_mm=STEPS, pathology={}, detail=False)
    return case, np.isin(case.labels, [int(one) for one in BONES])


@pytest.mark.parametrize("seed", [2, 5, 9])
def test_the_marrow_is_that_of_the_vertebrae_though_all_bone_is_given(seed: int) -> None:
    case, bone = person(seed, 60.0, 220.0)
    found = vertebral_marrow_of(bone, volume(case.hu, STEPS))
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
    assert vertebral_marrow_of(bone, volume(case.hu, STEPS)) == ()


def test_other_bone_in_the_same_slices_does_not_count() -> None:
    case, bone = person(2, 60.0, 160.0)
    hu = case.hu.copy()
    plain = vertebral_marrow_of(bone, volume(hu, STEPS))
    ribs = bone & ~np.isin(case.labels, [int(one) for one in VERTEBRAE])
    hu[ribs] += 1000
    assert ribs.any()
    assert vertebral_marrow_of(bone, volume(hu, STEPS)) == plain


def test_a_series_that_is_not_axial_is_not_measured() -> None:
    case, bone = person(2, 60.0, 160.0)
    image = volume(case.hu, STEPS)
    coronal = image.grid.affine_lps_mm[:, [1, 0, 2, 3]]
    turned = replace(image, grid=replace(image.grid, affine_lps_mm=coronal))
    assert vertebral_marrow_of(bone, image)
    assert vertebral_marrow_of(bone, turned) == ()


def test_bone_too_thin_for_a_core_is_not_measured() -> None:
    mask = np.zeros((20, 60, 60), np.bool_)
    mask[:, 30:34, 20:40] = True
    assert vertebral_marrow_of(mask, volume(np.zeros(mask.shape, np.float32), STEPS)) == ()
