"""Faults of the disk, told from faults of a file: they may pass, so work that meets one waits."""

import errno
import shutil
from pathlib import Path

from dicomnode.domain.errors import DiskFault

# The file is not there, or is no file: trying again helps nobody.
_OF_THE_NAME = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}
)


def is_disk_fault(error: BaseException) -> bool:
    """True for EIO, ENOSPC, ESTALE, EACCES and the like.

    False for a file that is missing, and for libraries that say OSError of a file's contents: only
    the system gives an errno.
    """
    if not isinstance(error, OSError) or error.errno is None:
        return False
    return error.errno not in _OF_THE_NAME


def disk_fault(error: OSError, what: str) -> DiskFault:
    """`what` could not be done: our error for the system's, without the path."""
    name = errno.errorcode.get(error.errno or 0, str(error.errno))
    return DiskFault(f"{what}: the disk failed ({name}, {error.strerror}); tried again later")


def lack_of_room(data_dir: Path, reserve_mb: int) -> str:
    """In words, that less is free than images are received with; empty: there is room.

    Raises:
        OSError: the disk does not say.
    """
    free_mb = shutil.disk_usage(data_dir).free >> 20
    return f"{free_mb} MB free, {reserve_mb} MB are reserved" if free_mb < reserve_mb else ""
