"""A disk that fails on request: `faulty_disk.c`, loaded into the processes of a test."""

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")


@cache
def _library(folder: Path) -> Path | None:
    """The built library; None where it cannot be built."""
    if shutil.which("cc") is None:
        return None
    built = folder / "faulty_disk.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(built), str(SOURCE), "-ldl"]
    return None if subprocess.run(command, check=False).returncode else built


class FaultyDisk:
    """Breaks and mends, for processes that were started with `environment`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        library = _library(folder.parent)
        if library is None:
            pytest.skip("a C compiler is not installed (Debian: apt-get install gcc libc6-dev)")
        self._rules = folder / "rules"
        self.environment = {"LD_PRELOAD": str(library), "FAULTY_DISK": str(self._rules)}

    def breaks(self, call: str, error: int, fragment: str) -> None:
        """From now on `call` (read, write, flush, rename) fails on paths that hold `fragment`.

        What was broken before is well again.
        """
        new = self._rules.with_suffix(".new")
        new.write_text(f"{call} {error} {fragment}\n", encoding="ascii")
        new.replace(self._rules)

    def mends(self) -> None:
        """Everything works again."""
        self._rules.unlink(missing_ok=True)
