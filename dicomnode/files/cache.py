"""Images kept on a worker: no more than so many bytes, none removed that a run reads."""

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dicomnode.domain.errors import CacheTooSmall, Interrupted
from dicomnode.domain.files import ImageFile

PART = ".part"
_LOOK_S = 0.5


@dataclass(slots=True)
class _Kept:
    size: int
    used_ns: int


class Cache:
    """A folder of files, of which those not used for longest go when room is needed.

    One process has it; any number of its threads.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit = limit_bytes
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._reserved: Counter[Path] = Counter()
        self._kept = {path: _found(path) for path in _files_of_earlier_runs(folder)}

    @contextmanager
    def reserved(
        self, images: Sequence[ImageFile], *, is_ending: Callable[[], bool]
    ) -> Iterator[None]:
        """Room for these images, all of them at once; in the block none of them is removed.

        Waits as long as other blocks leave too little; who waits longest is served first.

        Raises:
            CacheTooSmall: they would not fit into an empty cache.
            Interrupted: the process ends meanwhile.
        """
        sizes = {image.path: image.size_bytes for image in images}
        total = sum(sizes.values())
        if total > self._limit:
            raise CacheTooSmall(
                f"the images of this job take {_mb(total)}, the cache of this worker holds "
                f"{_mb(self._limit)}: raise files.cache_gb, then rerun"
            )
        with self._changed:
            turn = object()
            self._waiting.append(turn)
            try:
                while self._waiting[0] is not turn or not self._make_room(sizes):
                    if is_ending():
                        raise Interrupted("the worker was stopped while it waited for its cache")
                    self._changed.wait(_LOOK_S)
                self._reserved.update(sizes.keys())
            finally:
                self._waiting.remove(turn)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._reserved.subtract(sizes.keys())
                self._reserved += Counter()
                self._note(sizes)
                self._changed.notify_all()

    def _make_room(self, sizes: dict[Path, int]) -> bool:
        """Remove what is in the way; False if others need it."""
        for path, size in sizes.items():
            # Counted from now on, whether or not it is there yet.
            if path not in self._kept:
                self._kept[path] = _Kept(size=size, used_ns=0)
        needed = sizes.keys() | self._reserved.keys()
        excess = sum(one.size for one in self._kept.values()) - self._limit
        spare = sorted(self._kept.keys() - needed, key=lambda path: self._kept[path].used_ns)
        for path in spare:
            if excess <= 0:
                break
            excess -= self._kept.pop(path).size
            path.unlink(missing_ok=True)
            with suppress(OSError):
                # Only if it was the last one in its folder.
                path.parent.rmdir()
        if excess > 0:
            for path in sizes.keys() - self._reserved.keys():
                if not path.exists():
                    del self._kept[path]
        return excess <= 0

    def _note(self, sizes: dict[Path, int]) -> None:
        """What became of files that were in use: the newest now, or not there at all."""
        for path in sizes:
            if path.exists():
                # Finer than the file system's own clock.
                now = time.time_ns()
                os.utime(path, ns=(now, now))
                self._kept[path] = _found(path)
            elif path not in self._reserved:
                self._kept.pop(path, None)


def _files_of_earlier_runs(folder: Path) -> list[Path]:
    """Whole ones; what a killed process left half-way is removed."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    for path in found:
        if path.suffix == PART:
            path.unlink()
    return [path for path in found if path.suffix != PART]


def _found(path: Path) -> _Kept:
    stat = path.stat()
    return _Kept(size=stat.st_size, used_ns=stat.st_mtime_ns)


def _mb(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
