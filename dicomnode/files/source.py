"""Where files are fetched from and put to."""

import hashlib
from pathlib import Path
from typing import BinaryIO, Protocol


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


def sha256_of(path: Path) -> str:
    """Of a whole file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
