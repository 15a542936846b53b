"""Cells of docs/fault_matrix.md about a failing disk: a receiver in a process of its own.

The faults come from below: the system's own calls fail, for SQLite as for Python.
"""

import errno
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage

from dicomnode.testing.sender import associated
from tests.integration.faulty_disk import FaultyDisk
from tests.integration.receiver_scenes import until
from tests.integration.test_fault_matrix import says
from tests.integration.test_receive_kill import assert_all_closed, assert_whole, receiver, rows

pytestmark = pytest.mark.timeout(240)

CT = str(CTImageStorage)
DATA = bytes(range(256)) * 1000


@pytest.fixture
def disk(tmp_path: Path) -> FaultyDisk:
    return FaultyDisk(tmp_path / "disk")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.mkdir()
    return made


@pytest.mark.parametrize("call", ["write", "flush"])
@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS])
def test_an_image_that_the_disk_does_not_take_is_a702_and_leaves_nothing(
    call: str, error: int, folder: Path, disk: FaultyDisk
) -> None:
    with receiver(folder, disk.environment) as running, associated(running.port, CT) as sender:
        assert sender.store("1.2.1", DATA, sop_class=CT) == 0
        disk.breaks(call, error, "/spool/")
        assert sender.store("1.2.2", DATA, sop_class=CT) == 0xA702
        assert_whole(folder)
        disk.mends()
        assert sender.store("1.2.2", DATA, sop_class=CT) == 0
        assert sender.release()
        until(lambda: says(folder, "association.closed", kept=2, refused=1))
    assert set(rows(folder)) == {"1.2.1", "1.2.2"}
    assert says(folder, "instance.refused", reason="DiskFault", status="A702")
    assert_whole(folder)


@pytest.mark.parametrize("call", ["rename", "flush"])
def test_an_image_that_does_not_get_its_name_is_a702_and_leaves_nothing(
    call: str, folder: Path, disk: FaultyDisk
) -> None:
    with receiver(folder, disk.environment) as running, associated(running.port, CT) as sender:
        assert sender.store("1.2.1", DATA, sop_class=CT) == 0
        disk.breaks(call, errno.EIO, "/instances/")
        assert sender.store("1.2.2", DATA, sop_class=CT) == 0xA702
        assert_whole(folder)
        disk.mends()
        assert sender.store("1.2.2", DATA, sop_class=CT) == 0
        assert sender.release()
    assert set(rows(folder)) == {"1.2.1", "1.2.2"}
    assert_whole(folder)


@pytest.mark.parametrize(
    ("call", "error"),
    [("write", errno.EIO), ("flush", errno.EIO), ("write", errno.ENOSPC)],
    ids=["write EIO", "flush EIO", "write ENOSPC"],
)
def test_an_index_that_cannot_be_written_is_a701_and_the_image_is_settled_later(
    call: str, error: int, folder: Path, disk: FaultyDisk
) -> None:
    with receiver(folder, disk.environment) as running, associated(running.port, CT) as sender:
        assert sender.store("1.2.1", DATA, sop_class=CT) == 0
        disk.breaks(call, error, "index.sqlite")
        assert sender.store("1.2.2", DATA, sop_class=CT) == 0xA701
        assert set(rows(folder)) == {"1.2.1"}
        disk.mends()
        assert sender.store("1.2.3", DATA, sop_class=CT) == 0
        assert sender.release()
        # Its bytes were whole: it is given its row when its association ends.
        until(lambda: says(folder, "association.closed", kept=3, settled=True))
    assert set(rows(folder)) == {"1.2.1", "1.2.2", "1.2.3"}
    assert_whole(folder)


def test_a_file_that_the_disk_does_not_give_keeps_no_start_from_happening(
    folder: Path, disk: FaultyDisk
) -> None:
    with receiver(folder, {**disk.environment, "KILL_AT": "renamed", "KILL_AFTER": "2"}) as first:
        with associated(first.port, CT) as sender:
            assert sender.store("1.2.1", DATA, sop_class=CT) == 0
            with pytest.raises(ConnectionError):
                sender.store("1.2.2", DATA, sop_class=CT)
        first.process.wait(20)
    disk.breaks("read", errno.EIO, "/instances/")
    with receiver(folder, disk.environment) as second, associated(second.port, CT) as sender:
        assert sender.store("1.2.3", DATA, sop_class=CT) == 0
        assert sender.release()
        until(lambda: says(folder, "spool.swept", files_unread=1, rows_rebuilt=0))
        second.process.terminate()
        assert second.process.wait(30) == 0
    disk.mends()
    with receiver(folder, disk.environment):
        assert set(rows(folder)) == {"1.2.1", "1.2.2", "1.2.3"}
        assert_whole(folder)
    assert_all_closed(folder)
