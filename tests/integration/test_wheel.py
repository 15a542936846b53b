"""The wheel is whole: what it carries works outside the source tree."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow

CARRIED = [
    "dicomnode/rules/default.toml",
    "dicomnode/reports/lexicons/chest_radiograph.toml",
    "dicomnode/testing/samples/README.md",
    "dicomnode/_shipped/algorithms/cxr_heart_lung/models/model.safetensors",
    "dicomnode/_shipped/algorithms/cxr_heart_lung/configs/dicom.json",
    "dicomnode/_shipped/algorithms/lung_ct/models/model.safetensors",
    "dicomnode/_shipped/algorithms/lung_ct/configs/dicom.json",
    "dicomnode/_shipped/sql/migrations/env.py",
    "dicomnode/_shipped/sql/views/20_study_label.sql",
    "dicomnode/_shipped/sql/questions/label_counts.sql",
]
UNWANTED = (".pyc", ".pt", ".pth", ".pkl", ".sqlite", ".log")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `pip install .` builds it, but with the build backend that is installed here."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(folder)]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(ROOT)]
    subprocess.run(command, check=True, timeout=100)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(unpacked: Path, cwd: Path, *arguments: str) -> str:
    """What a command of the unpacked copy prints; `-P` keeps the source tree off the path."""
    environ = {**os.environ, "PYTHONPATH": str(unpacked), "COLUMNS": "300"}
    done = subprocess.run(
        [sys.executable, "-P", *arguments],
        cwd=cwd,
        env=environ,
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_everything_the_node_needs_travels_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert set(CARRIED) <= names
    source = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "dicomnode").rglob("*")
        if path.suffix in (".py", ".toml", ".dcm")
    }
    assert source <= names
    migrations = {path.name for path in (ROOT / "sql" / "migrations" / "versions").glob("*.py")}
    assert migrations <= {Path(name).name for name in names}


def test_nothing_that_was_left_over_travels_in_the_wheel(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if name.endswith(UNWANTED)] == []
    assert [name for name in names if name.startswith(("tests/", "benchmarks/", "docker/"))] == []


def test_the_copy_that_runs_is_the_unpacked_one(unpacked: Path, tmp_path: Path) -> None:
    printed = run(unpacked, tmp_path, "-c", "import dicomnode; print(dicomnode.__file__)")
    assert Path(printed.strip()).is_relative_to(unpacked)


def test_the_shipped_algorithms_are_found_and_whole(unpacked: Path, tmp_path: Path) -> None:
    listed = run(unpacked, tmp_path, "-m", "dicomnode", "algorithms")
    assert "cxr_heart_lung" in listed
    assert "lung_ct" in listed
    assert "cannot be used" not in listed


def test_the_database_is_made_from_the_migrations_in_the_wheel(
    unpacked: Path, tmp_path: Path
) -> None:
    assert "schema" in run(unpacked, tmp_path, "-m", "dicomnode", "db", "upgrade")
    assert (tmp_path / "dicomnode-data" / "index.sqlite").exists()


def test_the_shipped_rules_and_lexicons_are_read(unpacked: Path, tmp_path: Path) -> None:
    rules = unpacked / "dicomnode" / "rules" / "default.toml"
    assert "no fault" in run(unpacked, tmp_path, "-m", "dicomnode", "rules", "check", str(rules))
    said = run(unpacked, tmp_path, "-m", "dicomnode", "label", "--explain", "No pneumothorax.")
    assert "pneumothorax" in said.lower()
