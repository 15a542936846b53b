"""Figures of an evaluation, against cases small enough to count by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.evaluation.calibration import (
    Scaling,
    calibration_error,
    fit_scaling,
    fit_temperature,
    operating,
    point_of_specificity,
    reliability,
)
from dicomnode.evaluation.localisation import iobb, iou, localisation
from dicomnode.evaluation.prevalence import nih_weights
from dicomnode.evaluation.ranking import (
    Cases,
    auc_gain,
    auc_interval,
    auc_within,
    over_patients,
    raked,
    roc_points,
    weighted_auc,
)


def cases(count: int, sources: list[int] | None = None) -> Cases:
    return Cases(
        patients=np.arange(count),
        sources=np.zeros(count, int) if sources is None else np.array(sources),
        weights=np.ones(count),
    )


def test_the_area_counts_pairs_and_halves_ties() -> None:
    truth, scores = np.array([1.0, 0, 0, 1]), np.array([0.9, 0.9, 0.1, 0.4])
    area, pairs = weighted_auc(truth, scores, np.ones(4))
    assert pairs == 4
    assert area == (0.5 + 1 + 0 + 1) / 4


def test_a_weight_of_two_is_a_row_twice() -> None:
    truth, scores = np.array([1.0, 0, 0]), np.array([0.5, 0.7, 0.2])
    twice, _ = weighted_auc(truth, scores, np.array([1.0, 2, 1]))
    repeated, _ = weighted_auc(truth[[0, 1, 1, 2]], scores[[0, 1, 1, 2]], np.ones(4))
    assert twice == pytest.approx(repeated)


def test_a_source_that_gives_the_label_away_earns_nothing() -> None:
    # All of source 1 is ill and scored high; within each source the score is the wrong way round.
    truth = np.array([0.0, 0, 1, 1, 1, 0])
    scores = np.array([0.2, 0.3, 0.1, 0.8, 0.7, 0.9])
    sources = [0, 0, 0, 1, 1, 1]
    assert auc_within(truth, scores, cases(6, sources)) == 0
    assert auc_within(truth, scores, cases(6)) > 0.4


def test_unknown_labels_are_left_out_and_no_pairs_are_no_figure() -> None:
    truth = np.array([np.nan, 1, 0])
    assert auc_within(truth, np.array([5.0, 2, 1]), cases(3)) == 1
    assert np.isnan(auc_within(np.array([np.nan, 1, 1]), np.arange(3.0), cases(3)))


def test_the_roc_curve_encloses_the_area() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random(200) < 0.3).astype(float)
    scores, weights = np.round(truth + rng.normal(0, 1, 200), 1), rng.random(200)
    across, up = roc_points(truth, scores, weights)
    assert (across[0], up[0], across[-1], up[-1]) == (0, 0, pytest.approx(1), pytest.approx(1))
    area = float(((up[1:] + up[:-1]) / 2 * np.diff(across)).sum())
    assert area == pytest.approx(weighted_auc(truth, scores, weights)[0])


def test_the_interval_draws_patients_not_images() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(rng.random(20) < 0.5, 30).astype(float)
    scores = truth + rng.normal(0, 1, 20).repeat(30)
    of_images = auc_interval(truth, scores, cases(600), 200)
    patients = Cases(
        patients=np.repeat(np.arange(20), 30), sources=np.zeros(600, int), weights=np.ones(600)
    )
    of_patients = auc_interval(truth, scores, patients, 200)
    assert of_patients.high - of_patients.low > 2 * (of_images.high - of_images.low)
    assert of_patients.low < of_patients.value < of_patients.high


def test_a_gain_over_noise_is_seen_and_over_itself_is_none() -> None:
    rng = np.random.default_rng(1)
    truth = (rng.random(300) < 0.5).astype(float)
    good, noise = truth + rng.normal(0, 0.7, 300), rng.random(300)
    assert auc_gain(truth, good, noise, cases(300), 200).excludes_zero()
    assert not auc_gain(truth, noise, noise, cases(300), 200).excludes_zero()


def test_an_interval_that_mostly_cannot_be_drawn_is_none() -> None:
    found = over_patients(lambda rows: float("nan") if 0 not in rows else 1.0, np.arange(50))
    assert found.value == 1
    assert np.isnan(found.low)


def test_raked_weights_reach_the_shares() -> None:
    rng = np.random.default_rng(0)
    flags = rng.random((400, 3)) < np.array([0.5, 0.2, 0.3])
    weights = raked(flags, [0.1, 0.3, 0.4])
    reached = (weights[:, None] * flags).sum(0) / weights.sum()
    np.testing.assert_allclose(reached, [0.1, 0.3, 0.4], atol=0.01)
    assert weights.mean() == pytest.approx(1)


def test_a_sample_full_of_pneumonia_is_weighted_back() -> None:
    rng = np.random.default_rng(0)
    ill = (rng.random(500) < 0.4).astype(float)
    weights = nih_weights({"Pneumonia": ill}, (rng.random(500) < 0.5).astype(float))
    assert (weights * ill).sum() / weights.sum() == pytest.approx(1431 / 112120, abs=0.01)


def test_scaling_makes_overconfident_logits_honest() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(-1, 1.5, 4000)
    truth = (rng.random(4000) < 1 / (1 + np.exp(-honest))).astype(float)
    scaling = fit_scaling(honest * 3 + 2, truth, np.ones(4000))
    likely = scaling.probabilities(honest * 3 + 2)
    assert scaling.temperature == pytest.approx(3, rel=0.15)
    assert calibration_error(truth, likely, np.ones(4000)) < 0.03
    assert sum(b.images for b in reliability(truth, likely, np.ones(4000))) == 4000
    with pytest.raises(ValueError, match="both kinds"):
        fit_scaling(honest, np.ones(4000), np.ones(4000))


def test_one_temperature_tells_how_much_too_sure_logits_are() -> None:
    rng = np.random.default_rng(5)
    honest = rng.normal(-1, 2, 4000)
    truth = (rng.random(4000) < 1 / (1 + np.exp(-honest))).astype(float)
    for factor in (0.5, 3):
        found = fit_temperature(honest * factor, truth, np.ones(4000))
        assert found == pytest.approx(factor, rel=0.1)


@given(st.floats(-1e6, 1e6), st.floats(0.01, 100), st.floats(-100, 100))
def test_probabilities_stay_between_0_and_1(logit: float, temperature: float, bias: float) -> None:
    (likely,) = Scaling(temperature=temperature, bias=bias).probabilities(np.array([logit]))
    assert 0 <= likely <= 1


def test_operating_points_hold_their_specificity() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random(1000) < 0.2).astype(float)
    likely, weights = rng.random(1000) * 0.5 + truth * 0.3, rng.random(1000)
    at = operating(truth, likely, weights, point_of_specificity(truth, likely, weights, 0.9))
    assert at.specificity == pytest.approx(0.9, abs=0.005)
    by_hand = operating(np.array([1.0, 1, 0, 0]), np.array([0.9, 0.1, 0.8, 0.2]), np.ones(4), 0.5)
    assert (by_hand.sensitivity, by_hand.specificity, by_hand.flagged) == (0.5, 0.5, 0.5)


def test_overlaps_are_what_they_are_called() -> None:
    found, true = (0.0, 0.0, 2.0, 2.0), (1.0, 0.0, 5.0, 2.0)
    assert iobb(found, true) == 0.5
    assert iou(found, true) == pytest.approx(2 / 10)
    assert iobb((1.0, 1.0, 1.0, 1.0), true) == iou((3.0, 3.0, 2.0, 2.0), (0, 0, 0, 0)) == 0


def test_localisation_counts_hits_misses_and_false_boxes() -> None:
    true = {"a": [(0.0, 0.0, 1.0, 1.0)], "b": [(0.0, 0.0, 1.0, 1.0)], "without": []}
    found = {
        "a": [(0.0, 0.0, 0.5, 0.5), (2.0, 2.0, 3.0, 3.0)],
        "without": [(0.0, 0.0, 1.0, 1.0)],
    }
    table = localisation(found, true)
    assert table.images == 2
    assert [row.accuracy for row in table.by_iobb] == [0.5] * 5
    assert [row.false_positives for row in table.by_iobb] == [0.5] * 5
    # 0.25 of both together: found at T = .1 only, since it is not *above* .25.
    assert [row.accuracy for row in table.by_iou] == [0.5, 0, 0, 0, 0]
