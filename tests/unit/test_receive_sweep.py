"""Start after a crash: whatever was interrupted is set right, and twice does no harm."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from dicomnode.domain.identifiers import InstanceUid
from dicomnode.domain.instances import Association, ReceivedInstance
from dicomnode.domain.receiving import AssociationOutcome, association_folder
from dicomnode.receive.file_meta import FileMeta, write_file_head
from dicomnode.receive.landing import LandingSite
from dicomnode.receive.sweep import Swept, sweep
from dicomnode.testing.receiving import MemoryInstanceIndex
from dicomnode.testing.studies import Clock

CLOCK = Clock()
ASSOCIATION = Association(
    id="a1", calling_ae="CT1", called_ae="NODE", address="127.0.0.1", opened_at=CLOCK()
)


class Crashed:
    """What a crash left: an association row, files with and without rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = MemoryInstanceIndex(folder)
        self.site = LandingSite(folder, self.index)
        self.site.prepare()
        self.site.open_folder(ASSOCIATION).close()

    def file(self, number: int, uid: str, data: bytes) -> ReceivedInstance:
        """A file that is in its place; its row is not yet written."""
        meta = FileMeta(
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            sop_instance_uid=uid,
            transfer_syntax_uid="1.2.840.10008.1.2.1",
        )
        path = association_folder(self.folder, ASSOCIATION) / f"{number}.dcm"
        path.write_bytes(write_file_head(meta, sender_ae="CT1") + data)
        return ReceivedInstance(
            sop_instance_uid=InstanceUid(uid),
            sop_class_uid=meta.sop_class_uid,
            transfer_syntax_uid=meta.transfer_syntax_uid,
            path=path,
            size_bytes=len(data),
            sha256=sha256(data).hexdigest(),
            association_id=ASSOCIATION.id,
            received_at=CLOCK(),
        )

    def sweep(self) -> Swept:
        return sweep(self.site, CLOCK)


@pytest.fixture
def crashed(tmp_path: Path) -> Crashed:
    return Crashed(tmp_path)


def test_half_received_files_are_removed(crashed: Crashed) -> None:
    (crashed.folder / "spool/a1-2.part").write_bytes(b"half")
    assert crashed.sweep().spool_files_removed == 1
    assert list((crashed.folder / "spool").iterdir()) == []


def test_a_whole_file_without_a_row_gets_the_row_it_would_have_had(crashed: Crashed) -> None:
    lost = crashed.file(1, "1.2.3", b"data")
    assert crashed.sweep().rows_rebuilt == 1
    kept = crashed.index.instances["1.2.3"]
    assert replace(kept, received_at=lost.received_at) == lost


def test_files_with_rows_are_left_alone(crashed: Crashed) -> None:
    crashed.index.keep([crashed.file(1, "1.2.3", b"data")])
    assert crashed.sweep().rows_rebuilt == 0


def test_a_duplicate_that_was_not_yet_removed_is_removed(crashed: Crashed) -> None:
    first = crashed.file(1, "1.2.3", b"data")
    crashed.index.keep([first])
    second = crashed.file(2, "1.2.3", b"data")
    crashed.sweep()
    assert first.path.exists()
    assert not second.path.exists()


def test_a_conflict_with_its_row_but_not_yet_moved_is_moved(crashed: Crashed) -> None:
    crashed.index.keep([crashed.file(1, "1.2.3", b"first")])
    second = crashed.file(2, "1.2.3", b"second")
    crashed.index.keep([second])
    crashed.sweep()
    assert not second.path.exists()
    (quarantined,) = crashed.index.quarantine.values()
    assert quarantined.read_bytes().endswith(b"second")


def test_the_interrupted_association_is_closed_as_lost(crashed: Crashed) -> None:
    assert crashed.sweep().associations_closed == 1
    assert crashed.index.outcomes == {"a1": AssociationOutcome.LOST}


def test_a_row_whose_file_is_gone_is_counted(crashed: Crashed) -> None:
    instance = crashed.file(1, "1.2.3", b"data")
    crashed.index.keep([instance])
    instance.path.unlink()
    assert crashed.sweep().files_missing == 1


def test_a_file_that_is_not_ours_is_counted_and_left(crashed: Crashed) -> None:
    stranger = association_folder(crashed.folder, ASSOCIATION) / "9.dcm"
    stranger.write_bytes(b"not DICOM")
    assert crashed.sweep().files_unreadable == 1
    assert stranger.exists()


def test_associations_that_were_closed_are_not_looked_at(crashed: Crashed) -> None:
    crashed.index.close_association("a1", AssociationOutcome.RELEASED, at=CLOCK())
    crashed.file(1, "1.2.3", b"data")
    assert crashed.sweep() == Swept()


def test_sweeping_twice_changes_nothing_more(crashed: Crashed) -> None:
    crashed.file(1, "1.2.3", b"data")
    crashed.sweep()
    assert crashed.sweep() == Swept()
