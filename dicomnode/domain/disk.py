"""Faults of the disk, told from faults of a file: they may pass, so work that meets one waits."""

import errno

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
