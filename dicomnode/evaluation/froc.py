"""Free-response ROC: sensitivity against false positives a volume, with intervals over volumes.

Counted as the LUNA16 challenge does (Setio et al., Med Image Anal 2017): a lesion is worth the
best score among the marks that hit it, further marks on it count for nothing, a mark on something
to be ignored counts for nothing either, and every other mark is a false positive.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomnode.evaluation.ranking import Interval

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives a volume at which LUNA16 reads the curve."""

Numbers = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int_]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueLesion:
    """One lesion that is known, as a sphere or as a box, in patient millimetres (LPS)."""

    volume: str
    """Which volume it lies in, e.g. its SeriesInstanceUID."""
    low_mm: tuple[float, float, float]
    high_mm: tuple[float, float, float]
    """Corners of its box; of the box around the sphere where `is_sphere`."""
    is_sphere: bool
    size_mm: float | None
    """Its diameter, for tables by size; None: not known."""
    kind: str = ""
    """Its type, for tables by type."""
    counts: bool = True
    """False: neither a hit nor a miss, and marks on it are no false positives."""

    def hit_by(self, point: Sequence[float], margin_mm: float = 0.0) -> bool:
        """True if a mark lies in the sphere, or in the box widened by a margin."""
        low, high, at = (np.asarray(v, float) for v in (self.low_mm, self.high_mm, point))
        if self.is_sphere:
            radius = float((high - low).max()) / 2 + margin_mm
            return float(np.linalg.norm(at - (low + high) / 2)) <= radius
        return bool((at >= low - margin_mm).all() and (at <= high + margin_mm).all())

    def off_by(self, point: Sequence[float]) -> float:
        """Millimetres from its centre."""
        middle = (np.asarray(self.low_mm, float) + np.asarray(self.high_mm, float)) / 2
        return float(np.linalg.norm(np.asarray(point, float) - middle))


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLesion:
    """One mark, in patient millimetres (LPS)."""

    volume: str
    point_mm: tuple[float, float, float]
    score: float
    """Finite; the higher, the surer."""
    kind: str = ""
    size_mm: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """Marks held against the truth, ready to be counted."""

    volumes: tuple[str, ...]
    lesions: tuple[TrueLesion, ...]
    """Those that count."""
    lesion_volume: Indices
    lesion_score: Numbers
    """Best score among the marks on it; -inf: no mark hit it."""
    lesion_mark: tuple[FoundLesion | None, ...]
    """That mark."""
    false_volume: Indices
    false_score: Numbers
    false_mark: tuple[FoundLesion, ...]
    """The false positives themselves."""

    def part(self, wanted: Callable[[TrueLesion], bool]) -> "Marked":
        """Some of the lesions, held against all the false positives."""
        rows = np.array([i for i, one in enumerate(self.lesions) if wanted(one)], dtype=int)
        return Marked(
            volumes=self.volumes,
            lesions=tuple(self.lesions[i] for i in rows),
            lesion_volume=self.lesion_volume[rows],
            lesion_score=self.lesion_score[rows],
            lesion_mark=tuple(self.lesion_mark[i] for i in rows),
            false_volume=self.false_volume,
            false_score=self.false_score,
            false_mark=self.false_mark,
        )


def mark(
    volumes: Sequence[str],
    truths: Sequence[TrueLesion],
    found: Sequence[FoundLesion],
    *,
    margin_mm: float = 0.0,
    same_kind: bool = False,
) -> Marked:
    """Hold marks against the truth.

    A mark that lies in several lesions hits the one whose centre is nearest.

    Args:
        volumes: all that were read, also those without lesion or mark.
        truths: what is known of them.
        found: the marks.
        margin_mm: by how much a mark may lie outside.
        same_kind: a mark hits lesions of its own `kind` alone.

    Raises:
        ValueError: a lesion or a mark of a volume that was not read, or a score that is no number.
    """
    place = {name: number for number, name in enumerate(volumes)}
    _check(place, truths, found)
    counted = [one for one in truths if one.counts]
    row_of = {id(one): row for row, one in enumerate(counted)}
    in_volume: dict[str, list[TrueLesion]] = {}
    for truth in truths:
        in_volume.setdefault(truth.volume, []).append(truth)
    best: list[FoundLesion | None] = [None] * len(counted)
    false: list[FoundLesion] = []
    for one in found:
        hit = [
            truth
            for truth in in_volume.get(one.volume, ())
            if truth.hit_by(one.point_mm, margin_mm)
            and not (same_kind and truth.counts and truth.kind != one.kind)
        ]
        if not hit:
            false.append(one)
            continue
        nearest = min(hit, key=lambda truth: truth.off_by(one.point_mm))
        if nearest.counts:
            row = row_of[id(nearest)]
            before = best[row]
            if before is None or one.score > before.score:
                best[row] = one
    return Marked(
        volumes=tuple(volumes),
        lesions=tuple(counted),
        lesion_volume=np.array([place[one.volume] for one in counted], dtype=int),
        lesion_score=np.array([-np.inf if m is None else m.score for m in best], dtype=float),
        lesion_mark=tuple(best),
        false_volume=np.array([place[one.volume] for one in false], dtype=int),
        false_score=np.array([one.score for one in false], dtype=float),
        false_mark=tuple(false),
    )


def _check(
    place: Mapping[str, int], truths: Sequence[TrueLesion], found: Sequence[FoundLesion]
) -> None:
    for name in [*(one.volume for one in truths), *(one.volume for one in found)]:
        if name not in place:
            raise ValueError(f"{name} is none of the volumes that were read")
    if not all(np.isfinite(one.score) for one in found):
        raise ValueError("a score is no number")


def curve(marked: Marked, times: Indices | None = None) -> tuple[Numbers, Numbers, Numbers]:
    """Thresholds from high to low, and at each false positives a volume and sensitivity.

    The first point is (inf, 0, 0). Marks at or above a threshold are shown. `times` says how
    often each volume was drawn; once if it is not given.
    """
    weights = np.ones(len(marked.volumes)) if times is None else np.asarray(times, float)
    hit = np.isfinite(marked.lesion_score)
    scores = np.concatenate([marked.lesion_score[hit], marked.false_score])
    true = np.concatenate([weights[marked.lesion_volume[hit]], np.zeros(len(marked.false_score))])
    false = np.concatenate([np.zeros(int(hit.sum())), weights[marked.false_volume]])
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)[: len(order)]
    lesions = weights[marked.lesion_volume].sum()
    sensitivity = np.cumsum(true[order])[last] / (lesions if lesions > 0 else np.nan)
    rate = np.cumsum(false[order])[last] / weights.sum()
    start = 0.0 if lesions > 0 else np.nan
    return (
        np.append(np.inf, scores[order][last]),
        np.append(0.0, rate),
        np.append(start, sensitivity),
    )


def sensitivity_at(marked: Marked, rate: float, times: Indices | None = None) -> float:
    """Highest sensitivity at no more than `rate` false positives a volume; nan without lesions."""
    _, rates, sensitivities = curve(marked, times)
    return float(sensitivities[rates <= rate + 1e-9][-1])


def threshold_at(marked: Marked, rate: float) -> float:
    """Lowest score at which no more than `rate` false positives a volume are shown.

    inf if even the best mark is one too many.
    """
    thresholds, rates, _ = curve(marked)
    return float(thresholds[rates <= rate + 1e-9][-1])


def mean_sensitivity(marked: Marked, times: Indices | None = None) -> float:
    """Mean over `RATES`: the score of LUNA16."""
    _, rates, sensitivities = curve(marked, times)
    return float(np.mean([sensitivities[rates <= rate + 1e-9][-1] for rate in RATES]))


def candidate_recall(marked: Marked, times: Indices | None = None) -> float:
    """Share of the lesions that any mark hit, whatever its score; nan without lesions."""
    weights = np.ones(len(marked.volumes)) if times is None else np.asarray(times, float)
    of_lesion = weights[marked.lesion_volume]
    total = of_lesion.sum()
    hit = np.isfinite(marked.lesion_score)
    return float(of_lesion[hit].sum() / total) if total > 0 else float("nan")


def over_volumes(
    statistic: Callable[[Indices | None], float],
    volumes: int,
    *,
    patients: Sequence[str] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """A statistic with its percentile interval over volumes drawn with repetition.

    `statistic` is given how often each volume was drawn, or None for all of them once. Draws in
    which it is nan are left out; if that is more than a tenth of them, the interval is nan.
    `patients` names the patient of each volume: patients are drawn, each with all its volumes.
    """
    _, whose = np.unique(range(volumes) if patients is None else patients, return_inverse=True)
    people = int(whose.max()) + 1
    rng = np.random.default_rng(seed)
    drawn = np.array(
        [
            statistic(np.bincount(rng.integers(0, people, people), minlength=people)[whose])
            for _ in range(draws)
        ]
    )
    drawn = drawn[~np.isnan(drawn)]
    value = statistic(None)
    if len(drawn) < 0.9 * draws:
        return Interval(value=value, low=float("nan"), high=float("nan"))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(value=value, low=float(low), high=float(high))


def sensitivity_interval(marked: Marked, rate: float, *, draws: int = 1000) -> Interval:
    """`sensitivity_at`, with its interval."""
    return over_volumes(
        lambda times: sensitivity_at(marked, rate, times), len(marked.volumes), draws=draws
    )


def sensitivity_gain(marked: Marked, other: Marked, rate: float, *, draws: int = 1000) -> Interval:
    """How much higher the sensitivity of `marked` is, both on the same volumes, drawn together.

    Raises:
        ValueError: the two were not read on the same volumes.
    """
    if marked.volumes != other.volumes:
        raise ValueError("the two were not read on the same volumes")
    return over_volumes(
        lambda times: sensitivity_at(marked, rate, times) - sensitivity_at(other, rate, times),
        len(marked.volumes),
        draws=draws,
    )
