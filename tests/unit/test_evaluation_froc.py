"""FROC figures against cases counted by hand."""

import math

import numpy as np
import pytest

from dicomnode.evaluation.froc import (
    FoundLesion,
    Marked,
    TrueLesion,
    candidate_recall,
    curve,
    mark,
    mean_sensitivity,
    over_volumes,
    sensitivity_at,
    sensitivity_gain,
    sensitivity_interval,
    threshold_at,
)


def ball(
    volume: str, x: float, *, size: float = 10.0, kind: str = "", counts: bool = True
) -> TrueLesion:
    half = size / 2
    return TrueLesion(
        volume=volume,
        low_mm=(x - half, -half, -half),
        high_mm=(x + half, half, half),
        is_sphere=True,
        size_mm=size,
        kind=kind,
        counts=counts,
    )


def at(volume: str, x: float, score: float, kind: str = "") -> FoundLesion:
    return FoundLesion(volume=volume, point_mm=(x, 0.0, 0.0), score=score, kind=kind)


@pytest.fixture
def by_hand() -> Marked:
    """Two volumes, four lesions: hit at .9, .6 and .3, one missed; false positives at .8, .5, .2.

    From the top: .9 hit, .8 false, .6 hit, .5 false, .3 hit, .2 false.
    """
    truths = [ball("a", 0), ball("a", 100), ball("b", 0), ball("b", 100, size=20)]
    found = [
        at("a", 4.9, 0.9),
        at("a", -1, 0.1),  # a second mark on the first lesion
        at("a", 50, 0.8),
        at("a", 101, 0.3),
        at("b", 5.2, 0.5),  # 5.2 mm from a centre of 5 mm radius: outside
        at("b", 109, 0.6),
        at("b", -60, 0.2),
    ]
    return mark(["a", "b"], truths, found)


def test_the_curve_is_the_one_counted_by_hand(by_hand: Marked) -> None:
    thresholds, rates, sensitivities = curve(by_hand)
    assert thresholds.tolist() == [math.inf, 0.9, 0.8, 0.6, 0.5, 0.3, 0.2]
    assert rates.tolist() == [0, 0, 0.5, 0.5, 1, 1, 1.5]
    assert sensitivities.tolist() == [0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75]


@pytest.mark.parametrize(
    ("rate", "sensitivity", "threshold"),
    [(0.125, 0.25, 0.9), (0.5, 0.5, 0.6), (1, 0.75, 0.3), (8, 0.75, 0.2)],
)
def test_sensitivity_and_threshold_at_a_rate(
    by_hand: Marked, rate: float, sensitivity: float, threshold: float
) -> None:
    assert sensitivity_at(by_hand, rate) == sensitivity
    assert threshold_at(by_hand, rate) == threshold


def test_mean_sensitivity_is_over_the_seven_rates(by_hand: Marked) -> None:
    assert mean_sensitivity(by_hand) == pytest.approx((0.25 * 2 + 0.5 + 0.75 * 4) / 7)


def test_recall_counts_any_mark(by_hand: Marked) -> None:
    assert candidate_recall(by_hand) == 0.75


def test_lesions_by_size_keep_all_false_positives(by_hand: Marked) -> None:
    large = by_hand.part(lambda one: (one.size_mm or 0) > 15)
    assert len(large.lesions) == 1
    assert sensitivity_at(large, 0) == 0
    assert sensitivity_at(large, 0.5) == 1


def test_marks_on_what_is_ignored_are_no_false_positives() -> None:
    marked = mark(
        ["a"], [ball("a", 0), ball("a", 50, counts=False)], [at("a", 0, 0.4), at("a", 50, 0.9)]
    )
    assert sensitivity_at(marked, 0) == 1
    assert len(marked.lesions) == 1


def test_equal_scores_are_shown_together() -> None:
    marked = mark(["a"], [ball("a", 0)], [at("a", 0, 0.5), at("a", 50, 0.5)])
    assert sensitivity_at(marked, 0.5) == 0
    assert sensitivity_at(marked, 1) == 1
    assert threshold_at(marked, 0.5) == math.inf


def test_a_mark_in_two_lesions_hits_the_nearer_one() -> None:
    marked = mark(["a"], [ball("a", 0, size=20), ball("a", 8, size=20)], [at("a", 7, 0.5)])
    assert np.isfinite(marked.lesion_score).tolist() == [False, True]


def test_a_box_is_hit_inside_and_within_the_margin() -> None:
    box = TrueLesion(
        volume="a", low_mm=(0, 0, 0), high_mm=(10, 4, 2), is_sphere=False, size_mm=None
    )
    assert box.hit_by((10, 4, 2))
    assert not box.hit_by((10, 4, 2.5))
    assert box.hit_by((10, 4, 2.5), margin_mm=1)


def test_with_types_a_mark_of_another_type_is_false() -> None:
    truths, found = (
        [ball("a", 0, kind="liver")],
        [at("a", 0, 0.9, "lung"), at("a", 0, 0.5, "liver")],
    )
    assert sensitivity_at(mark(["a"], truths, found), 0) == 1
    typed = mark(["a"], truths, found, same_kind=True)
    assert sensitivity_at(typed, 0) == 0
    assert sensitivity_at(typed, 1) == 1


def test_volumes_without_anything_thin_out_the_false_positives() -> None:
    marked = mark(["a", "b", "c", "d"], [ball("a", 0)], [at("a", 0, 0.5), at("b", 0, 0.9)])
    assert sensitivity_at(marked, 0.25) == 1
    assert sensitivity_at(marked, 0.125) == 0


def test_no_lesion_gives_no_figure() -> None:
    marked = mark(["a"], [], [at("a", 0, 0.5)])
    assert math.isnan(sensitivity_at(marked, 1))
    assert math.isnan(candidate_recall(marked))
    assert threshold_at(marked, 1) == 0.5


def test_no_mark_gives_sensitivity_zero() -> None:
    assert sensitivity_at(mark(["a"], [ball("a", 0)], []), 8) == 0


def test_what_was_not_read_is_refused() -> None:
    with pytest.raises(ValueError, match="none of the volumes"):
        mark(["a"], [ball("b", 0)], [])
    with pytest.raises(ValueError, match="no number"):
        mark(["a"], [], [at("a", 0, float("nan"))])


def test_drawing_a_volume_twice_counts_it_twice(by_hand: Marked) -> None:
    # volume a alone: lesions .9 and .3, one false positive at .8
    assert sensitivity_at(by_hand, 0.5, np.array([2, 0])) == 0.5
    assert sensitivity_at(by_hand, 1, np.array([2, 0])) == 1.0


def test_the_interval_of_what_is_the_same_everywhere_is_a_point() -> None:
    names = [str(n) for n in range(20)]
    marked = mark(names, [ball(n, 0) for n in names], [at(n, 0, 0.5) for n in names])
    told = sensitivity_interval(marked, 1, draws=50)
    assert (told.value, told.low, told.high) == (1, 1, 1)


def test_the_interval_covers_a_binomial_share() -> None:
    names = [str(n) for n in range(100)]
    marked = mark(names, [ball(n, 0) for n in names], [at(n, 0, 0.5) for n in names[:60]])
    told = sensitivity_interval(marked, 1, draws=400)
    assert told.value == pytest.approx(0.6)
    # 0.6 +- 1.96 * sqrt(.6 * .4 / 100) = .504 to .696
    assert told.low == pytest.approx(0.504, abs=0.03)
    assert told.high == pytest.approx(0.696, abs=0.03)


def test_the_gain_is_drawn_in_pairs() -> None:
    names = [str(n) for n in range(40)]
    truths = [ball(n, 0) for n in names]
    better = mark(names, truths, [at(n, 0, 0.5) for n in names])
    worse = mark(names, truths, [at(n, 0, 0.5) for n in names[:20]])
    gain = sensitivity_gain(better, worse, 1, draws=200)
    assert gain.value == 0.5
    assert gain.excludes_zero()
    with pytest.raises(ValueError, match="same volumes"):
        sensitivity_gain(better, mark(["a"], [], []), 1)


def test_an_interval_of_mostly_nothing_is_nothing() -> None:
    assert math.isnan(over_volumes(lambda times: float("nan"), 3, draws=10).low)
