"""Killable execution: warm child processes of each device, for everything that loads torch.

A hang, a crash in CUDA or the kernel's out-of-memory killer costs one job: the child is killed or
gone, its job fails with an error that says so, and the next job gets a new child. Imports no DBOS
and no torch; the functions submitted must live in modules that import no DBOS either, because the
child imports them.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_tb
from types import TracebackType
from typing import Any, Self, TypeVar

from pebble import ProcessExpired, ProcessPool

from dicomnode.domain.disk import disk_fault, is_disk_fault
from dicomnode.domain.errors import (
    AlgorithmError,
    ChildDied,
    DicomNodeError,
    LoadingTimedOut,
    OutOfMemory,
    TimedOut,
)
from dicomnode.pipeline.devices import ComputeDevice, driver_is_present, free_cuda_memory
from dicomnode.pipeline.heap import give_back_memory, keep_freed_memory

R = TypeVar("R")

_PROBE_LIMIT_S = 120.0
_KILLED_FIRST = 500
"""Of 1000: as if it took half of the machine's memory besides its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """What a child does before a call, within a limit of its own."""

    function: Callable[..., object]
    """Called as the call itself is; what it returns is dropped."""
    args: Sequence[object]
    limit_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One function that a child runs."""

    args: tuple[object, ...]
    """The function, torch's word for the device, its arguments."""
    limit_s: float
    is_loading: bool = False

    def too_slow(self) -> DicomNodeError:
        """The error of a call that was killed at its limit."""
        if self.is_loading:
            return LoadingTimedOut(
                f"the model was not loaded after {self.limit_s:g} s ([flow] load_limit_s): "
                "the machine is busy or its disk is slow; the run had not begun"
            )
        return TimedOut(f"killed after {self.limit_s:g} s")


class InferenceChildren:
    """Child processes of each device, started at their first job and kept warm.

    `per_device` calls can run on a device at once, each in a child of its own. `submit` may be
    called from any thread. Close it, or use it in a `with` block.
    """

    def __init__(
        self, devices: Sequence[ComputeDevice], *, niceness: int = 5, per_device: int = 1
    ) -> None:
        if not devices:
            raise ValueError("no device to compute on")
        self._children = [_Child(device, niceness) for device in devices for _ in range(per_device)]
        self.devices = tuple(device.name for device in devices)

    def submit(
        self,
        function: Callable[..., R],
        args: Sequence[object],
        *,
        timeout_s: float,
        device: str = "",
        first: Loading | None = None,
    ) -> "Future[R]":
        """Call `function(device, *args)` in the child that has least to do.

        With `device`, the name of one, among the children of that device; the function is given
        torch's word for it. Function, arguments and result are pickled: small
        values and paths, not pixels. The limit counts from the start of the call, not from now.
        `first` is done in the same child before, and does not count: a process that has just begun
        may take minutes to load torch and weights on a busy machine.
        Cancelling the future kills a call that runs.

        The future raises:
            LoadingTimedOut: the limit of `first` passed; the child was killed.
            TimedOut: the limit passed; the child was killed.
            ChildDied: the child ended without an answer.
            OutOfMemory: the call ran out of memory.
            DicomNodeError: whatever the call raised of our own.
            AlgorithmError: the call raised something else; the message says what and where.
        """
        able = [child for child in self._children if device in {"", child.device}]
        child = min(able, key=lambda candidate: candidate.pending)
        return child.submit(function, args, timeout_s, first)

    def cancel(self) -> None:
        """Kill what runs and drop what waits; the next call gets a new child."""
        for child in self._children:
            child.cancel()

    def close(self) -> None:
        """Kill every child; jobs that run or wait are cancelled."""
        for child in self._children:
            child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def probe_cuda_devices() -> tuple[int, ...]:
    """Free bytes of each CUDA device; asks torch in a child, if there is a driver at all.

    Raises:
        TimedOut, ChildDied: CUDA does not answer.
    """
    if not driver_is_present():
        return ()
    probe = ComputeDevice(name="probe", torch_name="cpu", environment={})
    with InferenceChildren([probe]) as children:
        return children.submit(_free_cuda, (), timeout_s=_PROBE_LIMIT_S).result()


def _free_cuda(_device: str) -> tuple[int, ...]:
    return free_cuda_memory()


class _Answer(Future[R]):
    """The future handed out; cancelling it reaches the child."""

    def __init__(self) -> None:
        super().__init__()
        self.call: Future[R] | None = None
        self._cancelling = threading.RLock()

    def cancel(self) -> bool:
        # The call, once cancelled, cancels its answer; a future bears being told so only once.
        with self._cancelling:
            if self.cancelled():
                return True
            cancelled = super().cancel()
            if cancelled:
                self.set_running_or_notify_cancel()
        if cancelled and self.call is not None:
            self.call.cancel()
        return cancelled


class _Child:
    """One device's pool of one process, replaced when it breaks."""

    def __init__(self, device: ComputeDevice, niceness: int) -> None:
        self._device = device
        self._niceness = niceness
        self._lock = threading.Lock()
        self._pool: ProcessPool | None = None
        self._closed = False
        self._answers: set[Future[Any]] = set()

    @property
    def device(self) -> str:
        """Name of its device."""
        return self._device.name

    @property
    def pending(self) -> int:
        """Jobs that run or wait here."""
        return len(self._answers)

    def submit(
        self,
        function: Callable[..., R],
        args: Sequence[object],
        timeout_s: float,
        first: Loading | None,
    ) -> "Future[R]":
        answer: _Answer[R] = _Answer()
        self._answers.add(answer)
        answer.add_done_callback(self._answers.discard)
        torch_name = self._device.torch_name
        calls = [_Call(args=(function, torch_name, *args), limit_s=timeout_s)]
        if first is not None:
            load = (first.function, torch_name, *first.args)
            calls.insert(0, _Call(args=load, limit_s=first.limit_s, is_loading=True))
        self._schedule(answer, calls, 0, again=True)
        return answer

    def cancel(self) -> None:
        for answer in list(self._answers):
            answer.cancel()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        self.cancel()
        if pool is not None:
            pool.stop()
            pool.join()

    def _schedule(
        self, answer: _Answer[R], calls: Sequence[_Call], number: int, *, again: bool
    ) -> None:
        """`again`: whether calls of which no child has begun one may be given to a new child."""

        def finish(done: "Future[R]") -> None:
            if not (done.cancelled() or answer.cancelled() or self._closed):
                if again and isinstance(done.exception(), BrokenProcessPool):
                    self._schedule(answer, calls, 0, again=False)
                    return
                if done.exception() is None and number + 1 < len(calls):
                    self._schedule(answer, calls, number + 1, again=again)
                    return
            _hand_over(done, answer, calls[number])

        with self._lock:
            if self._closed:
                raise RuntimeError("the children have been closed")
            running: Future[R] = self._scheduled(calls[number])
        answer.call = running
        running.add_done_callback(finish)
        if answer.cancelled():
            running.cancel()

    def _scheduled(self, call: _Call) -> "Future[Any]":
        """A pool that broke (its idle child was killed) refuses, and is replaced by a new one."""
        if self._pool is not None:
            try:
                return self._pool.schedule(_run_in_child, args=call.args, timeout=call.limit_s)
            except RuntimeError:
                # Its threads may be the ones we run in: they cannot wait for themselves.
                threading.Thread(target=_bury, args=(self._pool,), daemon=True).start()
        self._pool = ProcessPool(
            max_workers=1,
            context=multiprocessing.get_context("spawn"),
            initializer=_begin_child,
            initargs=(dict(self._device.environment), self._niceness),
        )
        return self._pool.schedule(_run_in_child, args=call.args, timeout=call.limit_s)


def _bury(pool: ProcessPool) -> None:
    pool.stop()
    pool.join()


def _hand_over(done: "Future[R]", answer: _Answer[R], call: _Call) -> None:
    """Give the answer on in our words."""
    try:
        try:
            answer.set_result(done.result())
        except CancelledError:
            answer.cancel()
        except TimeoutError as exc:
            answer.set_exception(_because(call.too_slow(), exc))
        except ProcessExpired as exc:
            answer.set_exception(_because(ChildDied(_death(exc.exitcode)), exc))
        except BrokenProcessPool as exc:
            answer.set_exception(_because(ChildDied("the process could not be kept running"), exc))
        except Exception as exc:  # noqa: BLE001 (values that cannot be pickled; the child translated the rest)
            answer.set_exception(exc)
    except InvalidStateError:
        # Cancelled in between: nobody wants the answer.
        return


def _because(error: DicomNodeError, cause: BaseException) -> DicomNodeError:
    error.__cause__ = cause
    return error


def _death(exitcode: int | None) -> str:
    if exitcode == -signal.SIGKILL:
        return "the process was killed (signal 9; by the kernel if memory ran out)"
    if exitcode is not None and exitcode < 0:
        return f"the process died of signal {-exitcode}"
    return f"the process ended with exit code {exitcode}"


def _begin_child(environment: Mapping[str, str], niceness: int) -> None:
    """In the child, before anything else."""
    os.environ.update(environment)
    os.nice(niceness)
    _go_first_when_memory_ends()
    keep_freed_memory()
    # At once, also within C code that never comes back to Python.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _go_first_when_memory_ends() -> None:
    """The kernel weighs all processes: a run can be repeated, a receiver must not be chosen."""
    # Only Linux has it, and a container may not let us.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(_KILLED_FIRST), encoding="ascii")


def _end_with_parent() -> None:
    """A node that was killed must not leave a child behind that holds the device."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_in_child(function: Callable[..., R], device: str, *args: object) -> R:
    """In the child. Only our own errors leave it: others could need torch to be unpickled."""
    try:
        return function(device, *args)
    except DicomNodeError as exc:
        # The causes' texts would travel with the traceback, and may hold a header's values.
        raise exc.with_traceback(None) from None
    except MemoryError:
        raise OutOfMemory("the host ran out of memory") from None
    except Exception as exc:  # noqa: BLE001 (an algorithm raises anything; its place is told)
        if isinstance(exc, OSError) and is_disk_fault(exc):
            raise disk_fault(exc, "a file of the run") from None
        raise AlgorithmError(f"{type(exc).__name__} at {_origin(exc)}") from None
    finally:
        give_back_memory()


def _origin(exc: BaseException) -> str:
    frames = extract_tb(exc.__traceback__)
    last = frames[-1]
    return f"{Path(last.filename).name}:{last.lineno} in {last.name}"
