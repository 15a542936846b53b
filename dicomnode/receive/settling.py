"""What an association could not write down at its end, tried again until it can.

An association that stays open in the index keeps every study it brought images of from being
closed before the hard limit, so it must not wait for the receiver's next start.
"""

import threading
from collections.abc import Callable

AGAIN_AFTER_S = 5.0

Settle = Callable[[], bool]
"""Does what is left to do; False: still not possible. Does not raise, may be called again."""


class Unsettled:
    """Keeps what is unsettled and tries it in a thread of its own, while there is any."""

    def __init__(self, again_after_s: float = AGAIN_AFTER_S) -> None:
        self._again_after_s = again_after_s
        self._changed = threading.Condition()
        self._left: list[Settle] = []
        self._is_trying = False

    def add(self, settle: Settle) -> None:
        """Have `settle`, which has just failed, called every few seconds until it succeeds."""
        with self._changed:
            self._left.append(settle)
            if self._is_trying:
                return
            self._is_trying = True
        threading.Thread(target=self._try_until_none, name="settling", daemon=True).start()

    def wait_until_none(self, timeout_s: float) -> bool:
        """Wait until everything is settled; False: it was not by then."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._left, timeout_s)

    def _try_until_none(self) -> None:
        pause = threading.Event()
        while self._has_any():
            pause.wait(self._again_after_s)
            with self._changed:
                waiting = list(self._left)
            for settle in waiting:
                if settle():
                    with self._changed:
                        self._left.remove(settle)
                        self._changed.notify_all()

    def _has_any(self) -> bool:
        with self._changed:
            self._is_trying = bool(self._left)
            return self._is_trying
