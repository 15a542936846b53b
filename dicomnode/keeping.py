"""A process of its own for a part of the node, kept alive."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection

import structlog

from dicomnode.domain.errors import StoreError
from dicomnode.settings import Settings

log = structlog.get_logger()

# Long: a machine that boots, or is short of CPU or disk, starts slowly, and one that is stopped for
# it and started again is never ready. A process that dies says so at once.
START_TIMEOUT_S = 600.0

Entry = Callable[[Settings, Connection, int], None]
"""Sends its port once that is open, or a fault in words; ends on SIGTERM, or when the process
of the last argument is no longer its parent."""


class KeptProcess:
    """Keeps a process running; starts it again if it dies."""

    def __init__(self, settings: Settings, *, name: str, entry: Entry) -> None:
        self._settings = settings
        self._name = name
        self._entry = entry
        self._context = multiprocessing.get_context("spawn")
        self._process: multiprocessing.process.BaseProcess | None = None
        self._is_wanted = False
        self.port = 0

    def start(self) -> None:
        """Start it and wait until the port is open.

        Raises:
            StoreError: it could not start; the message says why.
        """
        self._is_wanted = True
        ours, theirs = self._context.Pipe()
        self._process = self._context.Process(
            target=self._entry,
            args=(self._settings, theirs, os.getpid()),
            name=f"dicomnode-{self._name}",
        )
        self._process.start()
        theirs.close()
        try:
            answer = ours.recv() if ours.poll(START_TIMEOUT_S) else "it did not start in time"
        except EOFError:
            answer = "it ended at once; see the log"
        if not isinstance(answer, int):
            self._end()
            raise StoreError(f"the {self._name} could not start: {answer}")
        self.port = answer

    def keep_alive(self) -> bool:
        """Start it again if it has died, or could not be started before.

        Raises:
            StoreError: it could not start this time either.
        """
        if self._process is not None and not self._process.is_alive():
            log.error("process.died", process=self._name, exitcode=self._process.exitcode)
            self._process = None
        if self._is_wanted and self._process is None:
            self.start()
        return False

    def stop(self) -> None:
        """Let it finish what is in hand, then end it."""
        self._is_wanted = False
        self._end()

    def _end(self) -> None:
        self.port = 0
        if self._process is not None:
            self._process.terminate()
            self._process.join(timeout=15)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()
            self._process = None
