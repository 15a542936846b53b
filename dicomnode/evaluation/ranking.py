"""Area under the ROC curve: weighted, within sources, with intervals over patients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with its bootstrap 95 % interval."""

    value: float
    low: float
    high: float

    def excludes_zero(self) -> bool:
        """True if the whole interval lies above 0, or below."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cases:
    """What is known of the images that were scored, row by row."""

    patients: Labels
    """Images of one patient are drawn together."""
    sources: Labels
    """Only pairs of one source are compared: two archives differ in more than disease."""
    weights: Numbers

    def __len__(self) -> int:
        return len(self.patients)

    def part(self, rows: npt.NDArray[np.generic]) -> "Cases":
        """Some of the rows: a mask, or indices, which may repeat."""
        return Cases(
            patients=self.patients[rows], sources=self.sources[rows], weights=self.weights[rows]
        )


def weighted_auc(truth: Numbers, scores: Numbers, weights: Numbers) -> tuple[float, float]:
    """The area, and the total weight of the pairs it is over; (nan, 0) without pairs.

    Equal scores count half.
    """
    _, place = np.unique(scores, return_inverse=True)
    positive = np.bincount(place, weights * truth)
    negative = np.bincount(place, weights * (1 - truth))
    pairs = float(positive.sum() * negative.sum())
    if pairs <= 0:
        return float("nan"), 0.0
    below = np.cumsum(negative) - negative / 2
    return float((positive * below).sum()) / pairs, pairs


def auc_within(truth: Numbers, scores: Numbers, cases: Cases) -> float:
    """The area over pairs of one source each; nan if there are none. NaN truths are left out."""
    total = summed = 0.0
    known = ~np.isnan(truth)
    for source in np.unique(cases.sources[known]):
        rows = known & (cases.sources == source)
        area, pairs = weighted_auc(truth[rows], scores[rows], cases.weights[rows])
        if pairs > 0:
            summed += area * pairs
            total += pairs
    return summed / total if total > 0 else float("nan")


def over_patients(
    statistic: Callable[[npt.NDArray[np.int_]], float],
    patients: Labels,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """`statistic` of all rows, and its percentile interval over patients drawn with repetition.

    `statistic` is given indices of rows. Draws in which it is nan are left out; if that is more
    than a tenth of them, the interval is nan.
    """
    _, place = np.unique(patients, return_inverse=True)
    rows_of = np.split(np.argsort(place, kind="stable"), np.cumsum(np.bincount(place))[:-1])
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        picks = rng.integers(0, len(rows_of), len(rows_of))
        drawn.append(statistic(np.concatenate([rows_of[pick] for pick in picks])))
    values = np.array(drawn)
    values = values[~np.isnan(values)]
    value = statistic(np.arange(len(patients)))
    if len(values) < 0.9 * draws:
        return Interval(value=value, low=float("nan"), high=float("nan"))
    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(value=value, low=float(low), high=float(high))


def auc_interval(truth: Numbers, scores: Numbers, cases: Cases, draws: int = 1000) -> Interval:
    """`auc_within`, with its interval."""
    return over_patients(
        lambda rows: auc_within(truth[rows], scores[rows], cases.part(rows)),
        cases.patients,
        draws=draws,
    )


def auc_gain(
    truth: Numbers, scores: Numbers, others: Numbers, cases: Cases, draws: int = 1000
) -> Interval:
    """How much larger the area of `scores` is than that of `others`, drawn together."""

    def gain(rows: npt.NDArray[np.int_]) -> float:
        part = cases.part(rows)
        return auc_within(truth[rows], scores[rows], part) - auc_within(
            truth[rows], others[rows], part
        )

    return over_patients(gain, cases.patients, draws=draws)


def roc_points(truth: Numbers, scores: Numbers, weights: Numbers) -> tuple[Numbers, Numbers]:
    """False and true positive rates, from (0, 0) to (1, 1)."""
    order = np.argsort(-scores, kind="stable")
    positive = np.cumsum((weights * truth)[order])
    negative = np.cumsum((weights * (1 - truth))[order])
    last = np.append(np.diff(scores[order]) != 0, True)
    rates = [np.append(0.0, values[last] / values[-1]) for values in (negative, positive)]
    return rates[0], rates[1]


def raked(
    flags: npt.NDArray[np.bool_], shares: Sequence[float], *, rounds: int = 60, cap: float = 30.0
) -> Numbers:
    """Weights, of mean 1, under which each flag holds in its share of the rows.

    Iterative proportional fitting; weights stay within a factor `cap` of 1, so that a few odd rows
    cannot decide everything. Flags that no row, or every row, has are left as they are.

    Args:
        flags: (rows, flags).
        shares: of each flag, 0 to 1, in the population that the weights stand for.
        rounds: over all flags.
        cap: largest and inverse of the smallest weight.
    """
    weights = np.ones(len(flags))
    for _ in range(rounds):
        for has, share in zip(flags.T, shares, strict=True):
            now = weights[has].sum() / weights.sum()
            if 0 < now < 1:
                weights[has] *= share / now
                weights[~has] *= (1 - share) / (1 - now)
        weights = np.clip(weights / weights.mean(), 1 / cap, cap)
    return np.asarray(weights / weights.mean())
