"""Who has been silent for how long, by the watcher's own clock."""

import time
from collections.abc import Callable, Iterable, Iterator

from dicomnode.store.leases import Heartbeat

MOST_OF_ONE_GAP = 0.5
"""Of the longest silence: what the time between two looks counts for at most."""


class Silence:
    """Remembers when each heartbeat was seen to change.

    Only changes are compared, never moments of two machines, so clocks may differ and jump. Only
    time in which the watcher looked counts: while the index is away nobody can beat, and whoever
    looks first afterwards must not take the others for dead.
    """

    def __init__(
        self, longest_s: float, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._longest_s = longest_s
        self._monotonic = monotonic
        self._seen: dict[str, tuple[Heartbeat, float]] = {}
        self._last_look = monotonic()
        self._listened_s = 0.0

    def of(self, heartbeats: Iterable[Heartbeat]) -> Iterator[tuple[Heartbeat, float]]:
        """Those unchanged for too long, each with the seconds."""
        now = self._listened()
        seen = {}
        for beat in heartbeats:
            before, since = self._seen.get(beat.lease.worker, (None, now))
            seen[beat.lease.worker] = beat, since if beat == before else now
        self._seen = seen
        for beat, since in seen.values():
            if now - since > self._longest_s:
                yield beat, now - since

    def _listened(self) -> float:
        now = self._monotonic()
        gap = now - self._last_look
        self._last_look = now
        self._listened_s += min(gap, MOST_OF_ONE_GAP * self._longest_s)
        return self._listened_s
