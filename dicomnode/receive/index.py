"""What the receiver needs of the index."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from dicomnode.domain.instances import Association, Landing, ReceivedInstance
from dicomnode.domain.receiving import AssociationOutcome


class InstanceIndex(Protocol):
    """Rows of associations and instances, durable when a call returns.

    Implemented by `store.landing.SqlInstanceIndex` and, in memory, by
    `testing.receiving.MemoryInstanceIndex`. Every method may be called twice with the same
    arguments, and from several threads at once. All raise `StoreUnavailable` or `StoreError`.
    """

    def open_association(self, association: Association) -> None:
        """Write down an association before its first instance is stored."""
        ...

    def close_association(
        self, association_id: str, how: AssociationOutcome, *, at: datetime
    ) -> None:
        """Write down how it ended. The first call counts."""
        ...

    def keep(self, batch: Sequence[ReceivedInstance]) -> Sequence[Landing]:
        """Write down a batch in one transaction; say what each became, in order.

        `KEPT`: this file is now the instance. That is also the answer when it already was, and when
        the file kept earlier is no longer there. `DUPLICATE`: the same bytes are already on disk,
        as instance or in quarantine. `CONFLICT`: another file has the UID; the row says this one
        lies at `domain.receiving.quarantine_path`, where the caller must move it.
        """
        ...

    def left_open(self, is_here: Callable[[Association], bool]) -> Sequence[Association]:
        """Associations that were never closed, as after a crash, and are this receiver's.

        Those that it opened under the name it has now, and those that `is_here` recognises by
        their files: since then the AE title, or the name of the host, may have been changed.
        """
        ...

    def kept_paths(self, association_id: str) -> frozenset[Path]:
        """Absolute paths of the instances an association brought."""
        ...
