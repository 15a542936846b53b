"""A text file that appears whole or not at all."""

import os
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO


class AtomicText:
    """Opens `path` for writing under a name of its own and renames it when all went well.

    `path` None writes nowhere. With `wanted` False at the end nothing appears, and a file left at
    `path` by an earlier run is removed.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._part = (
            path.with_name(f".{path.name}.{os.getpid()}.part") if path else Path(os.devnull)
        )
        self.wanted = path is not None

    def __enter__(self) -> Self:
        self.file: TextIO = self._part.open("w", encoding="utf-8", newline="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._path is None:
            self.file.close()
            return
        if kind is None and self.wanted:
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()
            self._part.replace(self._path)
            return
        self.file.close()
        self._part.unlink(missing_ok=True)
        if kind is None:
            self._path.unlink(missing_ok=True)
