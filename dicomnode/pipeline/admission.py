"""Which device a run starts on, and when: only where its memory fits.

A device has a budget, of which each run holds its predicted need until it ends. A run of which
nothing is known has a device for itself; so has one that fits no device, which is cut or computed
on the CPU. Who came first is served first: a device that somebody waits for and could use is not
given to who came later, so that a large run does not starve behind small ones.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from dicomnode.domain.device_memory import in_gb
from dicomnode.domain.errors import Interrupted, NotWanted

_LOOK_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A run's place."""

    device: str
    budget_bytes: int | None
    """All that the device has for runs; None: nobody counts it."""
    is_too_small: bool
    """The run was predicted to take more than that."""


@dataclass(slots=True)
class _Device:
    name: str
    budget: int | None
    used: int = 0
    runs: int = 0
    is_taken: bool = False
    """One run has all of it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Turn:
    need: int | None


class Admission:
    """The devices of one process. Two processes on one device share it by smaller budgets each."""

    def __init__(self, budgets: Mapping[str, int | None], *, runs_per_device: int = 1) -> None:
        self._devices = [_Device(name, budget) for name, budget in budgets.items()]
        self._most = runs_per_device
        self._changed = threading.Condition()
        self._turns: list[_Turn] = []
        self._is_closed = False

    @property
    def on_cuda(self) -> bool:
        """True if runs are on CUDA devices."""
        return any(one.name.startswith("cuda") for one in self._devices)

    @contextmanager
    def seat(self, need: int | None, waits: Callable[[str], bool]) -> Iterator[Seat]:
        """A place for a run that needs so many bytes; None: not known.

        `waits` is told why it has none yet, in words, whenever they change; False: it gives up.

        Raises:
            NotWanted: it gave up.
            Interrupted: the process ends.
        """
        turn = _Turn(need)
        with self._changed:
            self._turns.append(turn)
            try:
                device = self._wait(turn, waits)
            finally:
                self._turns.remove(turn)
                self._changed.notify_all()
            alone = self._is_alone(need, device)
            device.runs += 1
            device.is_taken = alone
            device.used += 0 if alone or need is None else need
        too_small = need is not None and device.budget is not None and need > device.budget
        try:
            yield Seat(device=device.name, budget_bytes=device.budget, is_too_small=too_small)
        finally:
            with self._changed:
                device.runs -= 1
                device.is_taken = False if alone else device.is_taken
                device.used -= 0 if alone or need is None else need
                self._changed.notify_all()

    def close(self) -> None:
        """Whoever waits gives up."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _wait(self, turn: _Turn, waits: Callable[[str], bool]) -> _Device:
        said = ""
        while True:
            if self._is_closed:
                raise Interrupted("the process ends while a run waits for a device")
            found = self._found(turn)
            if found is not None:
                return found
            words = self._words(turn)
            # Nobody else may be kept from a device while the index is written.
            self._changed.release()
            try:
                goes_on = waits(words) if words != said else waits("")
            finally:
                self._changed.acquire()
            if not goes_on:
                raise NotWanted("it is not to be run any more")
            said = words
            if self._found(turn) is None:
                self._changed.wait(_LOOK_S)

    def _found(self, turn: _Turn) -> _Device | None:
        ahead = self._turns[: self._turns.index(turn)]
        free = [
            device
            for device in self._usable(turn.need)
            if self._has_room(turn.need, device)
            and not any(device in self._usable(other.need) for other in ahead)
        ]
        return min(free, key=lambda device: (device.runs, device.used), default=None)

    def _usable(self, need: int | None) -> list[_Device]:
        """Where a run could start if nothing else ran."""
        fitting = [one for one in self._devices if _fits(need, one.budget)]
        if fitting:
            return fitting
        return [max(self._devices, key=lambda one: one.budget or 0)]

    def _has_room(self, need: int | None, device: _Device) -> bool:
        if device.is_taken or device.runs >= self._most:
            return False
        if device.budget is None:
            return True
        if need is None or need > device.budget:
            return device.runs == 0
        return device.used + need <= device.budget

    def _is_alone(self, need: int | None, device: _Device) -> bool:
        return device.budget is not None and (need is None or need > device.budget)

    def _words(self, turn: _Turn) -> str:
        """Why it waits."""
        devices = self._usable(turn.need)
        behind = self._turns.index(turn)
        line = f", {behind} before it" if behind else ""
        if turn.need is None:
            return f"waits for a device of its own: what it takes is not known yet{line}"
        free = ", ".join(_state(one) for one in devices)
        return f"waits for memory: needs {in_gb(turn.need)}; {free}{line}"


def _state(device: _Device) -> str:
    """What others have of it."""
    if device.is_taken or device.budget is None:
        return f"{device.name} is taken"
    free = f"{in_gb(device.budget - device.used)} of {in_gb(device.budget)}"
    return f"{device.name} has {free} free and {device.runs} running"


def _fits(need: int | None, budget: int | None) -> bool:
    return need is None or budget is None or need <= budget
