"""Which OHIF is served, and how its files get here: by npm, or from a file brought along.

OHIF (MIT licence) is not part of this package. Its npm package holds a built `dist/`.
"""

import base64
import hashlib
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from dicomnode.domain.viewer import ViewerUnavailable

_LONGEST_FETCH_S = 600.0
_DIST = "package/dist/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release on npm."""

    package: str
    version: str
    sha512: str
    """Of the tarball, base64, as npm's `dist.integrity` states it."""

    @property
    def tarball(self) -> str:
        """The file name `npm pack` gives it."""
        return f"{self.package.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


OHIF = Release(
    package="@ohif/app",
    version="3.13.2",
    sha512="WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA==",
)
"""The release whose display of our objects is tested."""


def installed(cache: Path, release: Release = OHIF) -> Path | None:
    """The folder below `cache` to serve, None if the release has not been fetched."""
    dist = cache / f"ohif-{release.version}"
    return dist if (dist / "index.html").is_file() else None


def fetch(cache: Path, release: Release = OHIF) -> Path:
    """The folder to serve; downloaded by `npm pack` (50 MB) unless it is there already.

    Raises:
        ViewerUnavailable: npm is missing or failed, or sent something else.
    """
    if found := installed(cache, release):
        return found
    npm = shutil.which("npm")
    if npm is None:
        raise ViewerUnavailable(
            f"npm is not installed; bring {release.tarball} from another machine "
            f"(npm pack {release.package}@{release.version})"
        )
    cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=cache, prefix=".fetch-") as folder:
        wanted = f"{release.package}@{release.version}"
        try:
            subprocess.run(  # noqa: S603 (found above, fixed arguments)
                [npm, "pack", wanted, "--silent", "--ignore-scripts"],
                cwd=folder,
                check=True,
                capture_output=True,
                timeout=_LONGEST_FETCH_S,
            )
        except (subprocess.SubprocessError, OSError) as exc:
            raise ViewerUnavailable(f"npm pack {wanted} failed: {type(exc).__name__}") from exc
        return unpack(Path(folder) / release.tarball, cache, release)


def unpack(tarball: Path, cache: Path, release: Release = OHIF) -> Path:
    """Check a tarball and unpack what is served below `cache`; returns that folder.

    Raises:
        ViewerUnavailable: it is not the release, or cannot be unpacked.
    """
    try:
        with tarball.open("rb") as file:
            digest = hashlib.file_digest(file, "sha512").digest()
        if base64.b64encode(digest).decode() != release.sha512:
            raise ViewerUnavailable(f"{tarball.name} is not {release.package} {release.version}")
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache, prefix=".unpack-") as folder:
            with tarfile.open(tarball) as archive:
                _extract(archive, Path(folder))
            return _put_in_place(Path(folder) / _DIST, cache / f"ohif-{release.version}")
    except (OSError, tarfile.TarError) as exc:
        raise ViewerUnavailable(f"{tarball.name} cannot be unpacked: {type(exc).__name__}") from exc


def _extract(archive: tarfile.TarFile, folder: Path) -> None:
    """Plain files alone, and nowhere else; Python's own filters came with 3.11.4 only."""
    for member in archive:
        if not member.isreg() or not member.name.startswith(_DIST):
            continue
        target = (folder / member.name).resolve()
        content = archive.extractfile(member)
        if content is None or not target.is_relative_to(folder.resolve()):
            raise tarfile.ExtractError(member.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with content, target.open("wb") as file:
            shutil.copyfileobj(content, file)


def _put_in_place(unpacked: Path, final: Path) -> Path:
    """The folder gets its name only when it is whole; another process may have been faster."""
    try:
        unpacked.rename(final)
    except OSError:
        if not (final / "index.html").is_file():
            raise
    return final
