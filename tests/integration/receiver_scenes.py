"""A receiver for tests, with its index in memory."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dicomnode.domain.events import EventName
from dicomnode.receive.receiver import Receiver, start_receiver
from dicomnode.settings import ReceiveSettings
from dicomnode.testing.receiving import EventList, MemoryInstanceIndex


class Node:
    """A receiver with an index in memory."""

    def __init__(
        self, folder: Path, receiver: Receiver, events: EventList, index: MemoryInstanceIndex
    ) -> None:
        self.folder, self.receiver, self.events, self.index = folder, receiver, events, index

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.receiver.port

    def files(self) -> list[str]:
        """For each file, in which part of the data folder it is."""
        return sorted(
            path.relative_to(self.folder).parts[0]
            for path in self.folder.rglob("*")
            if path.is_file() and path.name != ".lock"
        )

    def outcome(self) -> str:
        """How the only association ended; waits for it."""
        (closed,) = self.events.wait_for(EventName.ASSOCIATION_CLOSED)
        return str(closed.facts["how"])


@contextmanager
def running(
    folder: Path, settings: ReceiveSettings | None = None, **options: Any
) -> Iterator[Node]:
    events, index = EventList(), MemoryInstanceIndex(folder)
    with start_receiver(
        settings or ReceiveSettings(reserve_mb=0),
        ae_title="DICOMNODE",
        data_dir=folder,
        index=index,
        clock=lambda: datetime.now(UTC),
        on_event=events,
        port=0,
        **options,
    ) as receiver:
        yield Node(folder, receiver, events, index)


def until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Return once `condition` holds, of what another thread or process does without telling."""
    pause = threading.Event()
    for _ in range(int(timeout_s * 1000)):
        if condition():
            return
        pause.wait(0.001)
    raise TimeoutError
