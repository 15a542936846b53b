"""When a study is whole: never while more is to come, always at the hard limit."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dicomnode.assembly.closing import Closed, Open, Waiting, decide
from dicomnode.domain.studies import ClosingReason, Evidence
from dicomnode.settings import AssemblySettings

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)
POLICY = AssemblySettings(quiet_s=30, released_s=3, hard_limit_s=3600)
QUIET = Closed(reason=ClosingReason.QUIET)
COMPLETE = Closed(reason=ClosingReason.COMPLETE)
COUNT_AGREED = Closed(reason=ClosingReason.COUNT_AGREED)
HARD_LIMIT = Closed(reason=ClosingReason.HARD_LIMIT)

BASE = Evidence(
    received_instances=10,
    new_instances=10,
    first_new_at=NOON,
    last_new_at=NOON,
    open_associations=0,
    required_series_present=None,
    expected_instances=None,
)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def why(decision: Closed | Open) -> Waiting:
    assert isinstance(decision, Open)
    return decision.why


def test_quiet_closes_after_the_quiet_period_and_not_before() -> None:
    assert decide(BASE, POLICY, after(29.9)) == Open(
        why=Waiting.NOT_YET_QUIET, look_again_at=after(30)
    )
    assert decide(BASE, POLICY, after(30)) == QUIET


def test_complete_closes_shortly_after_release_if_required_series_are_here() -> None:
    complete = replace(BASE, required_series_present=True)

    assert decide(complete, POLICY, after(2)) == Open(
        why=Waiting.NOT_YET_QUIET, look_again_at=after(3)
    )
    assert decide(complete, POLICY, after(3)) == COMPLETE


def test_missing_series_wait_for_quiet() -> None:
    missing = replace(BASE, required_series_present=False)

    assert why(decide(missing, POLICY, after(29))) is Waiting.REQUIRED_SERIES_MISSING
    assert decide(missing, POLICY, after(30)) == QUIET


@pytest.mark.parametrize("evidence", [BASE, replace(BASE, expected_instances=10)])
def test_an_open_association_keeps_a_study_open_until_the_hard_limit(evidence: Evidence) -> None:
    sending = replace(evidence, open_associations=1, required_series_present=True)

    assert why(decide(sending, POLICY, after(3599))) is Waiting.ASSOCIATION_OPEN
    assert decide(sending, POLICY, after(3600)) == HARD_LIMIT


def test_a_count_that_agrees_closes_at_once() -> None:
    assert decide(replace(BASE, expected_instances=10), POLICY, NOON) == COUNT_AGREED


def test_a_count_that_is_higher_keeps_a_study_open_until_the_hard_limit() -> None:
    announced = replace(BASE, expected_instances=11, required_series_present=True)

    assert why(decide(announced, POLICY, after(3599))) is Waiting.MORE_ANNOUNCED
    assert decide(announced, POLICY, after(3600)) == HARD_LIMIT


def test_a_count_that_fails_or_is_lower_leaves_it_to_quiet() -> None:
    assert decide(replace(BASE, expected_instances=None), POLICY, after(30)) == QUIET
    assert decide(replace(BASE, expected_instances=9), POLICY, after(30)) == QUIET


def test_a_late_image_opens_the_next_revision_with_a_hard_limit_of_its_own() -> None:
    closed = replace(BASE, new_instances=0)
    late = replace(
        BASE,
        received_instances=11,
        new_instances=1,
        first_new_at=after(7200),
        last_new_at=after(7200),
    )

    assert why(decide(closed, POLICY, after(7200))) is Waiting.NOTHING_NEW
    assert why(decide(late, POLICY, after(7201))) is Waiting.NOT_YET_QUIET
    assert decide(late, POLICY, after(7230)) == QUIET


@pytest.mark.parametrize(
    ("set_back_s", "closes_within_s"), [(10, 40), (30, 60), (31, 0), (3000, 0), (1e8, 0)]
)
def test_a_clock_set_back_delays_closing_by_one_quiet_period_at_most(
    set_back_s: float, closes_within_s: float
) -> None:
    now = after(-set_back_s)

    assert isinstance(decide(BASE, POLICY, now + timedelta(seconds=closes_within_s)), Closed)


def test_a_clock_set_back_does_not_close_while_images_are_coming() -> None:
    sending = replace(BASE, open_associations=1)

    assert why(decide(sending, POLICY, after(-3000))) is Waiting.ASSOCIATION_OPEN


times = st.integers(-100_000, 100_000).map(after)
policies = st.tuples(*[st.integers(1, 5000)] * 3).map(
    lambda three: AssemblySettings(
        **dict(zip(("released_s", "quiet_s", "hard_limit_s"), sorted(three), strict=True))
    )
)
evidences = st.builds(
    Evidence,
    received_instances=st.integers(0, 20),
    new_instances=st.integers(0, 20),
    first_new_at=times,
    last_new_at=times,
    open_associations=st.integers(0, 2),
    required_series_present=st.sampled_from([None, True, False]),
    expected_instances=st.none() | st.integers(0, 20),
)


@given(evidences, policies, times)
def test_nothing_closes_without_a_new_instance(
    evidence: Evidence, policy: AssemblySettings, now: datetime
) -> None:
    assert isinstance(decide(replace(evidence, new_instances=0), policy, now), Open)


@given(evidences, policies, st.integers(0, 10_000))
def test_everything_with_a_new_instance_is_closed_at_the_hard_limit(
    evidence: Evidence, policy: AssemblySettings, later_s: int
) -> None:
    assume(evidence.new_instances > 0)
    limit = evidence.first_new_at + timedelta(seconds=policy.hard_limit_s + later_s)

    assert decide(evidence, policy, limit) == HARD_LIMIT


@given(evidences, policies, st.integers(0, 10_000), st.integers(0, 10_000))
def test_what_is_closed_stays_closed_while_the_clock_runs_forward(
    evidence: Evidence, policy: AssemblySettings, after_last_s: int, later_s: int
) -> None:
    assume(evidence.new_instances > 0)
    now = max(evidence.first_new_at, evidence.last_new_at) + timedelta(seconds=after_last_s)
    assume(isinstance(decide(evidence, policy, now), Closed))

    later = now + timedelta(seconds=later_s)
    assert isinstance(decide(evidence, policy, later), Closed)


@given(evidences, policies, times)
def test_an_open_study_is_looked_at_again_soon_and_later_than_now(
    evidence: Evidence, policy: AssemblySettings, now: datetime
) -> None:
    decision = decide(evidence, policy, now)
    if isinstance(decision, Open):
        assert now < decision.look_again_at <= now + timedelta(seconds=policy.quiet_s)


@given(evidences, policies, times)
def test_looking_again_when_told_to_ends_at_the_hard_limit_at_the_latest(
    evidence: Evidence, policy: AssemblySettings, start: datetime
) -> None:
    assume(evidence.new_instances > 0)
    now = start
    while isinstance(decision := decide(evidence, policy, now), Open):
        now = decision.look_again_at

    hard_limit = timedelta(seconds=policy.hard_limit_s)
    assert now <= max(start, start + 2 * hard_limit, evidence.first_new_at + hard_limit)


@given(evidences, policies, times)
def test_an_open_association_closes_only_by_the_hard_limit(
    evidence: Evidence, policy: AssemblySettings, now: datetime
) -> None:
    decision = decide(replace(evidence, open_associations=1), policy, now)

    assert isinstance(decision, Open) or decision == HARD_LIMIT
