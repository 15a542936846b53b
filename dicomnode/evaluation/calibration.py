"""Are probabilities what they say? Scaling of logits, reliability, operating points."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from dicomnode.evaluation.ranking import Numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """probability = sigmoid((logit + bias) / temperature)."""

    temperature: float
    bias: float

    def probabilities(self, logits: Numbers) -> Numbers:
        """Of each logit."""
        scaled = np.clip((logits + self.bias) / self.temperature, -40, 40)
        return np.asarray(1 / (1 + np.exp(-scaled)))


def fit_scaling(logits: Numbers, truth: Numbers, weights: Numbers) -> Scaling:
    """The scaling of least weighted cross entropy; the temperature stays above 0.

    Two numbers only, so that a few hundred images are enough and the ranking does not change. A
    faint pull towards a slope of 1 a standard deviation keeps separable samples finite.

    Raises:
        ValueError: there are not both positive and negative rows.
    """
    if not 0 < (weights * truth).sum() < weights.sum():
        raise ValueError("scaling needs rows of both kinds")
    spread = float(logits.std()) or 1.0
    share = weights / weights.sum()

    def loss(values: Numbers) -> float:
        slope, shift = np.exp(values[0]), values[1]
        scaled = slope * logits / spread + shift
        entropy = np.logaddexp(0, scaled) - truth * scaled
        return float((share * entropy).sum() + 1e-4 * values[0] ** 2)

    rate = float((share * truth).sum())
    start = np.array([0.0, np.log(rate / (1 - rate)) - float(logits.mean()) / spread])
    found = minimize(loss, start, method="Nelder-Mead", options={"maxiter": 2000, "xatol": 1e-6})
    slope = float(np.exp(found.x[0])) / spread
    return Scaling(temperature=1 / slope, bias=float(found.x[1]) / slope)


def fit_temperature(logits: Numbers, truth: Numbers, weights: Numbers) -> float:
    """The temperature of least weighted cross entropy, from 1/20 to 20 (Guo et al., ICML 2017).

    probability = sigmoid(logit / temperature): above 1 they were too sure of themselves.
    """
    share = weights / weights.sum()

    def loss(power: float) -> float:
        scaled = logits / np.exp(power)
        return float((share * (np.logaddexp(0, scaled) - truth * scaled)).sum())

    ends = np.log(20)
    return float(np.exp(minimize_scalar(loss, bounds=(-ends, ends), method="bounded").x))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Images of about one probability."""

    images: int
    said: float
    """Mean probability."""
    seen: float
    """Share that is positive."""


def reliability(truth: Numbers, likely: Numbers, weights: Numbers, bins: int = 8) -> list[Bin]:
    """Bins of about equally many images, from the lowest probability to the highest."""
    order = np.argsort(likely, kind="stable")
    found = []
    for rows in np.array_split(order, bins):
        weight = weights[rows].sum()
        if weight > 0:
            found.append(
                Bin(
                    images=len(rows),
                    said=float((weights * likely)[rows].sum() / weight),
                    seen=float((weights * truth)[rows].sum() / weight),
                )
            )
    return found


def calibration_error(truth: Numbers, likely: Numbers, weights: Numbers, bins: int = 8) -> float:
    """Mean distance of what was said from what was seen, over the bins (ECE)."""
    found = reliability(truth, likely, weights, bins)
    total = sum(one.images for one in found)
    return sum(one.images * abs(one.said - one.seen) for one in found) / total


@dataclass(frozen=True, slots=True, kw_only=True)
class Operating:
    """What an operating point does, at the prevalence the weights stand for; nan without rows."""

    sensitivity: float
    specificity: float
    positive_predictive_value: float
    flagged: float
    """Share of images called positive."""


def operating(truth: Numbers, likely: Numbers, weights: Numbers, point: float) -> Operating:
    """At or above `point` an image is called positive."""
    called = (likely >= point).astype(np.float64)

    def share(of: Numbers, among: Numbers) -> float:
        total = float((weights * among).sum())
        return float((weights * of * among).sum()) / total if total > 0 else float("nan")

    return Operating(
        sensitivity=share(called, truth),
        specificity=share(1 - called, 1 - truth),
        positive_predictive_value=share(truth, called),
        flagged=share(called, np.ones_like(truth)),
    )


def point_of_specificity(
    truth: Numbers, likely: Numbers, weights: Numbers, specificity: float
) -> float:
    """The lowest probability above which at most 1 - `specificity` of the negatives lie."""
    negative = truth == 0
    values, weight = likely[negative], weights[negative]
    order = np.argsort(values)
    reached = np.cumsum(weight[order]) / weight.sum()
    index = min(int(np.searchsorted(reached, specificity)), len(order) - 1)
    # Just above the last negative that has to stay below.
    return float(np.nextafter(values[order][index], 1.0))
