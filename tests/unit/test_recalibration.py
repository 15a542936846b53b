"""Fitting a calibration, and judging it on patients it did not see."""

import numpy as np
import pytest

from dicomnode.evaluation.recalibration import TooFew, recalibrate, sigmoid


def drawn(count: int, slope: float, shift: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 1.5, count)
    truth = (rng.random(count) < sigmoid(slope * logits + shift)).astype(float)
    return logits, truth, np.arange(count) // 2


def test_few_positives_shift_the_probabilities_alone() -> None:
    logits, truth, patients = drawn(300, 1.0, -3.5)
    found = recalibrate(logits, truth, patients, draws=100)
    assert found.method == "prevalence"
    assert found.slope == 1.0
    assert found.shift == pytest.approx(-3.5, abs=0.8)
    assert found.helps
    for quality in (found.before, found.after):
        assert quality.error.low <= quality.error.value <= quality.error.high
    assert found.after.error.high < found.before.error.low
    assert sigmoid(logits + found.shift).mean() == pytest.approx(truth.mean(), abs=0.01)


def test_what_is_right_already_gets_no_evidence_of_help() -> None:
    found = recalibrate(*drawn(400, 1.0, 0.0), draws=200)
    assert not found.helps
    assert found.gain.low < 0.01


def test_without_enough_patients_of_each_kind_nothing_is_fitted() -> None:
    logits, truth, patients = drawn(200, 1.0, 0.0)
    with pytest.raises(TooFew, match="10 of each are needed"):
        recalibrate(logits, np.ones_like(truth), patients)
    # Many positive studies of few patients are few.
    with pytest.raises(TooFew, match="5 patients are positive"):
        recalibrate(logits, (patients < 5).astype(float), patients)
