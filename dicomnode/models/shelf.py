"""Versions of added bundles on disk, and which one of each is active.

    <models>/versions/NAME/VERSION-DIGEST/   a bundle, never changed again
    <models>/active/NAME -> ../versions/NAME/VERSION-DIGEST
    <models>/versions/NAME/history.json      what was active when, the last entry now

A version becomes active by one rename of a link, so a run finds the old bundle or the new one,
whole. What a run has loaded stays loaded until it ends.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dicomnode.domain.errors import BundleInvalid, StudyError
from dicomnode.pipeline.bundle_files import check_digests, read_identity, read_manifest

_HISTORY = "history.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of an added model."""

    name: str
    key: str
    """`VERSION-DIGEST`: names its folder, and itself on the command line."""
    root: Path
    is_active: bool


class Shelf:
    """All added models of a node."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.active = folder / "active"
        self.versions = folder / "versions"

    def names(self) -> tuple[str, ...]:
        """Every model that has a version here."""
        if not self.versions.is_dir():
            return ()
        return tuple(sorted(path.name for path in self.versions.iterdir() if path.is_dir()))

    def of(self, name: str) -> tuple[Version, ...]:
        """The versions of one model, by name; none if it is not known."""
        home = self.versions / name
        active = self._active_key(name)
        if name not in self.names():
            return ()
        return tuple(
            Version(name=name, key=path.name, root=path, is_active=path.name == active)
            for path in sorted(home.iterdir())
            if path.is_dir() and not path.name.startswith(".")
        )

    def find(self, name: str, key: str) -> Version:
        """The version whose key is, or begins with, `key`.

        Raises:
            StudyError: there is none, or more than one.
        """
        known = self.of(name)
        fitting = [one for one in known if one.key == key]
        fitting = fitting or [one for one in known if one.key.startswith(key)]
        if len(fitting) != 1:
            found = ", ".join(one.key for one in known) or "none"
            many = "more than one version" if fitting else "no version"
            raise StudyError(f"{name} has {many} {key!r}; versions here: {found}")
        return fitting[0]

    def history(self, name: str) -> tuple[tuple[str, str], ...]:
        """(key, ISO moment) of every activation, the last one now; an empty key: deactivated."""
        try:
            raw = json.loads((self.versions / name / _HISTORY).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return ()
        return tuple((entry["version"], entry["at"]) for entry in raw)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """An empty folder on the same disk, removed afterwards; one writer at a time.

        Raises:
            StudyError: another process adds or activates a model right now.
        """
        self.versions.mkdir(parents=True, exist_ok=True)
        with self._only_writer():
            folder = self.folder / ".staging"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def keep(self, staged: Path) -> Version:
        """Move a checked bundle to its place; the same one again changes nothing."""
        manifest = read_manifest(staged)
        identity = read_identity(staged, manifest)
        key = f"{identity.version}-{identity.model_digest[:8]}"
        home = self.versions / manifest.name
        root = home / key
        if not root.exists():
            _flush(staged)
            home.mkdir(parents=True, exist_ok=True)
            staged.rename(root)
            _flush_folder(home)
        return self.find(manifest.name, key)

    def activate(self, version: Version, now: datetime) -> None:
        """From the next run on `version` is used.

        Raises:
            BundleInvalid: a file is not the one that was added.
            StudyError: another process is at it.
        """
        check_digests(version.root, read_manifest(version.root))
        with self._only_writer():
            self.active.mkdir(parents=True, exist_ok=True)
            self._note(version.name, version.key, now)
            link = self.active / f".{version.name}.new"
            link.unlink(missing_ok=True)
            link.symlink_to(Path("..") / "versions" / version.name / version.key)
            link.replace(self.active / version.name)
            _flush_folder(self.active)

    def roll_back(self, name: str, now: datetime, *, is_shipped: bool = False) -> Version | None:
        """Activate what was active before the present version.

        `is_shipped`: a model of this name comes with the program, and was used before any that was
        added; None if it is used again.

        Raises:
            StudyError: nothing was.
            BundleInvalid: it is damaged.
        """
        before = _before([key for key, _ in self.history(name)])
        if before is None and is_shipped and self._active_key(name) is not None:
            self.deactivate(name, now)
            return None
        if before is None:
            raise StudyError(f"{name}: no other version was active before this one")
        version = self.find(name, before)
        self.activate(version, now)
        return version

    def deactivate(self, name: str, now: datetime) -> None:
        """No added version of it is used any more; a shipped one of the name comes back.

        Raises:
            StudyError: none is active.
        """
        if self._active_key(name) is None:
            raise StudyError(f"no added version of {name!r} is active")
        with self._only_writer():
            self._note(name, "", now)
            (self.active / name).unlink()
            _flush_folder(self.active)

    def remove(self, version: Version) -> None:
        """Delete a version that is not active.

        Raises:
            StudyError: it is active.
        """
        if version.is_active:
            raise StudyError(f"{version.key} is active: activate another version first")
        with self._only_writer():
            shutil.rmtree(version.root)

    def _active_key(self, name: str) -> str | None:
        link = self.active / name
        return link.readlink().name if link.is_symlink() else None

    def _note(self, name: str, key: str, now: datetime) -> None:
        entries = [{"version": k, "at": at} for k, at in self.history(name)]
        entries.append({"version": key, "at": now.isoformat()})
        path = self.versions / name / _HISTORY
        part = path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            json.dump(entries, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    @contextmanager
    def _only_writer(self) -> Iterator[None]:
        path = self.folder / ".lock"
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                raise StudyError("another command changes the models right now") from exc
            yield


def _before(keys: Sequence[str]) -> str | None:
    """The last key in the history that is not the present one.

    Rolling back twice leads on into the past, not back to where it began: entries that a roll back
    itself made are paired with what they undid.
    """
    past: list[str] = []
    for key in keys:
        if len(past) >= 2 and past[-2] == key:
            past.pop()
        elif not past or past[-1] != key:
            past.append(key)
    earlier = [key for key in past[:-1] if key]
    return earlier[-1] if earlier else None


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_version(version: Version) -> str:
    """Every listed file read through; what is wrong, empty if nothing is."""
    try:
        check_digests(version.root, read_manifest(version.root))
    except BundleInvalid as exc:
        return str(exc)
    return ""
