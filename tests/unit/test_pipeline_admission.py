"""Runs start where their memory fits, in the order they came, so that none of them starves."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.domain.device_memory import MARGIN, MeasuredRun, MemoryLine, learned
from dicomnode.domain.errors import Interrupted, NotWanted
from dicomnode.pipeline.admission import Admission, Seat

GB = 1_000_000_000


class Run:
    """A run in a thread of its own: waits for its seat, then until it is let go."""

    def __init__(self, admission: Admission, need: int | None) -> None:
        self.said: list[str] = []
        self.seat: Seat | None = None
        self.error: Exception | None = None
        self.is_wanted = True
        self._asked = threading.Event()
        self._seated = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._go, args=(admission, need), daemon=True)
        self._thread.start()
        # In line, or already at its place: who begins next comes behind.
        assert self._asked.wait(30)

    def _go(self, admission: Admission, need: int | None) -> None:
        try:
            with admission.seat(need, self._waits) as seat:
                self.seat = seat
                self._seated.set()
                self._asked.set()
                self._end.wait(60)
        except Interrupted as exc:
            self.error = exc

    def _waits(self, words: str) -> bool:
        if words:
            self.said.append(words)
        self._asked.set()
        return self.is_wanted

    def starts(self) -> Seat:
        assert self._seated.wait(30), self.said
        assert self.seat is not None
        return self.seat

    @property
    def waits(self) -> bool:
        return not self._seated.wait(0.2)

    def end(self) -> None:
        self._end.set()
        self._thread.join(30)


@contextmanager
def runs(admission: Admission, *needs: int | None) -> Iterator[list[Run]]:
    """One after the other, each in line before the next."""
    made = [Run(admission, need) for need in needs]
    yield made
    for run in made:
        run.end()


def test_small_runs_share_a_device_as_far_as_its_memory_goes() -> None:
    with runs(Admission({"cuda:0": 8 * GB}, runs_per_device=4), 3 * GB, 3 * GB, 3 * GB) as made:
        assert [one.starts().device for one in made[:2]] == ["cuda:0"] * 2
        assert made[2].waits
        assert made[2].said == [
            "waits for memory: needs 3.0 GB; cuda:0 has 2.0 GB of 8.0 GB free and 2 running"
        ]
        made[0].end()
        assert not made[2].starts().is_too_small


def test_no_more_share_a_device_than_settings_allow() -> None:
    with runs(Admission({"cuda:0": 8 * GB}, runs_per_device=1), GB, GB) as made:
        made[0].starts()
        assert made[1].waits


def test_a_large_run_does_not_starve_behind_small_ones() -> None:
    admission = Admission({"cuda:0": 8 * GB}, runs_per_device=8)
    with runs(admission, 3 * GB, 3 * GB, 7 * GB, GB, GB) as made:
        assert made[2].waits
        # There is room for them, but whoever came first is served first.
        assert made[3].waits
        assert made[3].said[-1].endswith("1 before it")
        made[0].end()
        assert made[2].waits
        made[1].end()
        made[2].starts()
        made[3].starts()
        assert made[4].waits
        made[2].end()
        made[4].starts()


def test_a_device_that_a_large_run_could_not_use_is_not_kept_from_small_ones() -> None:
    admission = Admission({"large": 8 * GB, "small": 2 * GB}, runs_per_device=4)
    with runs(admission, 6 * GB, 6 * GB, GB) as made:
        assert made[0].starts().device == "large"
        assert made[1].waits
        assert made[2].starts().device == "small"


def test_a_run_that_fits_no_device_has_the_largest_to_itself_and_knows_it() -> None:
    admission = Admission({"small": 2 * GB, "large": 8 * GB}, runs_per_device=4)
    with runs(admission, 20 * GB, GB, 3 * GB) as made:
        seat = made[0].starts()
        assert (seat.device, seat.budget_bytes, seat.is_too_small) == ("large", 8 * GB, True)
        assert made[1].starts().device == "small"
        assert made[2].waits
        assert "large is taken" in made[2].said[-1]
        made[0].end()
        made[2].starts()


def test_a_run_of_which_nothing_is_known_has_a_device_to_itself() -> None:
    with runs(Admission({"cuda:0": 8 * GB}, runs_per_device=4), GB, None, GB) as made:
        made[0].starts()
        assert made[1].waits
        assert "not known yet" in made[1].said[0]
        made[0].end()
        assert not made[1].starts().is_too_small
        assert made[2].waits
        made[1].end()
        made[2].starts()


def test_where_memory_is_not_counted_only_the_number_of_runs_is() -> None:
    with runs(Admission({"cpu": None}, runs_per_device=2), None, 20 * GB, GB) as made:
        assert not made[0].starts().is_too_small
        assert not made[1].starts().is_too_small
        assert made[2].waits


def test_whoever_is_not_wanted_any_more_leaves_the_line() -> None:
    with runs(Admission({"cuda:0": 8 * GB}), GB, GB, GB) as made:
        made[1].is_wanted = False
        made[1].end()
        assert isinstance(made[1].error, NotWanted)
        made[0].end()
        made[2].starts()


def test_a_process_that_ends_keeps_nobody_waiting() -> None:
    admission = Admission({"cuda:0": 8 * GB})
    with runs(admission, GB, GB) as made:
        admission.close()
        made[1].end()
        assert type(made[1].error) is Interrupted


class TestLearned:
    def test_nothing_is_learned_from_nothing_or_from_much_smaller_runs(self) -> None:
        assert learned([], 100) is None
        assert learned([MeasuredRun(voxels=100, peak_bytes=5)], 201) is None

    def test_one_size_bounds_smaller_ones_and_grows_in_proportion(self) -> None:
        runs = [MeasuredRun(voxels=100, peak_bytes=1000)]
        for voxels, wanted in ((50, 1000), (100, 1000), (150, 1500)):
            line = learned(runs, voxels)
            assert line is not None
            assert line.of(voxels) == pytest.approx(MARGIN * wanted, abs=1)

    @given(
        fixed=st.integers(0, 10**9),
        each=st.integers(0, 500),
        sizes=st.lists(st.integers(1, 10**7), min_size=1, max_size=20),
        noise=st.integers(0, 10**6),
    )
    def test_no_run_that_was_measured_is_predicted_to_take_less(
        self, fixed: int, each: int, sizes: list[int], noise: int
    ) -> None:
        runs = [
            MeasuredRun(voxels=size, peak_bytes=fixed + each * size + (number * noise) % 999_983)
            for number, size in enumerate(sizes)
        ]
        for run in runs:
            line = learned(runs, run.voxels)
            assert line is not None
            assert line.of(run.voxels) >= run.peak_bytes - 1

    def test_a_line_says_how_much_fits(self) -> None:
        line = MemoryLine(fixed_bytes=100, a_voxel_bytes=2)
        assert [line.fitting(budget) for budget in (50, 100, 300)] == [0, 0, 100]
        assert line.of(line.fitting(300)) == 300
