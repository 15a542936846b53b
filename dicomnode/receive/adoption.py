"""Images that the index does not know of, after an older copy of it was put back.

A start looks only at associations that the index has as open; those that came after the copy was
made have no row at all. Their folders are still there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydicom.filereader import read_file_meta_info

from dicomnode.domain.instances import Association
from dicomnode.domain.receiving import INSTANCES, AssociationOutcome, association_folder
from dicomnode.receive.landing import LandingSite
from dicomnode.receive.sweep import sweep_association


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """What was found without a row, and has one now."""

    associations: int = 0
    instances: int = 0
    unreadable: int = 0
    """Files that are not ours to understand; left where they are."""


def adopt_folders(
    site: LandingSite, is_known: Callable[[str], bool], clock: Callable[[], datetime]
) -> Adopted:
    """Give every association folder that has no row one, and its files theirs. May be repeated.

    `is_known` says whether the index has an association of this id. The node must be stopped.

    Raises:
        StoreError: the index is not available.
        OSError: the disk is not.
    """
    associations = instances = unreadable = 0
    for folder in sorted(site.data_dir.glob(f"{INSTANCES}/[0-9]*/*")):
        files = sorted(folder.glob("*.dcm")) if folder.is_dir() else []
        if not files or is_known(folder.name):
            continue
        association = _association(site, folder, files[0])
        site.index.open_association(association)
        swept = sweep_association(site, association)
        site.index.close_association(association.id, AssociationOutcome.LOST, at=clock())
        associations, instances, unreadable = (
            associations + 1,
            instances + swept.rows_rebuilt,
            unreadable + swept.files_unreadable + swept.files_unread,
        )
    return Adopted(associations=associations, instances=instances, unreadable=unreadable)


def _association(site: LandingSite, folder: Path, first: Path) -> Association:
    """What is left to be known of it: its day and id by the folder, its sender by the file."""
    day = datetime.strptime(folder.parent.name, "%Y%m%d").replace(tzinfo=UTC)
    written = datetime.fromtimestamp(first.stat().st_mtime, tz=UTC)
    sender = str(read_file_meta_info(first).get("SourceApplicationEntityTitle", ""))
    association = Association(
        id=folder.name,
        calling_ae=sender,
        called_ae="",
        address="",
        opened_at=written if written.date() == day.date() else day,
    )
    assert association_folder(site.data_dir, association) == folder
    return association
