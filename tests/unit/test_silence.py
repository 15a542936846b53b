"""Silence is what the watcher itself saw unchanged, whatever clocks say."""

from dicomnode.silence import Silence
from dicomnode.store.leases import Heartbeat, Lease
from tests.contract.store_scenes import at


def heard(seconds: float, *, epoch: int = 1) -> Heartbeat:
    return Heartbeat(lease=Lease(worker="gpu1", epoch=epoch), seen_at=at(seconds))


def test_only_what_stays_unchanged_for_too_long_is_silent() -> None:
    clock = [0.0]
    silence = Silence(30, monotonic=lambda: clock[0])
    assert not list(silence.of([heard(0)])), "seen for the first time"
    for now in (10.0, 20.0, 29.0):
        clock[0] = now
        assert not list(silence.of([heard(0)]))
    clock[0] = 31.0
    assert [seconds for _, seconds in silence.of([heard(0)])] == [31.0]


def test_a_clock_that_jumps_makes_nobody_silent() -> None:
    clock = [0.0]
    silence = Silence(30, monotonic=lambda: clock[0])
    for number, jump in enumerate((0, 7200, -7200, 5)):
        clock[0] = number * 10.0
        assert not list(silence.of([heard(jump)]))


def test_a_watcher_that_slept_gives_everybody_the_whole_time_again() -> None:
    clock = [0.0]
    silence = Silence(30, monotonic=lambda: clock[0])
    list(silence.of([heard(0)]))
    clock[0] = 500.0
    assert not list(silence.of([heard(1)])), "it went on beating meanwhile"


def test_while_the_watcher_could_not_look_nobody_was_silent() -> None:
    clock = [0.0]
    silence = Silence(30, monotonic=lambda: clock[0])
    list(silence.of([heard(0)]))
    # The index was away for an hour: nobody could beat, and the watcher could not look.
    clock[0] = 3600.0
    assert not list(silence.of([heard(0)]))
    for now in (3605.0, 3610.0):
        clock[0] = now
        assert not list(silence.of([heard(0)]))
    clock[0] = 3620.0
    assert len(list(silence.of([heard(0)]))) == 1, "it did not come back"


def test_one_that_went_and_came_starts_from_nothing() -> None:
    clock = [0.0]
    silence = Silence(30, monotonic=lambda: clock[0])
    list(silence.of([heard(0)]))
    for now in (14.0, 28.0):
        clock[0] = now
        list(silence.of([]))
    clock[0] = 40.0
    assert not list(silence.of([heard(0)]))
