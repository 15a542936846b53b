"""What is measured of one type of lesion: FROC, sizes, operating points, misses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import floor, inf, isfinite, nan

import numpy as np

from dicomnode.evaluation.froc import (
    RATES,
    FoundLesion,
    Indices,
    Marked,
    Numbers,
    TrueLesion,
    candidate_recall,
    curve,
    mean_sensitivity,
    over_volumes,
    sensitivity_at,
)
from dicomnode.evaluation.ranking import Interval

POINT_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 8.0)
"""False positives a volume for which an operating point is given."""
SIZE_RATES = (1.0, 4.0)
"""False positives a volume at which sizes are compared."""
_SIZES_MM = (0.0, 5.0, 10.0, 20.0, 30.0, inf)
_FALSE_MARKS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class OfSize:
    """Lesions from `low_mm` to below `high_mm`; of unknown size where both are nan."""

    low_mm: float
    high_mm: float
    lesions: int
    recall: Interval
    sensitivity: Mapping[float, Interval]
    """False positives a volume, of all marks of the type -> sensitivity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AtPoint:
    """What one operating point of `dicom.json` does here."""

    rate: float
    """False positives a volume that it stands for."""
    score: float
    false_positives: float
    """Those that it gives here."""
    sensitivity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """One lesion and the best mark on it."""

    lesion: TrueLesion
    score: float
    """-inf: no detection hit it."""
    false_positives: float
    """A volume, at the score that shows it; inf if none does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionFigures:
    """What was measured of one type."""

    name: str
    lesions: int
    volumes: int
    patients: int
    marks: int
    """Detections that were no lesion, whatever their score."""
    sensitivity: Mapping[float, Interval]
    """False positives a volume -> sensitivity."""
    mean: Interval
    """Mean of those."""
    recall: Interval
    """Share of the lesions that any detection hit."""
    sizes: tuple[OfSize, ...]
    points: Mapping[float, float]
    """For `operating_points` in `dicom.json`; rates that no score keeps are left out."""
    in_force: tuple[AtPoint, ...]
    curve: tuple[Numbers, Numbers, Numbers]
    """As `evaluation.froc.curve`."""
    worst: tuple[Missed, ...]
    """All lesions, the worst first: never hit before late, large before small."""
    surest_false: tuple[FoundLesion, ...]


def figures_of_type(
    name: str,
    marked: Marked,
    patients: Sequence[str],
    in_force: Mapping[float, float],
    draws: int,
) -> LesionFigures:
    """All figures of one type; intervals by drawing patients, none with fewer than two.

    Args:
        name: of the type.
        marked: its marks, held against its lesions.
        patients: of each volume.
        in_force: operating points that `dicom.json` has for it.
        draws: for each interval.
    """

    def drawn(statistic: Callable[[Indices | None], float]) -> Interval:
        if len(set(patients)) < 2:
            return Interval(value=statistic(None), low=nan, high=nan)
        return over_volumes(statistic, len(patients), patients=patients, draws=draws)

    def at(part: Marked, rates: Sequence[float]) -> dict[float, Interval]:
        return {rate: drawn(partial(sensitivity_at, part, rate)) for rate in rates}

    def recall(part: Marked) -> Interval:
        return drawn(lambda times: candidate_recall(part, times))

    sizes = [
        OfSize(
            low_mm=low,
            high_mm=high,
            lesions=len(part.lesions),
            recall=recall(part),
            sensitivity=at(part, SIZE_RATES),
        )
        for low, high, part in _by_size(marked)
    ]
    order = np.argsort(-marked.false_score, kind="stable")[:_FALSE_MARKS]
    return LesionFigures(
        name=name,
        lesions=len(marked.lesions),
        volumes=len(marked.volumes),
        patients=len(set(patients)),
        marks=len(marked.false_score),
        sensitivity=at(marked, RATES),
        mean=drawn(lambda times: mean_sensitivity(marked, times)),
        recall=recall(marked),
        sizes=tuple(sizes),
        points=operating_points(marked),
        in_force=tuple(_at_point(marked, rate, score) for rate, score in in_force.items()),
        curve=curve(marked),
        worst=_worst(marked),
        surest_false=tuple(marked.false_mark[row] for row in order),
    )


def _by_size(marked: Marked) -> Sequence[tuple[float, float, Marked]]:
    parts = [
        (low, high, marked.part(partial(_is_between, low, high)))
        for low, high in pairwise(_SIZES_MM)
    ]
    parts.append((nan, nan, marked.part(lambda one: one.size_mm is None)))
    return [each for each in parts if each[2].lesions]


def _is_between(low: float, high: float, one: TrueLesion) -> bool:
    return one.size_mm is not None and low <= one.size_mm < high


def operating_points(marked: Marked) -> dict[float, float]:
    """False positives a volume -> least score, in as few decimals as do the same.

    A rate above which even the surest mark lies, or that no mark limits, has none of its own.
    """
    thresholds, rates, _ = curve(marked)
    points = {}
    for rate in POINT_RATES:
        row = int(np.flatnonzero(rates <= rate + 1e-9)[-1])
        if isfinite(thresholds[row]):
            below = thresholds[row + 1] if row + 1 < len(thresholds) else -inf
            points[rate] = _short(float(thresholds[row]), float(below))
    return points


def _short(score: float, below: float) -> float:
    """The shortest decimal that is at most `score` and above `below`."""
    for digits in range(3, 16):
        short = floor(score * 10.0**digits) / 10.0**digits
        if below < short <= score:
            return short
    return score


def _at_point(marked: Marked, rate: float, score: float) -> AtPoint:
    hit = (marked.lesion_score >= score).sum()
    return AtPoint(
        rate=rate,
        score=score,
        false_positives=float((marked.false_score >= score).sum()) / len(marked.volumes),
        sensitivity=float(hit) / len(marked.lesions),
    )


def _worst(marked: Marked) -> tuple[Missed, ...]:
    scores = marked.lesion_score
    missed = [
        Missed(
            lesion=one,
            score=float(score),
            false_positives=float((marked.false_score >= score).sum()) / len(marked.volumes)
            if isfinite(score)
            else inf,
        )
        for one, score in zip(marked.lesions, scores, strict=True)
    ]
    return tuple(sorted(missed, key=lambda m: (m.score, -(m.lesion.size_mm or 0.0))))
