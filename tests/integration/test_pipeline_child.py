"""Real child processes that hang, die and fail."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path

import psutil
import pytest

from dicomnode.algorithm import RunContext
from dicomnode.domain.errors import (
    AlgorithmError,
    BundleInvalid,
    ChildDied,
    ConfigError,
    GeometryMismatch,
    LoadingTimedOut,
    OutOfMemory,
    TimedOut,
)
from dicomnode.pipeline.bundle import load_bundle
from dicomnode.pipeline.child import InferenceChildren, Loading, probe_cuda_devices
from dicomnode.pipeline.devices import ComputeDevice, compute_devices
from dicomnode.pipeline.discovery import AlgorithmSource
from dicomnode.pipeline.volume import read_series
from dicomnode.testing.bundles import Behaviour, BundleRecipe, write_bundle
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series

CPU = ComputeDevice(name="cpu", torch_name="cpu", environment={"OMP_NUM_THREADS": "1"})
LONG_S = 240.0


def pid_of(_device: str) -> int:
    return os.getpid()


def device_and_threads(device: str) -> tuple[str, str, int]:
    return device, os.environ["OMP_NUM_THREADS"], os.nice(0)


def weight_when_memory_ends(_device: str) -> int:
    return int(Path("/proc/self/oom_score_adj").read_text(encoding="ascii"))


def blas_threads(_device: str) -> list[int]:
    import scipy.linalg  # noqa: F401 (brings an OpenBLAS of its own beside NumPy's)
    from threadpoolctl import threadpool_info

    return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]


def call_back_and_hang(_device: str, address: str) -> None:
    """Tells its process id, then waits for ever."""
    with Client(address) as connection:
        connection.send(os.getpid())
        threading.Event().wait()


def hang_in_c_code(_device: str, address: str) -> None:
    with Client(address) as connection:
        connection.send(os.getpid())
    # Blocked in the kernel, interrupted by nothing Python handles.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def kill_self(_device: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def exit_self(_device: str) -> None:
    os._exit(3)


def raise_ours(_device: str) -> None:
    try:
        int("Doe^John")
    except ValueError as exc:
        raise GeometryMismatch("centroid is off") from exc


def raise_listed_faults(_device: str) -> None:
    raise ConfigError(["first", "second"])


def raise_foreign(_device: str) -> None:
    raise KeyError("Doe^John")


def raise_memory_error(_device: str) -> None:
    raise MemoryError


def loaded_modules(_device: str) -> list[str]:
    return sorted({name.partition(".")[0] for name in sys.modules})


@pytest.fixture
def children() -> Iterator[InferenceChildren]:
    with InferenceChildren([CPU]) as pool:
        yield pool


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    with Listener(str(tmp_path / "socket")) as listening:
        yield listening


def hanging_pid(listener: Listener) -> tuple[int, Connection]:
    """The child that called back; it hangs as long as the connection is held."""
    connection = listener.accept()
    return connection.recv(), connection


def test_no_thread_of_a_child_spins_while_it_waits_for_a_product() -> None:
    (cpu,) = compute_devices(["cpu"], environ={}, cuda_free=())
    with InferenceChildren([cpu]) as children:
        threads = children.submit(blas_threads, (), timeout_s=LONG_S).result()
    assert set(threads) == {1}
    (told,) = compute_devices(["cpu"], environ={"OPENBLAS_NUM_THREADS": "3"}, cuda_free=())
    assert told.environment["OPENBLAS_NUM_THREADS"] == "3"


def test_child_is_kept_warm_between_jobs(children: InferenceChildren) -> None:
    first = children.submit(pid_of, (), timeout_s=LONG_S).result(LONG_S)
    second = children.submit(pid_of, (), timeout_s=LONG_S).result(LONG_S)
    assert first == second != os.getpid()


def test_child_is_told_its_device_threads_and_priority(children: InferenceChildren) -> None:
    device, threads, niceness = children.submit(device_and_threads, (), timeout_s=LONG_S).result(
        LONG_S
    )
    assert (device, threads) == ("cpu", "1")
    assert niceness == min(19, os.nice(0) + 5)


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="only Linux has it")
def test_when_memory_ends_the_kernel_takes_the_child_before_the_node(
    children: InferenceChildren,
) -> None:
    weight = children.submit(weight_when_memory_ends, (), timeout_s=LONG_S).result()
    assert weight == 500
    assert weight > weight_when_memory_ends("")


def test_hang_is_killed_at_the_limit_and_the_next_job_runs(
    children: InferenceChildren, listener: Listener
) -> None:
    job = children.submit(call_back_and_hang, (listener.address,), timeout_s=0.2)
    pid, connection = hanging_pid(listener)
    with connection, pytest.raises(TimedOut, match=r"0\.2 s"):
        job.result(LONG_S)
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=10)
    assert not psutil.pid_exists(pid)
    assert children.submit(pid_of, (), timeout_s=LONG_S).result(LONG_S) != pid


def wait_for_file(_device: str, path: Path) -> None:
    while not path.exists():
        threading.Event().wait(0.05)


def test_loading_does_not_count_as_the_run_s_time(
    tmp_path: Path, children: InferenceChildren
) -> None:
    loading = Loading(function=wait_for_file, args=(tmp_path / "loaded",), limit_s=LONG_S)
    assert children.submit(pid_of, (), timeout_s=LONG_S).result(LONG_S)
    job = children.submit(pid_of, (), timeout_s=3.0, first=loading)
    with pytest.raises(TimeoutError):
        job.result(timeout=4.0)
    (tmp_path / "loaded").touch()
    pid = job.result(LONG_S)
    again = Loading(function=pid_of, args=(), limit_s=LONG_S)
    assert children.submit(pid_of, (), timeout_s=LONG_S, first=again).result(LONG_S) == pid


def test_loading_that_takes_too_long_is_told_as_such_and_may_be_tried_again(
    tmp_path: Path, children: InferenceChildren
) -> None:
    loading = Loading(function=wait_for_file, args=(tmp_path / "loaded",), limit_s=0.2)
    job = children.submit(pid_of, (), timeout_s=LONG_S, first=loading)
    with pytest.raises(LoadingTimedOut, match=r"not loaded after 0\.2 s .*load_limit_s") as caught:
        job.result(LONG_S)
    assert caught.value.retryable
    (tmp_path / "loaded").touch()
    patient = Loading(function=wait_for_file, args=(tmp_path / "loaded",), limit_s=LONG_S)
    assert children.submit(pid_of, (), timeout_s=LONG_S, first=patient).result(LONG_S)


def test_what_loading_raises_is_the_answer_and_the_call_is_not_begun(
    tmp_path: Path, children: InferenceChildren
) -> None:
    loading = Loading(function=raise_ours, args=(), limit_s=LONG_S)
    job = children.submit(touch, (tmp_path / "begun",), timeout_s=LONG_S, first=loading)
    with pytest.raises(GeometryMismatch, match="centroid is off"):
        job.result(LONG_S)
    assert children.submit(pid_of, (), timeout_s=LONG_S).result(LONG_S)
    assert not (tmp_path / "begun").exists()


def touch(_device: str, path: Path) -> None:
    path.touch()


def test_cancelling_while_it_loads_ends_the_job(
    tmp_path: Path, children: InferenceChildren, listener: Listener
) -> None:
    loading = Loading(function=call_back_and_hang, args=(listener.address,), limit_s=LONG_S)
    job = children.submit(touch, (tmp_path / "begun",), timeout_s=LONG_S, first=loading)
    with listener.accept() as connection:
        connection.recv()
        assert job.cancel()
    assert children.submit(pid_of, (), timeout_s=LONG_S).result(LONG_S)
    assert not (tmp_path / "begun").exists()


def loaded_ahead(device: str, root: Path) -> bool:
    from dicomnode.steps.inference import load_in_child

    load_in_child(device, AlgorithmSource(root=root), True)
    return {"torch", "monai"} <= set(sys.modules)


def test_loading_a_bundle_brings_torch_and_finds_broken_weights(
    tmp_path: Path, children: InferenceChildren
) -> None:
    works = write_bundle(tmp_path, BundleRecipe(name="works"))
    assert children.submit(loaded_ahead, (works,), timeout_s=LONG_S).result(LONG_S)
    broken = BundleRecipe(name="broken", behaviour=Behaviour.WRONG_DIGEST)
    job = children.submit(loaded_ahead, (write_bundle(tmp_path, broken),), timeout_s=LONG_S)
    with pytest.raises(BundleInvalid):
        job.result(LONG_S)


def test_cancelling_kills_a_job_that_runs(children: InferenceChildren, listener: Listener) -> None:
    job = children.submit(hang_in_c_code, (listener.address,), timeout_s=LONG_S)
    pid, connection = hanging_pid(listener)
    with connection:
        process = psutil.Process(pid)
        assert job.cancel()
        process.wait(10)
    with pytest.raises(CancelledError):
        job.result(LONG_S)


def test_cancelled_asyncio_task_kills_its_job(
    children: InferenceChildren, listener: Listener
) -> None:
    async def run() -> psutil.Process:
        job = children.submit(call_back_and_hang, (listener.address,), timeout_s=LONG_S)
        waiting = asyncio.ensure_future(asyncio.wrap_future(job))
        pid, connection = await asyncio.to_thread(hanging_pid, listener)
        with connection:
            process = psutil.Process(pid)
            waiting.cancel()
            await asyncio.to_thread(process.wait, 10)
        return process

    assert not asyncio.run(run()).is_running()


_NODE = """
import sys
import test_pipeline_child as t
with t.InferenceChildren([t.CPU]) as children:
    children.submit(t.call_back_and_hang, (sys.argv[1],), timeout_s=60).result()
"""


def test_child_does_not_outlive_a_node_that_was_killed(listener: Listener) -> None:
    node = subprocess.Popen(
        [sys.executable, "-c", _NODE, listener.address],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    pid, connection = hanging_pid(listener)
    with connection:
        child = psutil.Process(pid)
        node.kill()
        node.wait(10)
        child.wait(10)
    assert not child.is_running()


def test_kill_of_the_child_fails_only_its_job(
    children: InferenceChildren, listener: Listener
) -> None:
    job = children.submit(call_back_and_hang, (listener.address,), timeout_s=LONG_S)
    waiting = children.submit(pid_of, (), timeout_s=LONG_S)
    pid, connection = hanging_pid(listener)
    with connection:
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ChildDied, match="signal 9"):
            job.result(LONG_S)
    assert waiting.result(LONG_S) != pid


def test_kill_of_an_idle_child_is_not_noticed_by_the_next_job(
    children: InferenceChildren,
) -> None:
    pid = children.submit(pid_of, (), timeout_s=LONG_S).result(LONG_S)
    process = psutil.Process(pid)
    process.kill()
    assert children.submit(pid_of, (), timeout_s=LONG_S).result(LONG_S) != pid


def test_signals_and_exit_codes_are_told_apart(children: InferenceChildren) -> None:
    with pytest.raises(ChildDied, match="signal 9"):
        children.submit(kill_self, (), timeout_s=LONG_S).result(LONG_S)
    with pytest.raises(ChildDied, match="exit code 3"):
        children.submit(exit_self, (), timeout_s=LONG_S).result(LONG_S)
    assert children.submit(pid_of, (), timeout_s=LONG_S).result(LONG_S)


def test_our_errors_arrive_intact_and_without_their_causes(children: InferenceChildren) -> None:
    with pytest.raises(GeometryMismatch, match="centroid is off") as caught:
        children.submit(raise_ours, (), timeout_s=LONG_S).result(LONG_S)
    assert "Doe" not in str(caught.value.__cause__)
    with pytest.raises(ConfigError) as listed:
        children.submit(raise_listed_faults, (), timeout_s=LONG_S).result(LONG_S)
    assert listed.value.faults == ("first", "second")
    assert str(listed.value) == "first\nsecond"


def test_other_errors_say_what_and_where_but_not_which_value(children: InferenceChildren) -> None:
    with pytest.raises(AlgorithmError, match=r"KeyError at test_pipeline_child.py:\d+") as caught:
        children.submit(raise_foreign, (), timeout_s=LONG_S).result(LONG_S)
    assert "Doe" not in str(caught.value)
    with pytest.raises(OutOfMemory):
        children.submit(raise_memory_error, (), timeout_s=LONG_S).result(LONG_S)


def test_child_loads_neither_torch_nor_the_engine_by_itself(children: InferenceChildren) -> None:
    loaded = children.submit(loaded_modules, (), timeout_s=LONG_S).result(LONG_S)
    assert not {"torch", "monai", "dbos", "sqlalchemy"} & set(loaded)


def test_closing_cancels_what_runs_and_what_waits(
    listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    children = InferenceChildren([CPU])
    job = children.submit(call_back_and_hang, (listener.address,), timeout_s=LONG_S)
    waiting = children.submit(pid_of, (), timeout_s=LONG_S)
    pid, connection = hanging_pid(listener)
    with connection:
        children.close()
    assert job.cancelled()
    assert waiting.cancelled()
    assert not psutil.pid_exists(pid)
    assert not caplog.records, "each future was told once"
    with pytest.raises(RuntimeError, match="closed"):
        children.submit(pid_of, (), timeout_s=LONG_S)


def test_each_device_has_a_child_of_its_own(listener: Listener) -> None:
    other = ComputeDevice(name="cpu-2", torch_name="cpu", environment={})
    with InferenceChildren([CPU, other]) as children:
        hanging = children.submit(call_back_and_hang, (listener.address,), timeout_s=LONG_S)
        pid, connection = hanging_pid(listener)
        with connection:
            assert children.submit(pid_of, (), timeout_s=LONG_S).result(LONG_S) != pid
            assert not hanging.done()


def run_bundle(device: str, root: Path, image: Path) -> int:
    context = RunContext(device=device, scratch=root)
    return len(load_bundle(root).run({"image": read_series([image])}, context))


def test_bundles_that_hang_or_die_cost_one_job_each(
    tmp_path: Path, children: InferenceChildren
) -> None:
    image = tmp_path / "image.dcm"
    geometry = SeriesGeometry(rows=4, columns=4, slices=1)
    ct_series(StudyIdentity(seed="child"), geometry)[0].save_as(image, enforce_file_format=True)
    hangs, dies = (
        write_bundle(tmp_path, BundleRecipe(name=behaviour.value, behaviour=behaviour))
        for behaviour in (Behaviour.HANGS, Behaviour.DIES)
    )
    with pytest.raises(TimedOut):
        children.submit(run_bundle, (hangs, image), timeout_s=1.0).result(LONG_S)
    with pytest.raises(ChildDied, match="signal 9"):
        children.submit(run_bundle, (dies, image), timeout_s=LONG_S).result(LONG_S)
    assert children.submit(pid_of, (), timeout_s=LONG_S).result(LONG_S)


def test_without_a_driver_no_child_is_started_to_ask_for_cuda_devices() -> None:
    if any(Path(sign).exists() for sign in ("/proc/driver/nvidia/version", "/dev/dxg")):
        pytest.skip("this machine has a CUDA driver")
    assert probe_cuda_devices() == ()
