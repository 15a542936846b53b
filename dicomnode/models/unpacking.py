"""A bundle from elsewhere, a folder or a zip file, copied into one folder and nowhere else."""

import shutil
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from dicomnode.domain.errors import BundleInvalid

_CHUNK = 1 << 20
_LEFT_OUT = frozenset({"__pycache__", "__MACOSX", "eval", "logs"})
"""Folders of other programs, and what MONAI's own runs write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How large a bundle may be, unpacked."""

    total_bytes: int
    files: int = 10_000


def unpack(source: Path, into: Path, limits: Limits) -> str:
    """Copy the bundle in `source` to the empty folder `into`; returns what it calls itself.

    A bundle is the folder that holds `configs`: the top of the source, or one folder below it. Its
    name is that folder's, or the zip file's. Hidden files and caches stay behind.

    Raises:
        BundleInvalid: no bundle, a path that leads out of it, a link, or more than `limits` allow;
            nothing outside `into` was written.
    """
    budget = _Budget(limits)
    if source.is_dir():
        return _copy_folder(source, into, budget)
    try:
        with zipfile.ZipFile(source) as archive:
            return _copy_zip(archive, source.stem, into, budget)
    except (zipfile.BadZipFile, NotImplementedError) as exc:
        raise BundleInvalid(f"{source.name} is neither a folder nor a usable zip file") from exc
    except RuntimeError as exc:
        # What zipfile raises for an encrypted member.
        raise BundleInvalid(f"{source.name} cannot be unpacked: {exc}") from exc


class _Budget:
    """What is left of the limits; counts bytes as they are written, whatever a header says."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._bytes = limits.total_bytes
        self._files = limits.files

    def file(self) -> None:
        self._files -= 1
        if self._files < 0:
            raise BundleInvalid(f"the bundle has more than {self._limits.files} files")

    def take(self, count: int) -> None:
        self._bytes -= count
        if self._bytes < 0:
            most = self._limits.total_bytes / 1e9
            raise BundleInvalid(f"the bundle unpacks to more than {most:g} GB")


def _copy_folder(source: Path, into: Path, budget: _Budget) -> str:
    root = _root_of([path.relative_to(source).as_posix() for path in source.rglob("*")])
    top = source / root
    for path in sorted(top.rglob("*")):
        inner = PurePosixPath(path.relative_to(top).as_posix())
        if not _is_kept(inner):
            continue
        if path.is_symlink():
            raise BundleInvalid(f"{inner} is a link: copy what it points to into the bundle")
        if path.is_dir():
            continue
        if not path.is_file():
            raise BundleInvalid(f"{inner} is neither a file nor a folder")
        with path.open("rb") as file:
            _write(into / inner, file, budget)
    return top.resolve().name


def _copy_zip(archive: zipfile.ZipFile, stem: str, into: Path, budget: _Budget) -> str:
    members = {_checked(info): info for info in archive.infolist() if not info.is_dir()}
    root = PurePosixPath(_root_of([path.as_posix() for path in members]))
    for path, info in members.items():
        if not path.is_relative_to(root):
            continue
        inner = path.relative_to(root)
        if _is_kept(inner):
            with archive.open(info) as file:
                _write(into / inner, file, budget)
    return root.name or stem


def _checked(info: zipfile.ZipInfo) -> PurePosixPath:
    """The path of a member, if it stays inside."""
    path = PurePosixPath(info.filename)
    leads_out = path.is_absolute() or ".." in path.parts or "\\" in info.filename
    if leads_out or ":" in info.filename or "\0" in info.filename:
        raise BundleInvalid(f"the zip file holds {info.filename!r}, which leads out of it")
    mode = info.external_attr >> 16
    if stat.S_ISLNK(mode) or (stat.S_IFMT(mode) and not stat.S_ISREG(mode)):
        raise BundleInvalid(f"the zip file holds {info.filename!r}, which is no plain file")
    return path


def _root_of(paths: list[str]) -> str:
    """The folder that holds `configs`, relative to the source."""
    roots = set()
    for path in map(PurePosixPath, paths):
        if "configs" in path.parts[:2]:
            roots.add("/".join(path.parts[: path.parts.index("configs")]))
    if "" in roots:
        return ""
    if len(roots) != 1:
        found = "none" if not roots else "several"
        raise BundleInvalid(f"a MONAI bundle has a folder `configs`; there is {found}")
    return roots.pop()


def _is_kept(inner: PurePosixPath) -> bool:
    return not any(part.startswith(".") or part in _LEFT_OUT for part in inner.parts)


def _write(target: Path, file: IO[bytes], budget: _Budget) -> None:
    budget.file()
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as out:
        while chunk := file.read(_CHUNK):
            budget.take(len(chunk))
            out.write(chunk)


def discard(folder: Path) -> None:
    """Remove a folder that was being made; gone already is fine."""
    shutil.rmtree(folder, ignore_errors=True)
