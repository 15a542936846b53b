"""What is installed is locked by digest, and the lock holds what the project asks for."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PINNED = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+?)(?: ;.*)? \\$", re.MULTILINE)
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def locked() -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in PINNED.findall(LOCK)}


def test_every_dependency_is_locked_at_a_version_that_fits() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = locked()
    for text in project["dependencies"]:
        wanted = Requirement(text)
        assert found.get(canonicalize_name(wanted.name)), f"{text}: run `make lock`"
        assert wanted.specifier.contains(found[canonicalize_name(wanted.name)]), text


def test_the_lock_and_the_constraints_say_the_same() -> None:
    pins = dict(
        line.split("==", 1)
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    )
    found = locked()
    differing = {
        name: (version, found[canonicalize_name(name)])
        for name, version in pins.items()
        if found.get(canonicalize_name(name), version) != version
    }
    assert differing == {}, "run `make lock`"


def test_every_locked_package_has_digests() -> None:
    entries = re.split(r"^(?=\S+==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) == len(locked()) > 80
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_every_locked_package_has_a_licence_in_the_list() -> None:
    text = (ROOT / "docs/licences.md").read_text(encoding="utf-8")
    listed = {canonicalize_name(name) for name in re.findall(r"^\| \[?([\w.-]+)", text, re.M)}
    # Only on other platforms than the list was made on, or under terms of their own.
    elsewhere = re.compile(r"^(nvidia-|cuda-|triton|colorama|greenlet|uvloop|tzdata|pywin32)")
    missing = [name for name in locked() if name not in listed and not elsewhere.match(name)]
    assert missing == []
