"""Waiting instead of looking every millisecond."""

import contextlib
import os
import queue
import threading
from collections.abc import Callable
from typing import Any

LONGEST_NAP_S = 0.5
"""How late a timer may be noticed."""


class Doorbell:
    """Wakes a thread that waits in `poll`."""

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        os.set_blocking(self._write_fd, False)
        self._lock = threading.Lock()
        self._is_closed = False

    @property
    def fd(self) -> int:
        """Readable once rung."""
        return self._read_fd

    def ring(self) -> None:
        """Wake the waiting thread, now or when it next waits."""
        # Under the lock, for a closed descriptor's number may already belong to a file.
        with self._lock:
            if not self._is_closed:
                # A full pipe has been rung often enough.
                with contextlib.suppress(BlockingIOError):
                    os.write(self._write_fd, b"!")

    def silence(self) -> None:
        """Be ready for the next ring."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._read_fd, 4096)

    def close(self) -> None:
        """Nobody waits any more; ringing is harmless."""
        with self._lock:
            self._is_closed = True
            os.close(self._read_fd)
            os.close(self._write_fd)


class RingingQueue(queue.Queue[Any]):
    """A queue that tells its reader when something was put in."""

    def __init__(self, ring: Callable[[], None]) -> None:
        super().__init__()
        self._ring = ring

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put, then ring."""
        super().put(item, block, timeout)
        self._ring()


class Checkpoint(threading.Event):
    """Holds the association's loop until there is something to look at.

    The stock loop passes its checkpoint once per turn and looks at its queues then; it would do so
    every millisecond.
    """

    def __init__(self) -> None:
        super().__init__()
        self._news = threading.Event()

    def ring(self) -> None:
        """There is something to look at."""
        self._news.set()

    def set(self) -> None:
        """Open the checkpoint and let a waiting loop look."""
        super().set()
        self._news.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Return when there is news, or after the longest nap, and the checkpoint is open."""
        # Not for ever: the loop also looks at its idle timer.
        self._news.wait(LONGEST_NAP_S)
        self._news.clear()
        return super().wait(timeout)
