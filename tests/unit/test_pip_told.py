"""What `make install` shows while pip works: lines a person can follow, and pip's exit code."""

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

TOLD = Path(__file__).parents[2] / "deploy" / "pip_told.py"
LINES = """\
Looking in links: /opt/wheels
Collecting numpy>=2.1 (from dicomnode==0.1.0)
  Downloading numpy-2.3.0-cp311-cp311-manylinux_2_28_x86_64.whl.metadata (62 kB)
Requirement already satisfied: pip in ./.venv/lib (24.0)
Downloading numpy-2.3.0-cp311-cp311-manylinux_2_28_x86_64.whl (16.9 MB)
Downloading anyio-4.9.0-py3-none-any.whl (100 kB)
Using cached torch-2.8.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl (1.2 GB)
Installing collected packages: numpy, anyio, torch
Successfully installed anyio-4.9.0 numpy-2.3.0 torch-2.8.0+cpu
"""


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An environment's Python that is none: as `-m pip install` it prints what pip printed."""
    program = tmp_path / "venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    (tmp_path / "lines").write_text(LINES, encoding="utf-8")
    program.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/asked\ncat {tmp_path}/lines\n. {tmp_path}/then\n',
        encoding="utf-8",
    )
    program.chmod(0o755)
    (tmp_path / "then").write_text("", encoding="utf-8")
    return program


def told(python: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(TOLD), str(python), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_large_packages_and_the_end_are_told_and_nothing_else(python: Path) -> None:
    lines = told(python, "-e", ".[dev]").stdout.splitlines()
    assert [line.rpartition(",")[0].strip() for line in lines] == [
        "numpy 2.3.0 (17 MB)",
        "torch 2.8.0+cpu (1200 MB)",
        "unpacking 3 packages",
        "installed 3 packages",
    ]


def test_pip_is_asked_for_what_was_asked(python: Path, tmp_path: Path) -> None:
    told(python, "-c", "constraints.txt", "-e", ".[dev]")
    asked = (tmp_path / "asked").read_text(encoding="utf-8").split()
    assert asked[:3] == ["-m", "pip", "install"]
    assert asked[-4:] == ["-c", "constraints.txt", "-e", ".[dev]"]


def test_a_fault_is_pip_s_own_with_its_exit_code(python: Path, tmp_path: Path) -> None:
    (tmp_path / "then").write_text("echo 'ERROR: no such version' >&2; exit 7", encoding="utf-8")
    done = told(python)
    assert done.returncode == 7
    assert "ERROR: no such version" in done.stderr


def test_at_a_terminal_it_counts_while_packages_are_unpacked(python: Path, tmp_path: Path) -> None:
    """Seconds go by in which pip says nothing; the line is written over, not repeated."""
    (tmp_path / "lines").write_text("\n".join(LINES.splitlines()[:-1]) + "\n", encoding="utf-8")
    record = "venv/lib/python3.11/site-packages/numpy-2.3.0.dist-info"
    (tmp_path / "then").write_text(
        f"mkdir -p {tmp_path}/{record}; echo > {tmp_path}/{record}/RECORD; sleep 3",
        encoding="utf-8",
    )
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, str(TOLD), str(python)], stdout=theirs) as running:
        os.close(theirs)
        shown = _all_of(ours)
        assert running.wait(timeout=60) == 0
    assert "\r\x1b[K  unpacking: 1 of 3" in shown
    assert shown.count("\n") == 3
    assert shown.endswith("\r\x1b[K")


def _all_of(terminal: int) -> str:
    """What was shown until the other side closed; Linux then says that reading failed."""
    shown = io.BytesIO()
    try:
        while part := os.read(terminal, 4096):
            shown.write(part)
    except OSError:
        pass
    os.close(terminal)
    return shown.getvalue().decode()


def test_make_install_tells_what_it_does() -> None:
    makefile = (TOLD.parents[1] / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("$(READY): ")[2].partition("\n\n")[0]
    assert "deploy/pip_told.py $(BIN)/python -c constraints.txt -e" in recipe
    assert "@touch $(READY)" in recipe.splitlines()[-1]
