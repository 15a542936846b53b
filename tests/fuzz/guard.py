"""What a target may not do, whatever it is given: write, or read data, outside its folder; hang."""

import faulthandler
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST_S = 20.0
"""For one input, on a busy machine."""

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# Audit events with paths as their first arguments, and how many of them.
_CHANGES = {
    "os.rename": 2,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.mkdir": 1,
    "os.link": 2,
    "os.symlink": 2,
    "os.truncate": 1,
    "shutil.rmtree": 1,
    "shutil.move": 2,
    "shutil.copyfile": 2,
}


class Escaped(BaseException):
    """A path outside the folder was touched. No Exception: nothing may catch it."""


class Guard:
    """Watches every file this process opens or changes, from `watch` on."""

    def __init__(self, folder: Path, readable: tuple[Path, ...] = ()) -> None:
        """Within `folder` everything is allowed; below `readable` reading is."""
        self._inside = os.path.realpath(folder)
        self._readable = tuple(os.path.realpath(one) for one in readable)
        self._active = False
        self._escaped = ""

    def install(self) -> None:
        """Hook in; hooks cannot be taken out again."""
        sys.addaudithook(self._audit)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Within the block what happens is held against the rules."""
        faulthandler.dump_traceback_later(LONGEST_S, exit=True)
        self._active = True
        try:
            yield
        finally:
            self._active = False
            faulthandler.cancel_dump_traceback_later()
        # Another thread may have swallowed it.
        if self._escaped:
            raise Escaped(self._escaped)

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self._active:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str | bytes | os.PathLike):
                writes = isinstance(flags, int) and bool(flags & _WRITES)
                self._check(path, (self._inside,) if writes else (self._inside, *self._readable))
        elif event in _CHANGES:
            for path in arguments[: _CHANGES[event]]:
                if isinstance(path, str | bytes | os.PathLike):
                    self._check(path, (self._inside,))

    def _check(
        self, path: "str | bytes | os.PathLike[str] | os.PathLike[bytes]", allowed: tuple[str, ...]
    ) -> None:
        real = os.path.realpath(os.fsdecode(path))
        if real != os.devnull and not any(
            real == folder or real.startswith(folder + os.sep) for folder in allowed
        ):
            self._escaped = f"{real} is outside"
            raise Escaped(self._escaped)


def scratch() -> Path:
    """A folder for one process, in memory where that can be."""
    shm = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="fuzz-", dir=shm if shm.is_dir() else None))


def program_folders() -> tuple[Path, ...]:
    """Where Python, its packages and this repository lie: code may be loaded from there."""
    packages = [Path(one) for one in sys.path if one]
    system = [Path("/usr"), Path("/lib"), Path("/proc/self"), Path("/etc/localtime")]
    return (Path(sys.prefix), Path(sys.base_prefix), *packages, *system)
