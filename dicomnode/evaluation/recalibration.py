"""Probabilities brought to what a site's own labels say, and whether that helps there."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from dicomnode.evaluation.calibration import Bin, calibration_error, fit_scaling, reliability
from dicomnode.evaluation.ranking import Interval, Labels, Numbers, over_patients

FOLDS = 5
FEWEST = 10
"""Positive, and negative, patients without which nothing is fitted."""
FEWEST_FOR_SLOPE = 40
"""Positive, and negative, patients from which on the slope is fitted too."""


class TooFew(ValueError):
    """There are too few patients of one kind; the message counts them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How probabilities stand to labels, with 95 % bootstrap intervals over patients."""

    error: Interval
    """Expected calibration error."""
    log_loss: Interval
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalibration:
    """new logit = slope x logit + shift."""

    slope: float
    shift: float
    method: str
    """`platt`: both were fitted; `prevalence`: the shift alone."""
    studies: int
    positive: int
    before: Quality
    after: Quality
    """On patients that the fit did not see."""
    gain: Interval
    """How much the log loss falls by it, on patients that the fit did not see."""

    @property
    def helps(self) -> bool:
        """True if the interval of the gain lies above 0."""
        return self.gain.low > 0


def sigmoid(logits: Numbers) -> Numbers:
    """Probabilities."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -40, 40))))


def recalibrate(
    logits: Numbers, truth: Numbers, patients: Labels, *, draws: int = 500, seed: int = 0
) -> Recalibration:
    """Fit on all rows; judge by folds over the patients.

    Args:
        logits: as the model gives them now.
        truth: 0 or 1.
        patients: rows of one patient stay together.
        draws: of the bootstrap.
        seed: of the folds.

    Raises:
        TooFew: fewer than `FEWEST` patients are positive, or negative.
    """
    positive = len(np.unique(patients[truth == 1]))
    negative = len(np.unique(patients[truth == 0]))
    fewest = min(positive, negative)
    if fewest < FEWEST:
        raise TooFew(
            f"{positive} patients are positive and {negative} negative; {FEWEST} of each are needed"
        )
    method = "platt" if fewest >= FEWEST_FOR_SLOPE else "prevalence"
    fit = _platt if method == "platt" else _prevalence
    slope, shift = fit(logits, truth)
    unseen = _unseen(fit, logits, truth, patients, seed)
    losses = [_losses(truth, rows) for rows in (logits, unseen)]
    gain = over_patients(
        lambda rows: float((losses[0] - losses[1])[rows].mean()), patients, draws=draws
    )
    return Recalibration(
        slope=slope,
        shift=shift,
        method=method,
        studies=len(truth),
        positive=int(truth.sum()),
        before=_quality(logits, truth, patients, draws),
        after=_quality(unseen, truth, patients, draws),
        gain=gain,
    )


_Fit = Callable[[Numbers, Numbers], tuple[float, float]]


def _platt(logits: Numbers, truth: Numbers) -> tuple[float, float]:
    found = fit_scaling(logits, truth, np.ones(len(truth)))
    return 1 / found.temperature, found.bias / found.temperature


def _prevalence(logits: Numbers, truth: Numbers) -> tuple[float, float]:
    """The shift under which the mean probability is the share of positives."""
    # Half a row of each kind, so that a fold without positives has a finite answer.
    rate = (float(truth.sum()) + 0.5) / (len(truth) + 1)
    found = brentq(lambda shift: float(sigmoid(logits + shift).mean()) - rate, -80, 80)
    return 1.0, float(found)


def _unseen(fit: _Fit, logits: Numbers, truth: Numbers, patients: Labels, seed: int) -> Numbers:
    """New logits of every row, by a fit that did not see its patient."""
    _, place = np.unique(patients, return_inverse=True)
    fold = (np.random.default_rng(seed).permutation(place.max() + 1) % FOLDS)[place]
    found = np.empty(len(logits))
    for k in range(FOLDS):
        slope, shift = fit(logits[fold != k], truth[fold != k])
        found[fold == k] = slope * logits[fold == k] + shift
    return found


def _losses(truth: Numbers, logits: Numbers) -> Numbers:
    return np.asarray(np.logaddexp(0, logits) - truth * logits)


def _quality(logits: Numbers, truth: Numbers, patients: Labels, draws: int) -> Quality:
    likely, losses = sigmoid(logits), _losses(truth, logits)

    drawn: list[float] = []

    def error(rows: Labels) -> float:
        drawn.append(calibration_error(truth[rows], likely[rows], np.ones(len(rows))))
        return drawn[-1]

    plain = over_patients(error, patients, draws=draws)
    # Repeated patients make every bin look worse than it is; what that adds is taken off.
    added = float(np.median(drawn[:-1])) - plain.value
    return Quality(
        error=Interval(
            value=plain.value,
            low=max(0.0, plain.low - added),
            high=max(0.0, plain.high - added),
        ),
        log_loss=over_patients(lambda rows: float(losses[rows].mean()), patients, draws=draws),
        bins=tuple(reliability(truth, likely, np.ones(len(truth)))),
    )
