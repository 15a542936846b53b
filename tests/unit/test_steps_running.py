"""Every way a try of a job can end stands in its row, with a reason; only a stop passes through."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from dicomnode.domain.device_memory import MemoryLine, Shortage
from dicomnode.domain.errors import (
    AlgorithmError,
    BundleInvalid,
    ChildDied,
    DicomNodeError,
    DiskFault,
    GeometryMismatch,
    InputRefused,
    Interrupted,
    LoadingTimedOut,
    MissingSlices,
    OutOfMemory,
    StudyError,
    TimedOut,
)
from dicomnode.domain.follow_up import Priors
from dicomnode.domain.identifiers import JobId
from dicomnode.domain.jobs import Job, JobState
from dicomnode.domain.results import ResultKind, result_folder
from dicomnode.pipeline.admission import Admission
from dicomnode.pipeline.child import Loading
from dicomnode.steps.inference import RunTask, write_outcome
from dicomnode.steps.node import Node
from dicomnode.steps.running import (
    TRIES_FOR_DISK,
    Ran,
    give_up_job,
    record_job,
    run_job,
    try_again,
)
from dicomnode.store.jobs import cancel_job, end_job_by_error, load_job, rerun_job
from dicomnode.store.overview import overview
from dicomnode.store.unfinished import unfinished_jobs
from dicomnode.store.workers import queue_told
from tests.acceptance.running_node import eventually
from tests.contract.store_scenes import at, outcome_of, queued_job
from tests.contract.test_store_lesions import lesion, studied
from tests.unit.steps_node import column, description, event_names, open_test_node, tick

R = TypeVar("R")

GB = 1_000_000_000
RETRYABLE = [
    OutOfMemory("small device"),
    ChildDied("signal 9"),
    LoadingTimedOut("not loaded after 600 s"),
]


class DoneAtOnce:
    """Children whose every call ends at once: with nothing, or with an error."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls: list[tuple[Sequence[Any], float]] = []
        self.devices: list[str] = []
        self.loadings: list[Loading | None] = []

    def submit(
        self,
        function: Callable[..., R],
        args: Sequence[object],
        *,
        timeout_s: float,
        device: str = "",
        first: Loading | None = None,
    ) -> Future[R]:
        """Note the call and end it."""
        self.calls.append((args, timeout_s))
        self.devices.append(device)
        self.loadings.append(first)
        done: Future[Any] = Future()
        if self.error is None:
            done.set_result(None)
        else:
            done.set_exception(self.error)
        return done


class Hangs:
    """Children whose call never ends; `meanwhile` happens once it runs."""

    def __init__(self, meanwhile: Callable[["Future[Any]"], object]) -> None:
        self._meanwhile = meanwhile
        self.running: Future[Any] = Future()

    def submit(
        self,
        function: Callable[..., R],
        args: Sequence[object],
        *,
        timeout_s: float,
        device: str = "",
        first: Loading | None = None,
    ) -> Future[R]:
        """Begin a call."""
        self._meanwhile(self.running)
        return self.running


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    opened = open_test_node(tmp_path, {"flow": {"max_attempts": 3, "retry_s": 5.0}})
    yield opened
    opened.database.dispose()


@pytest.fixture
def job(node: Node) -> JobId:
    return queued_job(node.database)


def state_of(node: Node, job: JobId) -> tuple[JobState, str, str]:
    (error,) = column(node.database, "job", "error")
    (reason,) = column(node.database, "job", "reason")
    return load_job(node.database, job).state, error, reason


def made_by(node: Node, job_id: JobId) -> Job:
    """The files a run leaves behind, as if it had just ended."""
    job = load_job(node.database, job_id)
    folder = result_folder(node.settings.data_dir, job_id)
    folder.mkdir(parents=True)
    write_outcome(outcome_of(node.database, job), folder)
    return job


class TestSuccess:
    def test_a_run_is_given_its_images_its_folder_and_its_time(
        self, node: Node, job: JobId
    ) -> None:
        children = DoneAtOnce()
        assert run_job(node, children, job) == Ran(made=True, retry_s=None)
        (((source, task), limit_s),) = children.calls
        assert source == node.algorithms["lung_ct"].source
        assert isinstance(task, RunTask)
        assert [path.name for path in task.inputs["image"]] == ["1.dcm", "2.dcm", "3.dcm"]
        assert task.out == node.settings.data_dir / "results" / job[:2] / job
        assert task.derivation.complete
        assert limit_s == 100.0
        assert load_job(node.database, job).state is JobState.RUNNING

    def test_slow_machines_may_be_given_more_time(self, tmp_path: Path) -> None:
        node = open_test_node(tmp_path, {"flow": {"time_limit_factor": 4.0}})
        children = DoneAtOnce()
        run_job(node, children, queued_job(node.database))
        assert children.calls[0][1] == 400.0

    def test_loading_has_a_limit_of_its_own(self, tmp_path: Path) -> None:
        node = open_test_node(tmp_path, {"flow": {"load_limit_s": 900.0}})
        children = DoneAtOnce()
        job = queued_job(node.database)
        run_job(node, children, job)
        ((((source, _), limit_s), loading),) = zip(children.calls, children.loadings, strict=True)
        assert limit_s == 100.0
        assert loading is not None
        assert (loading.limit_s, loading.args) == (900.0, (source, True))
        begun, slack = 20, 300
        end = begun + 900 + 100 + slack
        assert not overview(node.database, at(end - 1)).trouble, "it may have loaded for so long"
        assert [one.id for one in overview(node.database, at(end + 1)).trouble] == [job]

    def test_a_rerun_after_a_crash_makes_the_same_objects(self, node: Node, job: JobId) -> None:
        children = DoneAtOnce()
        run_job(node, children, job)
        tick(node, 4000)
        run_job(node, children, job)
        (first, _), (second, _) = children.calls
        assert first == second

    def test_what_a_run_left_is_recorded_once_and_goes_to_every_destination(
        self, node: Node, job: JobId
    ) -> None:
        run_job(node, DoneAtOnce(), job)
        made_by(node, job)
        assert record_job(node, job) == ["pacs", "archive"]
        assert record_job(node, job) == ["pacs", "archive"]
        assert column(node.database, "delivery", "state") == ["waiting"] * 4
        assert event_names(node.database).count("job.succeeded") == 1


class TestReruns:
    def test_a_rerun_is_compared_with_earlier_studies_that_came_since(self, node: Node) -> None:
        node = replace(node, algorithms={"nodes": description("nodes")})
        later = studied(node.database, 2, "20240430", [])

        def priors() -> Priors:
            rerun_job(node.database, later.id, at(50))
            children = DoneAtOnce()
            assert run_job(node, children, later.id)["made"]
            end_job_by_error(node.database, later.id, JobState.FAILED, StudyError("ended"), at(60))
            (((_, asked), _),) = children.calls
            assert isinstance(asked, RunTask)
            assert asked.priors is not None
            return asked.priors

        assert priors().studies == ()
        studied(node.database, 1, "20240131", [lesion("2.25.1", 20, 16)])
        beside = priors()
        assert len(beside.studies) == 1
        assert priors() == beside
        # One of another date or patient changes nothing.
        studied(node.database, 3, "20240701", [lesion("2.25.3", 20, 16)])
        studied(node.database, 4, "20240101", [lesion("2.25.4", 9, 8)], patient="P2")
        assert priors() == beside

    def test_a_rerun_names_the_reports_of_earlier_runs(self, node: Node, job: JobId) -> None:
        run_job(node, DoneAtOnce(), job)
        made = made_by(node, job)
        record_job(node, job)
        rerun_job(node.database, job, at(50))
        children = DoneAtOnce()
        run_job(node, children, job)
        (((_, task), _),) = children.calls
        assert task.derivation.predecessors == ()
        (report,) = task.derivation.earlier_runs
        assert report.kind is ResultKind.SR
        assert report.study_uid == made.study_uid


def in_size(node: Node, rows: int = 100, columns: int = 100) -> None:
    """What headers would say of the job's three images."""
    with node.database.writing() as connection:
        connection.exec_driver_sql(f"UPDATE instance SET rows = {rows}, columns = {columns}")


def ended_run(node: Node, job: JobId, *, peak_bytes: int) -> None:
    """The job has run once, on 3 images."""
    run_job(node, DoneAtOnce(), job)
    folder = result_folder(node.settings.data_dir, job)
    folder.mkdir(parents=True)
    outcome = outcome_of(node.database, load_job(node.database, job))
    write_outcome(replace(outcome, voxels=30_000, peak_bytes=peak_bytes), folder)
    record_job(node, job)
    rerun_job(node.database, job, at(50))


class TestDeviceMemory:
    def test_a_job_that_fits_is_given_the_device_it_was_admitted_to(
        self, node: Node, job: JobId
    ) -> None:
        in_size(node)
        stated = MemoryLine(fixed_bytes=1e9, a_voxel_bytes=1e5)
        known = {"lung_ct": replace(description(), memory=stated)}
        admission = Admission({"cuda:0": 3 * GB, "cuda:1": 5 * GB}, runs_per_device=2)
        node, children = replace(node, algorithms=known, admission=admission), DoneAtOnce()
        assert run_job(node, children, job)["made"]
        assert children.devices == ["cuda:1"]
        ((_, task), _) = children.calls[0]
        assert task.shortage is None

    def test_one_that_fits_no_device_is_told_so_before_it_begins(
        self, node: Node, job: JobId
    ) -> None:
        in_size(node)
        stated = MemoryLine(fixed_bytes=1e9, a_voxel_bytes=1e5)
        known = {"lung_ct": replace(description(), memory=stated)}
        node = replace(node, algorithms=known, admission=Admission({"cuda:0": 2 * GB}))
        children = DoneAtOnce()
        run_job(node, children, job)
        ((_, task), _) = children.calls[0]
        assert task.shortage == Shortage(need_bytes=4 * GB, budget_bytes=2 * GB, line=stated)

    def test_what_earlier_runs_took_is_learned(self, node: Node, job: JobId) -> None:
        in_size(node)
        ended_run(node, job, peak_bytes=4 * GB)
        node = replace(node, admission=Admission({"cpu": 3 * GB}))
        children = DoneAtOnce()
        run_job(node, children, job)
        ((_, task), _) = children.calls[0]
        assert task.shortage is not None
        assert task.shortage.need_bytes == pytest.approx(4.4 * GB, rel=1e-6)

    def test_one_that_waits_says_why_on_the_queue_and_starts_when_there_is_room(
        self, node: Node, job: JobId
    ) -> None:
        in_size(node)
        ended_run(node, job, peak_bytes=2 * GB)
        node = replace(node, admission=Admission({"cpu": 3 * GB}, runs_per_device=2))
        children = DoneAtOnce()

        def waiting() -> str:
            (queued,) = queue_told(node.database, at(60)).waiting
            return queued.waits_for

        with ThreadPoolExecutor(1) as pool:
            with node.admission.seat(GB, lambda _why: True):
                with node.admission.seat(GB, lambda _why: True):
                    running = pool.submit(run_job, node, children, job)
                    why = eventually(waiting, what="it says why it waits")
                eventually(lambda: "2.0 GB of 3.0 GB" in waiting(), what="it says so anew")
                assert children.calls == []
            assert running.result(timeout=30)["made"]
        assert why == (
            "waits for memory: needs 2.2 GB; cpu has 1.0 GB of 3.0 GB free and 2 running"
        )
        (queued,) = queue_told(node.database, at(60)).running
        assert queued.waits_for == ""

    def test_cancelling_one_that_waits_takes_it_out_of_the_line(
        self, node: Node, job: JobId
    ) -> None:
        node = replace(node, admission=Admission({"cpu": 3 * GB}))
        with node.admission.seat(GB, lambda _why: True), ThreadPoolExecutor(1) as pool:
            running = pool.submit(run_job, node, DoneAtOnce(), job)
            cancel_job(node.database, job, at(2))
            assert running.result(timeout=30) == Ran(made=False, retry_s=None)
        assert load_job(node.database, job).state is JobState.CANCELLED


class TestPassingFaults:
    @pytest.mark.parametrize("error", RETRYABLE, ids=lambda error: type(error).__name__)
    def test_each_is_tried_again_after_a_longer_wait_and_then_failed(
        self, error: DicomNodeError, node: Node, job: JobId
    ) -> None:
        tries = [run_job(node, DoneAtOnce(error), job) for _ in range(3)]
        assert [ran["retry_s"] for ran in tries] == [5.0, 10.0, None]
        assert not any(ran["made"] for ran in tries)
        assert state_of(node, job) == (JobState.FAILED, type(error).__name__, str(error))
        assert event_names(node.database).count("job.retrying") == 2
        assert unfinished_jobs(node.database) == ()

    def test_a_disk_that_fails_costs_no_tries_but_is_waited_for(
        self, node: Node, job: JobId
    ) -> None:
        full = DiskFault("SEG cannot be written: the disk failed (ENOSPC)")
        tries = [run_job(node, DoneAtOnce(full), job) for _ in range(TRIES_FOR_DISK)]
        waits = [ran["retry_s"] for ran in tries]
        assert waits[:4] == [5.0, 10.0, 20.0, 40.0]
        assert set(waits[8:-1]) == {600.0}
        assert waits[-1] is None
        assert sum(wait for wait in waits if wait is not None) > 3 * 3600
        assert state_of(node, job) == (JobState.FAILED, "DiskFault", str(full))

    def test_a_workflow_that_met_an_error_is_tried_again_and_then_given_up(
        self, node: Node, job: JobId
    ) -> None:
        delays = []
        for _ in range(3):
            (unfinished,) = unfinished_jobs(node.database)
            delays.append(try_again(node, unfinished))
        assert delays == [5.0, 10.0, None]
        state, _, reason = state_of(node, job)
        assert state is JobState.QUEUED
        assert "see the node's log" in reason

    def test_one_that_passes_leaves_no_trace_in_the_end(self, node: Node, job: JobId) -> None:
        run_job(node, DoneAtOnce(RETRYABLE[0]), job)
        assert state_of(node, job)[0] is JobState.QUEUED
        assert run_job(node, DoneAtOnce(), job)["made"]
        made_by(node, job)
        record_job(node, job)
        assert state_of(node, job) == (JobState.SUCCEEDED, "", "")


class TestLastingFaults:
    @pytest.mark.parametrize(
        ("error", "state"),
        [
            (MissingSlices("a gap of 9.0 mm"), JobState.REFUSED),
            (InputRefused("not a chest"), JobState.REFUSED),
            (TimedOut("killed after 100 s"), JobState.FAILED),
            (AlgorithmError("KeyError at bundle.py:3"), JobState.FAILED),
            (GeometryMismatch("moved by 3 voxels"), JobState.FAILED),
        ],
        ids=lambda one: type(one).__name__ if isinstance(one, Exception) else "",
    )
    def test_what_would_not_pass_ends_the_job_at_once(
        self, error: DicomNodeError, state: JobState, node: Node, job: JobId
    ) -> None:
        assert run_job(node, DoneAtOnce(error), job) == Ran(made=False, retry_s=None)
        assert state_of(node, job) == (state, type(error).__name__, str(error))

    def test_an_algorithm_that_is_gone_fails_its_jobs_by_name(self, node: Node, job: JobId) -> None:
        bare = replace(node, algorithms={})
        assert run_job(bare, DoneAtOnce(), job) == Ran(made=False, retry_s=None)
        assert state_of(node, job) == (
            JobState.FAILED,
            BundleInvalid.__name__,
            "algorithm 'lung_ct' cannot be used: it is not installed any more",
        )

    def test_a_broken_algorithm_fails_its_jobs_with_its_fault(self, node: Node, job: JobId) -> None:
        bare = replace(node, algorithms={}, broken={"lung_ct": "models/x.pt is not listed"})
        run_job(bare, DoneAtOnce(), job)
        assert state_of(node, job)[2].endswith("cannot be used: models/x.pt is not listed")

    def test_a_job_the_engine_gave_up_is_failed_with_a_reason(self, node: Node, job: JobId) -> None:
        (unfinished,) = unfinished_jobs(node.database)
        give_up_job(node, unfinished, "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
        state, _, reason = state_of(node, job)
        assert state is JobState.FAILED
        assert "MAX_RECOVERY_ATTEMPTS_EXCEEDED" in reason
        assert "rerun" in reason


class TestPeople:
    def test_a_job_cancelled_before_its_turn_is_not_run(self, node: Node, job: JobId) -> None:
        cancel_job(node.database, job, at(2))
        children = DoneAtOnce()
        assert run_job(node, children, job) == Ran(made=False, retry_s=None)
        assert children.calls == []

    def test_cancelling_a_job_that_runs_kills_its_call(self, node: Node, job: JobId) -> None:
        children = Hangs(lambda _running: cancel_job(node.database, job, at(2)))
        assert run_job(node, children, job) == Ran(made=False, retry_s=None)
        assert children.running.cancelled()
        assert state_of(node, job)[0] is JobState.CANCELLED

    def test_results_of_a_job_cancelled_at_its_very_end_are_sent_nowhere(
        self, node: Node, job: JobId
    ) -> None:
        run_job(node, DoneAtOnce(), job)
        made_by(node, job)
        cancel_job(node.database, job, at(3))
        assert record_job(node, job) == []
        assert column(node.database, "delivery", "state") == []


def test_a_stop_of_the_node_leaves_the_job_as_it_is(node: Node, job: JobId) -> None:
    children = Hangs(lambda running: running.cancel())
    with pytest.raises(Interrupted):
        run_job(node, children, job)
    assert load_job(node.database, job).state is JobState.RUNNING
    assert [one.id for one in unfinished_jobs(node.database)] == [job]
