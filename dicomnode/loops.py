"""Small loops that keep the intake going, each in a thread of its own."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import structlog

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """Something to do again and again."""

    name: str
    action: Callable[[], bool]
    """True: there may be more to do at once."""
    every_s: float


class Loops:
    """Runs loops until stopped. A turn that fails is logged and comes again."""

    def __init__(self, loops: tuple[Loop, ...]) -> None:
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(loop,), name=loop.name, daemon=True)
            for loop in loops
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End every loop after its present turn."""
        self._stop.set()
        for thread in self._threads:
            # One that was never started, because the node could not start, cannot be joined.
            if thread.ident is not None:
                thread.join(timeout=30)

    def _run(self, loop: Loop) -> None:
        wait_s = 0.0
        while not self._stop.wait(wait_s):
            try:
                wait_s = 0.0 if loop.action() else loop.every_s
            except (
                Exception
            ) as exc:  # full disk, lost database, bug: nothing else takes up the work
                log.exception("loop.failed", loop=loop.name, error=type(exc).__name__)
                wait_s = max(loop.every_s, 1.0)
