"""Who has been silent for how long, by the watcher's own clock."""

import time
from collections.abc import Callable, Iterable, Iterator

from dicomnode.store.leases import Heartbeat


class Silence:
    """Remembers when each heartbeat was seen to change.

    Only changes are compared, never moments of two machines, so clocks may differ and jump.
    """

    def __init__(
        self, longest_s: float, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._longest_s = longest_s
        self._monotonic = monotonic
        self._seen: dict[str, tuple[Heartbeat, float]] = {}

    def of(self, heartbeats: Iterable[Heartbeat]) -> Iterator[tuple[Heartbeat, float]]:
        """Those unchanged for too long, each with the seconds."""
        now = self._monotonic()
        seen = {}
        for beat in heartbeats:
            before, since = self._seen.get(beat.lease.worker, (None, now))
            seen[beat.lease.worker] = beat, since if beat == before else now
        self._seen = seen
        for beat, since in seen.values():
            if now - since > self._longest_s:
                yield beat, now - since
