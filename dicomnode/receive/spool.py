"""The bytes of one data set on their way to disk."""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from dicomnode.domain.errors import DicomNodeError, DiskFault, StorageFull

_CHECK_SPACE_EVERY = 16 * 1024 * 1024

Write = Callable[[int, bytes | memoryview], int]
"""`os.write`, or a stand-in that fails on request."""


class DiskReserve:
    """Refuses to write when the file system holds less than its reserve."""

    def __init__(
        self,
        folder: Path,
        reserve_bytes: int,
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        self._folder = folder
        self._reserve_bytes = reserve_bytes
        self._free_bytes = free_bytes

    def check(self) -> None:
        """Return if there is room.

        Raises:
            StorageFull: free space is below the reserve.
        """
        if self._free_bytes(self._folder) < self._reserve_bytes:
            raise StorageFull(f"less than {self._reserve_bytes >> 20} MiB free on the data folder")


class SpoolFile:
    """One file being written: the head, then a data set in pieces, hashed as it passes.

    Leaves nothing behind unless `flush` returned: call `discard` on every other way out.
    """

    def __init__(
        self, path: Path, *, head: bytes, reserve: DiskReserve, write: Write = os.write
    ) -> None:
        reserve.check()
        self.path = path
        self.size_bytes = 0
        """Of the data set so far."""
        self._reserve = reserve
        self._write = write
        self._next_check = _CHECK_SPACE_EVERY
        self._digest = hashlib.sha256()
        self._fd: int | None = None
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
            self._put(head)
        except OSError as exc:
            self.discard()
            raise disk_error(exc) from exc

    def write(self, chunk: memoryview) -> None:
        """Append the next bytes of the data set.

        Raises:
            StorageFull: the disk is full, or would be left with less than its reserve.
            DiskFault: it failed otherwise.
        """
        if self.size_bytes >= self._next_check:
            self._reserve.check()
            self._next_check += _CHECK_SPACE_EVERY
        try:
            self._put(chunk)
        except OSError as exc:
            raise disk_error(exc) from exc
        self._digest.update(chunk)
        self.size_bytes += len(chunk)

    def flush(self) -> str:
        """Bring the bytes to the disk, close, and return the SHA-256 of the data set.

        Raises:
            StorageFull, DiskFault: they may not all be there.
        """
        assert self._fd is not None
        try:
            os.fsync(self._fd)
            self._close()
        except OSError as exc:
            raise disk_error(exc) from exc
        return self._digest.hexdigest()

    def discard(self) -> None:
        """Remove the file. Harmless when it is already gone."""
        self._close()
        self.path.unlink(missing_ok=True)

    def _put(self, chunk: bytes | memoryview) -> None:
        assert self._fd is not None
        written = self._write(self._fd, chunk)
        while written < len(chunk):
            written += self._write(self._fd, chunk[written:])

    def _close(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)


def disk_error(exc: OSError) -> DicomNodeError:
    """Our error for the disk's: full (also by quota) or faulty."""
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"the disk is full ({errno.errorcode[exc.errno]})")
    return DiskFault(f"the disk failed ({errno.errorcode.get(exc.errno or 0, exc.errno)})")


class Folder:
    """An open folder whose names can be flushed, so that a rename survives a power cut."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def flush(self) -> None:
        """Return when its names are on the disk; raises OSError as the system says."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)


def flush_folder(path: Path) -> None:
    """`Folder.flush`, for once."""
    folder = Folder(path)
    try:
        folder.flush()
    finally:
        folder.close()
