"""Measures of CT against what geometry and arithmetic say."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from dicomnode.domain.codes import MEDIAN, STANDARD_DEVIATION
from dicomnode.domain.findings import Measurement
from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid
from dicomnode.domain.volumes import Grid, SourceFrame, Volume
from dicomnode.phantom import make_case
from dicomnode.phantom.structures import VERTEBRAE, Tissue
from dicomnode.pipeline.ct_measures import (
    core_attenuation_of,
    emphysema_of,
    fat_of,
    lean_of,
    mean_area_of,
    surface_of,
)
from dicomnode.pipeline.measures import IN_SEGMENTS, WITH_PARTS


def volume(array: npt.NDArray[np.float32], spacing: tuple[float, float, float]) -> Volume:
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = spacing
    affine[3, 3] = 1
    frame = SourceFrame(
        path=Path("x.dcm"),
        sop_instance_uid=InstanceUid("1.2"),
        sop_class_uid="1.3",
        frame_number=None,
    )
    shape = (array.shape[0], array.shape[1], array.shape[2])
    return Volume(
        study_uid=StudyUid("1.4"),
        series_uid=SeriesUid("1.5"),
        modality="CT",
        array=array.astype(np.float32),
        grid=Grid(affine_lps_mm=affine, shape=shape, frame_of_reference_uid=None),
        frames=(frame,) * shape[0],
    )


def values(measured: tuple[Measurement, ...]) -> dict[str, float]:
    return {one.name.value: one.value for one in measured}


def test_emphysema_is_the_share_below_950() -> None:
    hu = np.full((4, 10, 10), -860.0, np.float32)
    hu[0, :5] = -960
    hu[0, 5, :] = -950
    found = values(emphysema_of(np.ones(hu.shape, bool), volume(hu, (3, 1, 1))))
    assert found["laa-950"] == pytest.approx(12.5)  # -950 itself is not below
    assert found["hu-p15"] == pytest.approx(np.percentile(hu, 15))


def test_core_leaves_out_six_millimetres_all_around() -> None:
    hu = np.full((20, 20, 20), 500.0, np.float32)
    mask = np.zeros(hu.shape, bool)
    mask[1:19, 1:19, 1:19] = True  # 18 voxels of 1 mm: depth over 6 mm leaves 6
    hu[7:13, 7:13, 7:13] = 100
    core = core_attenuation_of(mask, volume(hu, (1, 1, 1)))
    assert [(m.derivation, m.value) for m in core] == [(MEDIAN, 100.0), (STANDARD_DEVIATION, 0.0)]
    thin = np.zeros(hu.shape, bool)
    thin[5:9] = True
    assert core_attenuation_of(thin, volume(hu, (1, 1, 1))) == ()


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_marrow_of_painted_vertebrae_is_measured_within_fifteen_hu(seed: int) -> None:
    case = make_case(seed, region=(110.0, 200.0), spacing_mm=(3.0, 1.5, 1.5), detail=False)
    bone = np.isin(case.labels, [int(o) for o in VERTEBRAE])
    marrow = ndimage.binary_erosion(bone & (case.tissue == Tissue.INNER), iterations=2)
    (median, _) = core_attenuation_of(bone, volume(case.hu, case.grid.spacing_mm))
    assert median.value == pytest.approx(float(case.hu[marrow].mean()), abs=15)


def test_fat_and_lean_split_at_their_limits() -> None:
    hu = np.array([[[-191, -190, -30, -29, 150, 151]]], np.float32)
    mask = np.ones(hu.shape, bool)
    image = volume(hu, (5, 2, 2))
    assert values(fat_of(mask, image)) == {"fat-volume": pytest.approx(0.04)}
    assert values(lean_of(mask, image)) == {"lean-volume": pytest.approx(0.04)}


def test_mean_area_counts_only_slices_that_show_the_segment() -> None:
    mask = np.zeros((6, 8, 8), bool)
    mask[1, :2, :2] = True
    mask[2, :4, :4] = True
    image = volume(np.zeros(mask.shape, np.float32), (3, 2, 1))
    assert values(mean_area_of(mask, image)) == {"mean-area": pytest.approx((4 + 16) / 2 * 2)}


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.5, 0.8, 0.8)])
def test_surface_of_a_ball_is_four_pi_r_squared(spacing: tuple[float, float, float]) -> None:
    radius = 22.0
    axes = [np.arange(-30, 30 + s / 2, s) for s in spacing]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    mask = z**2 + y**2 + x**2 < radius**2
    found = values(surface_of(mask, volume(np.zeros(mask.shape, np.float32), spacing)))
    assert found["surface-area"] == pytest.approx(4 * np.pi * radius**2, rel=0.04)


def test_every_measure_a_manifest_may_name_is_there() -> None:
    from typing import get_args

    from dicomnode.pipeline.manifest import InSegmentsName

    assert set(get_args(InSegmentsName)) == {*IN_SEGMENTS, *WITH_PARTS}
