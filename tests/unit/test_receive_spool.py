"""The spool file: whole and hashed, or gone."""

import errno
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicomnode.domain.errors import DiskFault, StorageFull
from dicomnode.receive.spool import DiskReserve, SpoolFile

HEAD = b"HEAD"


def spool(folder: Path, **options: object) -> SpoolFile:
    reserve = DiskReserve(folder, 0)
    return SpoolFile(folder / "a-1.part", head=HEAD, reserve=reserve, **options)  # type: ignore[arg-type]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=300)))
def test_digest_and_size_are_of_the_data_set_and_the_head_stands_before_it(
    tmp_path: Path, pieces: list[bytes]
) -> None:
    file = spool(tmp_path)
    for piece in pieces:
        file.write(memoryview(piece))
    data = b"".join(pieces)
    assert file.flush() == hashlib.sha256(data).hexdigest()
    assert file.size_bytes == len(data)
    assert file.path.read_bytes() == HEAD + data
    file.path.unlink()


def test_short_writes_are_carried_on(tmp_path: Path) -> None:
    file = spool(tmp_path, write=lambda fd, chunk: os.write(fd, chunk[:3]))
    file.write(memoryview(b"0123456789"))
    file.flush()
    assert file.path.read_bytes() == HEAD + b"0123456789"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_in_the_middle_is_storage_full(tmp_path: Path, number: int) -> None:
    file = spool(tmp_path, write=failing_after(10, number))
    file.write(memoryview(b"12345"))
    with pytest.raises(StorageFull):
        file.write(memoryview(b"6789012345"))
    file.discard()
    assert list(tmp_path.iterdir()) == []


def test_another_fault_of_the_disk_is_named_so(tmp_path: Path) -> None:
    file = spool(tmp_path, write=failing_after(10, errno.EIO))
    with pytest.raises(DiskFault, match="EIO"):
        file.write(memoryview(b"6789012345"))
    file.discard()


def test_a_file_that_cannot_even_begin_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageFull):
        spool(tmp_path, write=failing_after(2, errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_below_the_reserve_nothing_is_begun(tmp_path: Path) -> None:
    reserve = DiskReserve(tmp_path, 1000, free_bytes=lambda _folder: 999)
    with pytest.raises(StorageFull):
        SpoolFile(tmp_path / "a-1.part", head=HEAD, reserve=reserve)
    assert list(tmp_path.iterdir()) == []


def test_the_reserve_is_looked_at_again_during_a_long_data_set(tmp_path: Path) -> None:
    free = iter([2000, 2000, 500])
    reserve = DiskReserve(tmp_path, 1000, free_bytes=lambda _folder: next(free))
    file = SpoolFile(tmp_path / "a-1.part", head=HEAD, reserve=reserve, write=lambda _, c: len(c))
    chunk = memoryview(bytes(1 << 20))
    for _ in range(32):
        file.write(chunk)
    with pytest.raises(StorageFull):
        file.write(chunk)
    assert file.size_bytes == 32 << 20


def test_a_name_that_is_taken_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a-1.part").write_bytes(b"other")
    with pytest.raises(DiskFault):
        spool(tmp_path)


def test_discarding_twice_does_no_harm(tmp_path: Path) -> None:
    file = spool(tmp_path)
    file.discard()
    file.discard()
    assert list(tmp_path.iterdir()) == []


def failing_after(count: int, number: int):  # type: ignore[no-untyped-def]
    """A write that takes `count` bytes and then fails."""
    left = count

    def write(fd: int, chunk: bytes | memoryview) -> int:
        nonlocal left
        if left <= 0:
            raise OSError(number, os.strerror(number))
        written = os.write(fd, chunk[:left])
        left -= written
        return written

    return write
