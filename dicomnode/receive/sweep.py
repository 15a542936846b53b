"""What a crash left behind, put right before the port opens."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path

from dicomnode.domain.disk import is_disk_fault
from dicomnode.domain.errors import InstanceUnreadable, InvalidUid
from dicomnode.domain.identifiers import InstanceUid
from dicomnode.domain.instances import Association, ReceivedInstance
from dicomnode.domain.receiving import AssociationOutcome, association_folder
from dicomnode.receive.file_meta import read_file_head
from dicomnode.receive.landing import LandingSite


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What was found and done."""

    spool_files_removed: int = 0
    """Half-received: their senders were told nothing, or a failure."""
    rows_rebuilt: int = 0
    """Files that were whole but without a row: kept, for their sender may never try again."""
    files_unreadable: int = 0
    """Files below `instances/` that are not ours to understand; left where they are."""
    files_unread: int = 0
    """The disk did not give them; their associations stay open and are looked at anew next time."""
    files_missing: int = 0
    """Rows whose file is gone. Nothing in the receiver can cause this: look at the disk."""
    associations_closed: int = 0


def sweep(site: LandingSite, clock: Callable[[], datetime]) -> Swept:
    """Repair what associations left that were never closed. Running it twice does no harm.

    Only folders of such associations are looked at, so that it takes no longer on an old node.

    Raises:
        StoreError: the index is not available.
        OSError: the disk is not.
    """
    removed = _empty_spool(site.spool)
    found = []
    for association in site.index.left_open(site.holds):
        one = sweep_association(site, association)
        found.append(one)
        if not one.files_unread:
            site.index.close_association(association.id, AssociationOutcome.LOST, at=clock())
    return Swept(
        spool_files_removed=removed,
        rows_rebuilt=sum(one.rows_rebuilt for one in found),
        files_unreadable=sum(one.files_unreadable for one in found),
        files_unread=sum(one.files_unread for one in found),
        files_missing=sum(one.files_missing for one in found),
        associations_closed=sum(not one.files_unread for one in found),
    )


def _empty_spool(spool: Path) -> int:
    leftovers = list(spool.glob("*.part"))
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


def sweep_association(site: LandingSite, association: Association) -> Swept:
    """Give files of one association their rows."""
    on_disk = set(association_folder(site.data_dir, association).glob("*.dcm"))
    kept = site.index.kept_paths(association.id)
    rebuilt = unreadable = unread = 0
    for path in sorted(on_disk - kept):
        try:
            instance = _rebuild(path, association)
        except (InstanceUnreadable, InvalidUid):
            unreadable += 1
            continue
        except OSError as exc:
            if not is_disk_fault(exc):
                raise
            # One bad sector must not keep the port closed.
            unread += 1
            continue
        site.settle(instance)
        rebuilt += 1
    return Swept(
        rows_rebuilt=rebuilt,
        files_unreadable=unreadable,
        files_unread=unread,
        files_missing=len(kept - on_disk),
    )


def _rebuild(path: Path, association: Association) -> ReceivedInstance:
    """The value a file would have had, from its File Meta Information and its bytes."""
    with path.open("rb") as file:
        meta = read_file_head(file)
        start = file.tell()
        digest = file_digest(file, "sha256")
        stat = path.stat()
    return ReceivedInstance(
        sop_instance_uid=InstanceUid(meta.sop_instance_uid),
        sop_class_uid=meta.sop_class_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        path=path,
        size_bytes=stat.st_size - start,
        sha256=digest.hexdigest(),
        association_id=association.id,
        received_at=datetime.fromtimestamp(stat.st_mtime, tz=UTC),
    )
