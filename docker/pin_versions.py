"""Writes `constraints.txt`: the installed version of everything the product needs.

Run it in the environment the tests passed in: `python docker/pin_versions.py`.
"""

import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).parent
HEAD = """\
# What the images install: the versions the tests ran with. Written by pin_versions.py.
# torch comes as the CPU build in Dockerfile.node and as the CUDA build in Dockerfile.worker.
"""
# pip brings it where a build needs it.
LEFT_OUT = {"setuptools"}


def pinned(wanted: list[str]) -> dict[str, str]:
    """Name -> version of these requirements and all that they need here."""
    found: dict[str, str] = {}
    left = [Requirement(line) for line in wanted]
    seen: set[str] = set()
    while left:
        requirement = left.pop()
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        try:
            package = distribution(requirement.name)
        except PackageNotFoundError:
            continue  # needed on other platforms only
        found[canonicalize_name(requirement.name)] = package.version.split("+")[0]
        extras = ("", *requirement.extras)
        for line in package.requires or []:
            needed = Requirement(line)
            marker = needed.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
                left.append(needed)
    return found


if __name__ == "__main__":
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = project["project"]
    jpeg = wanted["optional-dependencies"]["jpeg"]
    names = pinned([*wanted["dependencies"], *jpeg, *project["build-system"]["requires"]])
    lines = [f"{name}=={names[name]}\n" for name in sorted(names) if name not in LEFT_OUT]
    (HERE / "constraints.txt").write_text(HEAD + "".join(lines), encoding="utf-8")
