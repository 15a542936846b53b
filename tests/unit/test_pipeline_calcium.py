"""Calcium in arteries against arithmetic and planted plaques."""

import numpy as np
import numpy.typing as npt
import pytest

from dicomnode.domain.codes import VOLUME, Code
from dicomnode.domain.findings import SegmentFinding
from dicomnode.domain.volumes import Volume
from dicomnode.phantom import LesionKind, Organ, Phase, make_case
from dicomnode.pipeline.calcium import calcification_of
from dicomnode.pipeline.measured import Measured
from dicomnode.testing.findings import outlined
from tests.unit.test_pipeline_ct_measures import values, volume

AORTA = Code("15825003", "SCT", "Aorta")


def scored(mask: npt.NDArray[np.bool_], image: Volume) -> Measured:
    return calcification_of(outlined(mask, "aorta", AORTA), image)


def test_plaques_are_a_segment_that_says_where_they_lie() -> None:
    hu = np.full((4, 60, 60), 40.0, np.float32)
    mask = np.zeros(hu.shape, bool)
    mask[:, 20:40, 20:40] = True
    hu[1, 18:22, 30] = 300  # half of it outside of the outline
    hu[2, 25, 25] = 300
    hu[2, 35:60, 25:35] = 300  # bone beside it
    numbers, (plaques,) = scored(mask, volume(hu, (3, 1, 1)))
    assert isinstance(plaques, SegmentFinding)
    expected = np.zeros(hu.shape, bool)
    expected[1, 18:22, 30] = expected[2, 25, 25] = True
    assert np.array_equal(plaques.mask, expected)
    assert (plaques.name, plaques.site) == ("aorta calcification", AORTA)
    (size,) = plaques.measurements
    assert size.name == VOLUME
    assert size.value == pytest.approx(values(numbers)["calcium-volume"])


def test_an_artery_without_plaques_has_no_segment_of_them() -> None:
    hu = np.full((2, 10, 10), 40.0, np.float32)
    numbers, parts = scored(np.ones(hu.shape, bool), volume(hu, (3, 1, 1)))
    assert values(numbers) == {"calcium-volume": 0, "agatston-like": 0}
    assert parts == ()


def test_calcium_is_weighed_by_its_peak_and_scaled_to_three_millimetres() -> None:
    hu = np.full((3, 20, 20), 40.0, np.float32)
    hu[0, 2:4, 2:4] = 250  # 4 mm2, weight 2
    hu[1, 10:13, 10:13] = 130  # 9 mm2, weight 1
    hu[1, 11, 11] = 450  # the same plaque peaks at 450: weight 4
    found = values(scored(np.ones(hu.shape, bool), volume(hu, (1.5, 1, 1))).numbers)
    assert found["calcium-volume"] == pytest.approx((4 + 9) * 1.5 / 1000)
    assert found["agatston-like"] == pytest.approx((4 * 2 + 9 * 4) * 0.5)


def test_specks_under_one_square_millimetre_do_not_count() -> None:
    hu = np.full((1, 20, 20), 40.0, np.float32)
    hu[0, 5, 5] = 900
    found = values(scored(np.ones(hu.shape, bool), volume(hu, (3, 0.7, 0.7))).numbers)
    assert found == {"calcium-volume": 0, "agatston-like": 0}


def test_a_plaque_that_the_outline_cuts_counts_whole_and_bone_that_it_takes_in_does_not() -> None:
    hu = np.full((1, 60, 60), 40.0, np.float32)
    mask = np.zeros(hu.shape, bool)
    mask[0, 20:40, 20:40] = True
    hu[0, 18:22, 30] = 300  # half of it inside
    plaque = values(scored(mask, volume(hu, (3, 1, 1))).numbers)
    assert plaque == {"calcium-volume": pytest.approx(0.012), "agatston-like": 12}
    hu[0, 35:60, 25:35] = 300  # a vertebra that reaches into it
    assert values(scored(mask, volume(hu, (3, 1, 1))).numbers) == plaque


def test_calcium_is_not_scored_where_blood_is_enhanced() -> None:
    hu = np.full((2, 10, 10), 180.0, np.float32)
    assert scored(np.ones(hu.shape, bool), volume(hu, (3, 1, 1))) == Measured()


@pytest.mark.parametrize(("noise", "is_scored"), [(20.0, True), (40.0, False)])
def test_calcium_is_not_scored_where_noise_looks_like_it(noise: float, is_scored: bool) -> None:
    hu = np.random.default_rng(0).normal(45, noise, (4, 40, 40)).astype(np.float32)
    found = scored(np.ones(hu.shape, bool), volume(hu, (3, 1, 1)))
    assert bool(found.numbers) is is_scored


def test_planted_calcium_is_found_and_healthy_aortas_score_near_nothing() -> None:
    scores = {}
    for count in (0, 12):
        case = make_case(
            21,
            region=(120.0, 240.0),
            spacing_mm=(3.0, 1.5, 1.5),
            phase=Phase.NATIVE,
            pathology={LesionKind.CALCIFICATION: count},
            detail=False,
        )
        image = volume(case.hu, case.grid.spacing_mm)
        found = values(scored(case.labels == Organ.AORTA, image).numbers)
        scores[count] = found["calcium-volume"]
        planted = sum(lesion.volume_ml for lesion in case.lesions)
    assert scores[0] < 0.05
    assert 0.3 * planted < scores[12] < 2 * planted  # blur spreads dense plaques over 130 HU
