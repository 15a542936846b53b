"""Where files are fetched from and put to."""

import hashlib
from pathlib import Path
from typing import BinaryIO, Protocol

_PREAMBLE = 128
_GROUP_LENGTH = b"DICM" + b"\x02\x00\x00\x00UL\x04\x00"
_DATA_SET_AT = _PREAMBLE + len(_GROUP_LENGTH) + 4
"""Were the rest of the file meta information empty."""


class Source(Protocol):
    """Files by name (`domain.files`); `NodeSource` over HTTP, `FolderSource` by fsspec."""

    def get(self, name: str, into: BinaryIO) -> None:
        """Write the content of a file.

        Raises:
            FilesUnreachable: no answer, or one that broke off.
            FilesUnavailable: there is no such file, or it is not for us.
        """
        ...

    def put(self, name: str, path: Path) -> None:
        """Store a file under a name, whole or not at all; the same again changes nothing.

        Raises:
            FilesUnreachable, FilesUnavailable: as `get`.
            TakenOver: another process has the job.
        """
        ...

    def names(self, folder: str) -> list[str]:
        """Names of the files right in a folder, sorted; none if there is no such folder."""
        ...

    def close(self) -> None:
        """Give up connections."""
        ...


def data_set_sha256(path: Path) -> str:
    """Of what follows the file meta information (PS3.10 7.1), hex; empty if that is no such file.

    Its group length, which always comes first, says where it ends.
    """
    with path.open("rb") as file:
        head = file.read(_DATA_SET_AT)
        if len(head) < _DATA_SET_AT or head[_PREAMBLE:-4] != _GROUP_LENGTH:
            return ""
        file.seek(_DATA_SET_AT + int.from_bytes(head[-4:], "little"))
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(path: Path) -> str:
    """Of a whole file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
