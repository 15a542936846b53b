"""From a complete spool file to an instance that may be acknowledged.

flush the file -> rename it to its final place -> flush the folder -> group commit -> answer.
Whatever stands under `instances/` is therefore complete; only its row may be missing, which
`sweep` repairs.
"""

import threading
from datetime import datetime
from pathlib import Path

from dicomnode.domain.errors import StoreError
from dicomnode.domain.instances import Association, Landing, ReceivedInstance, Service
from dicomnode.domain.receiving import (
    INSTANCES,
    QUARANTINE,
    SPOOL,
    AssociationOutcome,
    association_folder,
    quarantine_path,
)
from dicomnode.receive.commit import GroupCommit
from dicomnode.receive.index import InstanceIndex
from dicomnode.receive.spool import Folder, disk_error, flush_folder


class LandingSite:
    """The folders of one data folder, and the index of what is in them."""

    def __init__(
        self,
        data_dir: Path,
        index: InstanceIndex,
        *,
        spool: str = SPOOL,
        service: Service = Service.STORE,
    ) -> None:
        self.data_dir = data_dir
        self.service = service
        """By which instances come to this site; the other one has a process of its own."""
        self.spool = data_dir / spool
        """Of this site alone: its start empties it."""
        self.index = index
        self._commit = GroupCommit(index.keep)
        # A hundred associations that begin at once would else take as many database connections.
        self._one_by_one = threading.Lock()

    def prepare(self) -> None:
        """Make the folders.

        Raises:
            OSError: as the system says.
        """
        self.data_dir.mkdir(parents=True, exist_ok=True)
        for folder in (self.spool, self.data_dir / INSTANCES, self.data_dir / QUARANTINE):
            folder.mkdir(mode=0o750, exist_ok=True)
        flush_folder(self.data_dir)

    def holds(self, association: Association) -> bool:
        """Whether an association's files are here: its folder was made before its row."""
        try:
            is_here = association_folder(self.data_dir, association).is_dir()
        except OSError:
            # A disk that does not say must not keep the port closed; the next start asks again.
            return False
        return is_here and association.service is self.service

    def open_folder(self, association: Association) -> Folder:
        """Make the folder and the row of an association, before its first instance.

        The caller closes the folder.

        Raises:
            StorageFull, DiskFault, StoreError: nothing may be received for it yet.
        """
        folder = association_folder(self.data_dir, association)
        try:
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            flush_folder(folder.parent.parent)
            flush_folder(folder.parent)
            opened = Folder(folder)
        except OSError as exc:
            raise disk_error(exc) from exc
        try:
            with self._one_by_one:
                self.index.open_association(association)
        except StoreError:
            opened.close()
            raise
        return opened

    def close_association(self, id_: str, how: AssociationOutcome, *, at: datetime) -> None:
        """Write down how an association ended.

        Raises:
            StoreError: it stays open in the index until the next start.
        """
        with self._one_by_one:
            self.index.close_association(id_, how, at=at)

    def land(self, flushed: Path, folder: Folder, instance: ReceivedInstance) -> Landing:
        """Move a flushed spool file to `instance.path`, which is in `folder`; commit its row.

        On return the sender may be told success: the bytes are kept, here or already before.

        Raises:
            StorageFull, DiskFault: nothing is kept; the spool file may still be there.
            StoreError: the file is in its place, its row may be there or not: see `settle`.
        """
        try:
            flushed.rename(instance.path)
            folder.flush()
        except OSError as exc:
            instance.path.unlink(missing_ok=True)
            raise disk_error(exc) from exc
        landing = self._commit.keep(instance)
        self.clear(instance, landing)
        return landing

    def settle(self, instance: ReceivedInstance) -> Landing:
        """Commit the row of a file that is in its place but was never acknowledged.

        Kept rather than dropped: its bytes are whole, and a modality that was told of a failure
        does not always try again.

        Raises:
            StoreError: still not possible.
        """
        (landing,) = self.index.keep([instance])
        self.clear(instance, landing)
        return landing

    def clear(self, instance: ReceivedInstance, landing: Landing) -> None:
        """Take a file that is not the kept one out of `instances/`.

        Raises:
            DiskFault: it could not be moved; its row already names the new place, so that running
                this again (as the sweep does) sets it right.
        """
        try:
            if landing is Landing.DUPLICATE:
                instance.path.unlink(missing_ok=True)
            elif landing is Landing.CONFLICT:
                target = quarantine_path(self.data_dir, instance.path)
                instance.path.replace(target)
                flush_folder(target.parent)
        except OSError as exc:
            raise disk_error(exc) from exc
