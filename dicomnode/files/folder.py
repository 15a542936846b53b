"""Files by an fsspec URL under which the node's data folder can be read and written."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import fsspec

from dicomnode.domain.errors import ConfigError, FilesUnavailable, FilesUnreachable

_CHUNK = 1 << 20


class FolderSource:
    """A file system that fsspec knows.

    Raises:
        ConfigError: it knows none for this URL, or a package for it is missing.
    """

    def __init__(self, url: str, options: Mapping[str, str | int | float | bool]) -> None:
        try:
            self._files, root = fsspec.core.url_to_fs(url, **options)
        except (ImportError, ValueError, TypeError) as exc:
            raise ConfigError([f"files.url: {exc}"]) from exc
        self._root = str(root).rstrip("/")

    def get(self, name: str, into: BinaryIO) -> None:
        """`Source.get`."""
        with self._translated(name), self._files.open(self._path(name), "rb") as file:
            shutil.copyfileobj(file, into, _CHUNK)

    def put(self, name: str, path: Path) -> None:
        """`Source.put`: under another name first, since not every file system puts whole files."""
        target = self._path(name)
        folder, _, file = target.rpartition("/")
        part = f"{folder}/.{file}.part"
        with self._translated(name):
            self._files.makedirs(folder, exist_ok=True)
            self._files.put_file(str(path), part)
            self._files.mv(part, target)

    def names(self, folder: str) -> list[str]:
        """`Source.names`."""
        self._files.invalidate_cache()
        try:
            with self._translated(folder):
                found = self._files.ls(self._path(folder), detail=True)
        except FilesMissing:
            return []
        names = [str(one["name"]).rpartition("/")[2] for one in found if one["type"] == "file"]
        return sorted(name for name in names if not name.startswith("."))

    def close(self) -> None:
        """Nothing is held."""

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as exc:
            raise FilesMissing(
                f"{name} is no longer on the node; send the study again, then rerun"
            ) from exc
        except Exception as exc:  # each library behind fsspec has errors of its own
            raise FilesUnreachable(f"{name}: {type(exc).__name__}: {exc}") from exc


class FilesMissing(FilesUnavailable):
    """There is no such file."""
