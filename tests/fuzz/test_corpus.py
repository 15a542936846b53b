"""What fuzzers and people found is tried again: no crash, no hang, no path outside, no flood."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.guard import Escaped, Guard
from tests.fuzz.targets import TARGETS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", list(TARGETS))
def test_every_kept_input_is_taken_or_refused_by_name(name: str) -> None:
    command = [sys.executable, "-m", "tests.fuzz.replay", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    count, refused, *_ = (int(word) for word in done.stdout.split() if word.isdecimal())
    assert count == len(list((HERE / "corpus" / name).iterdir())) >= 3
    assert refused <= count


def test_no_folder_of_inputs_is_without_its_target() -> None:
    assert {one.name for one in (HERE / "corpus").iterdir()} == set(TARGETS)


def test_inputs_are_small() -> None:
    sizes = [one.stat().st_size for one in (HERE / "corpus").rglob("*") if one.is_file()]
    assert max(sizes) <= 16 * 1024
    assert sum(sizes) <= 1024 * 1024


def test_the_guard_sees_what_leaves_the_folder(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tests.fuzz.guard import *\n"
        "inside, path = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "guard = Guard(inside); guard.install()\n"
        "with guard.watch():\n"
        "    (path.read_bytes if sys.argv[3] == 'r' else path.unlink)()\n"
    )
    (tmp_path / "inside").mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "inside" / "link").symlink_to(tmp_path / "secret")

    def ends(path: str, how: str) -> str:
        command = [sys.executable, "-c", program, str(tmp_path / "inside"), str(tmp_path / path)]
        return subprocess.run(
            [*command, how], cwd=ROOT, capture_output=True, text=True, check=False
        ).stderr

    (tmp_path / "inside" / "own").write_bytes(b"own")
    assert ends("inside/own", "r") == ""
    assert Escaped.__name__ in ends("secret", "r")
    assert Escaped.__name__ in ends("inside/../secret", "r")
    assert Escaped.__name__ in ends("inside/link", "r")
    assert Escaped.__name__ in ends("secret", "w")
    assert (tmp_path / "secret").exists()
    assert Guard.__doc__
