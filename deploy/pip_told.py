"""`pip install`, told in a few lines: `python pip_told.py PYTHON ARGUMENTS OF INSTALL ...`

pip is either silent for minutes or prints hundreds of lines. This tells each package of 10 MB or
more as it comes, then how many are unpacked: at a terminal in one line that is written over, else
(a log, CI) in a line every half minute. Errors and warnings are pip's own; so is the exit code.
Only the standard library: nothing is installed yet.
"""

import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TextIO

_LARGE_MB = 10.0
_PACKAGE = re.compile(r"([A-Za-z0-9_.]+)-([0-9][^-]*)(?:-.*\.whl|\.tar\.gz)")
_SIZE = re.compile(r"\(([0-9.]+) ([kMG])B\)\s*$")
_IN_MB = {"k": 0.001, "M": 1.0, "G": 1000.0}


class Telling:
    """What is said of pip's lines."""

    def __init__(self, out: TextIO, every_s: float) -> None:
        self._out = out
        self._every_s = every_s
        self._is_terminal = out.isatty()
        self._began = self._said = time.monotonic()
        self._now = "looking for packages"
        self._named: set[str] = set()
        self._wanted = 0

    def line(self, line: str) -> None:
        """One line of pip's."""
        verb, _, rest = line.strip().partition(" ")
        if verb in ("Collecting", "Processing", "Downloading", "Using"):
            self._package(verb, rest)
        elif line.startswith("Installing collected packages:"):
            self._wanted = line.count(",") + 1
            self._say(f"unpacking {self._wanted} packages")
        elif line.startswith("Successfully installed"):
            self._say(f"installed {len(rest.split()) - 1} packages")

    def tick(self, unpacked: int) -> None:
        """Time has passed; `unpacked` packages are there that were not before."""
        if self._wanted:
            self._now = f"unpacking: {min(unpacked, self._wanted)} of {self._wanted}"
        now = time.monotonic()
        if self._is_terminal:
            self._out.write(f"\r\033[K  {self._now}, {now - self._began:.0f} s")
            self._out.flush()
        elif now - self._said >= self._every_s:
            self._say(self._now)

    def end(self) -> None:
        """Leave the line that was written over."""
        if self._is_terminal:
            self._out.write("\r\033[K")
            self._out.flush()

    def _package(self, verb: str, rest: str) -> None:
        if verb == "Collecting":
            self._now = f"looking for {re.split('[^A-Za-z0-9_.-]', rest)[0]}"
            return
        place = rest.removeprefix("cached ").split()[0]
        found = _PACKAGE.fullmatch(place.rpartition("/")[2])
        if found is None:
            return
        name, mb = f"{found[1]} {found[2]}", _megabytes(rest, Path(place))
        self._now = f"fetching {name}"
        if mb >= _LARGE_MB and name not in self._named:
            self._named.add(name)
            self._say(f"{name} ({mb:.0f} MB)")

    def _say(self, words: str) -> None:
        self._said = time.monotonic()
        start = "\r\033[K" if self._is_terminal else ""
        self._out.write(f"{start}  {words}, {self._said - self._began:.0f} s\n")
        self._out.flush()


def _megabytes(rest: str, path: Path) -> float:
    """Of the size that pip states, or of the file that it takes."""
    stated = _SIZE.search(rest)
    if stated:
        return float(stated[1]) * _IN_MB[stated[2]]
    return path.stat().st_size / 1e6 if path.is_file() else 0.0


def install(python: str, arguments: list[str], out: TextIO, every_s: float = 30.0) -> int:
    """Run pip to its end and return its exit code."""
    telling = Telling(out, every_s)
    packages = Path(python).absolute().parents[1]
    before = _installed(packages)
    command = [python, "-m", "pip", "install", "--progress-bar", "off", *arguments]
    with subprocess.Popen(  # noqa: S603 - what `make` says, no text from elsewhere
        command, stdout=subprocess.PIPE, text=True, errors="replace"
    ) as pip:
        assert pip.stdout is not None
        ticked = time.monotonic()
        for line in _lines(pip.stdout):
            telling.line(line)
            if time.monotonic() - ticked >= 1:
                telling.tick(_installed(packages) - before)
                ticked = time.monotonic()
        telling.end()
        return pip.wait()


def _installed(packages: Path) -> int:
    return sum(1 for _ in packages.glob("lib/python*/site-packages/*.dist-info/RECORD"))


def _lines(stream: IO[str]) -> Iterator[str]:
    """Lines as they come; an empty one after each second without any."""
    waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        for line in stream:
            waiting.put(line)
        waiting.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = waiting.get(timeout=1.0)
        except queue.Empty:
            yield ""
            continue
        if line is None:
            return
        yield line


if __name__ == "__main__":
    try:
        raise SystemExit(install(sys.argv[1], sys.argv[2:], sys.stdout))
    except KeyboardInterrupt:
        # pip got it, too, and has said so.
        raise SystemExit(130) from None
