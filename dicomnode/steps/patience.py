"""What the disk does not give for now, looked at again and again, at growing intervals."""

from datetime import datetime, timedelta

FIRST = timedelta(seconds=5)
LONGEST = timedelta(minutes=10)
MOST = 500
"""At once; beyond it the disk is gone as a whole, and what is due is tried at every turn."""


class Patience:
    """When each of some things, known by name, is to be tried again.

    It has no end: a file that was acknowledged is lost only when a person says so. Kept in memory;
    a restart tries everything at once.
    """

    def __init__(self) -> None:
        self._waits: dict[str, tuple[datetime, timedelta]] = {}

    def is_new(self, name: str, now: datetime) -> bool:
        """Note a failure; True if it is the first of this name, which is worth telling."""
        known = self._waits.get(name)
        wait = min(known[1] * 2, LONGEST) if known else FIRST
        if known is None and len(self._waits) >= MOST:
            self._drop_old(now)
        self._waits[name] = (now + wait, wait)
        return known is None

    def waiting(self, now: datetime) -> tuple[str, ...]:
        """Names that are not due yet, at most `MOST`."""
        # A clock that was set back must not make anything wait longer than it would.
        not_due = (name for name, (at, _) in self._waits.items() if now < at <= now + LONGEST)
        return tuple(not_due)[:MOST]

    def _drop_old(self, now: datetime) -> None:
        """Forget what was due long ago: it was read meanwhile, or is gone."""
        kept = {n: one for n, one in self._waits.items() if one[0] > now - 2 * LONGEST}
        self._waits = kept
