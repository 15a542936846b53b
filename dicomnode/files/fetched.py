"""Files of a node that this process does not see: fetched before a run, handed back after it."""

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import structlog

from dicomnode.domain.errors import FilesUnavailable, FilesUnreachable, Interrupted
from dicomnode.domain.files import ImageFile
from dicomnode.domain.results import OUTCOME_FILE
from dicomnode.files.cache import PART, Cache
from dicomnode.files.source import Source, data_set_sha256

log = structlog.get_logger()

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0

T = TypeVar("T")


class FetchedFiles:
    """The node's data folder in parts, below `root`: images on demand, results until recorded.

    `wait_s` is how long a node that does not answer is tried again before that is an error.
    """

    def __init__(self, root: Path, source: Source, *, cache_bytes: int, wait_s: float) -> None:
        self._root = root
        self._source = source
        self._wait_s = wait_s
        self._ending = threading.Event()
        # The engine goes on behind the run, or runs it again: the node has what was handed back.
        shutil.rmtree(root / "results", ignore_errors=True)
        self._cache = Cache(root / "instances", cache_bytes)

    @contextmanager
    def at_hand(self, images: Sequence[ImageFile]) -> Iterator[None]:
        """Fetch what is not here; what is here is compared with the index again.

        Raises:
            FilesUnavailable: missing, not reachable, or not what the index says.
            CacheTooSmall: they do not fit.
            Interrupted: the process ends.
        """
        with self._cache.reserved(images, is_ending=self._ending.is_set):
            for image in images:
                if not (image.path.exists() and data_set_sha256(image.path) == image.sha256):
                    self._patiently(lambda image=image: self._fetch(image))  # type: ignore[misc]
            yield

    def _fetch(self, image: ImageFile) -> None:
        part = self._download(self._name(image.path), image.path)
        if data_set_sha256(part) != image.sha256:
            size = part.stat().st_size
            part.unlink()
            raise FilesUnavailable(
                f"{self._name(image.path)} came damaged: {size} bytes, its data set should "
                f"be {image.size_bytes} and have the SHA-256 of the index"
            )
        part.replace(image.path)

    def _download(self, name: str, path: Path) -> Path:
        """Into a file beside `path`, under a name that nothing else reads."""
        part = path.with_name(f".{path.name}.{threading.get_ident()}{PART}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                self._source.get(name, file)
        except OSError as exc:
            part.unlink(missing_ok=True)
            raise FilesUnreachable(f"the cache cannot be written: {exc.strerror}") from exc
        except FilesUnavailable:
            part.unlink(missing_ok=True)
            raise
        return part

    def hand_back(self, results: Path, still_mine: Callable[[], None]) -> None:
        """Put every file of a job's folder; the outcome, by which a run counts as done, last."""
        paths = [path for path in sorted(results.iterdir()) if path.is_file()]
        paths.sort(key=lambda path: path.name == OUTCOME_FILE)
        for path in paths:
            if path.name == OUTCOME_FILE:
                still_mine()
            name = self._name(path)
            self._patiently(lambda name=name, path=path: self._source.put(name, path))  # type: ignore[misc]

    def bring_back(self, results: Path) -> None:
        """Fetch a job's folder, unless it was made here."""
        if not (results / OUTCOME_FILE).exists():
            self._copy(results)

    def keep_current(self, folder: Path) -> None:
        """Fetch a folder whole, and remove what is not in it any more."""
        names = self._copy(folder)
        for path in folder.iterdir() if folder.exists() else ():
            if path.name not in names and path.suffix != PART:
                path.unlink()

    def _copy(self, folder: Path) -> list[str]:
        """Every file of a folder, the outcome last."""
        names = self._patiently(lambda: self._source.names(self._name(folder)))
        names.sort(key=lambda name: name == OUTCOME_FILE)
        for name in names:
            path = folder / name
            part = self._patiently(lambda path=path: self._download(self._name(path), path))  # type: ignore[misc]
            part.replace(path)
        return names

    def let_go(self, results: Path) -> None:
        """The node has them, and the index says so."""
        shutil.rmtree(results, ignore_errors=True)

    def close(self) -> None:
        """The process ends: whatever waits for the node gives up."""
        self._ending.set()
        self._source.close()

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    def _patiently(self, action: Callable[[], T]) -> T:
        """Again and again while the node cannot be reached."""
        waited, pause = 0.0, _FIRST_PAUSE_S
        while True:
            try:
                return action()
            except FilesUnreachable as exc:
                if waited >= self._wait_s:
                    raise
                log.warning("files.waiting", reason=str(exc), waited_s=round(waited, 1))
            if self._ending.wait(pause):
                raise Interrupted("the worker was stopped while it waited for files")
            waited += pause
            pause = min(2 * pause, _LONGEST_PAUSE_S, max(self._wait_s - waited, 0.1))
