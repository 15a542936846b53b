"""Group commit: instances of many associations that are ready at once share one transaction."""

import threading
from collections.abc import Callable, Sequence

from dicomnode.domain.errors import DicomNodeError, StoreError
from dicomnode.domain.instances import Landing, ReceivedInstance

Keep = Callable[[Sequence[ReceivedInstance]], Sequence[Landing]]


class _Waiting:
    """One instance in the queue, later its verdict."""

    __slots__ = ("error", "instance", "landing")

    def __init__(self, instance: ReceivedInstance) -> None:
        self.instance = instance
        self.landing: Landing | None = None
        self.error: DicomNodeError | None = None

    @property
    def is_decided(self) -> bool:
        return self.landing is not None or self.error is not None


class GroupCommit:
    """Lets the first thread that waits commit for all that wait with it.

    Leader and followers instead of a writer thread: one association alone commits in its own thread
    at once, without a hand-over; many share the flush of the log, which is what a slow disk makes
    expensive.
    """

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._changed = threading.Condition()
        self._queue: list[_Waiting] = []
        self._someone_leads = False

    def keep(self, instance: ReceivedInstance) -> Landing:
        """Return once the row of `instance` is committed.

        Raises:
            StoreError: this batch was not committed, or it is unknown whether it was.
        """
        mine = _Waiting(instance)
        with self._changed:
            self._queue.append(mine)
            while self._someone_leads and not mine.is_decided:
                self._changed.wait()
            if not mine.is_decided:
                self._someone_leads = True
        if not mine.is_decided:
            self._lead()
        if mine.error is not None:
            raise mine.error
        assert mine.landing is not None
        return mine.landing

    def _lead(self) -> None:
        """Commit one batch: everything queued up to now, the leader's own instance among it."""
        with self._changed:
            batch, self._queue = self._queue, []
        try:
            self._commit(batch)
        finally:
            with self._changed:
                self._someone_leads = False
                self._changed.notify_all()

    def _commit(self, batch: Sequence[_Waiting]) -> None:
        try:
            landings = self._keep([waiting.instance for waiting in batch])
            for waiting, landing in zip(batch, landings, strict=True):
                waiting.landing = landing
        except DicomNodeError as exc:
            for waiting in batch:
                waiting.error = exc
        finally:
            # An error that is none of ours goes up through the leader; nobody may wait for ever.
            for waiting in batch:
                if not waiting.is_decided:
                    waiting.error = StoreError("the commit ended without an answer")
