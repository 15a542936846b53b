"""Only the release that was tested gets unpacked, and only what is served of it."""

import base64
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from dicomnode.domain.identifiers import SeriesUid, StudyUid
from dicomnode.domain.viewer import ViewerUnavailable
from dicomnode.viewer.configuration import app_config, study_path
from dicomnode.viewer.release import Release, fetch, installed, unpack


def packed(folder: Path, files: Mapping[str, bytes]) -> tuple[Path, Release]:
    path = folder / "viewer.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    return path, Release(package="@ohif/app", version="0.0.1", sha512=digest)


WHOLE = {"package/dist/index.html": b"<html>", "package/package.json": b"{}"}


def test_a_release_is_unpacked_once_and_found_again(tmp_path: Path) -> None:
    tarball, release = packed(tmp_path, WHOLE)
    cache = tmp_path / "cache"
    assert installed(cache, release) is None
    dist = unpack(tarball, cache, release)
    assert [path.name for path in dist.iterdir()] == ["index.html"]
    assert unpack(tarball, cache, release) == dist
    tarball.unlink()
    assert fetch(cache, release) == installed(cache, release) == dist


def test_another_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    tarball, release = packed(tmp_path, WHOLE)
    tarball.write_bytes(b"not a release")
    with pytest.raises(ViewerUnavailable, match=r"is not @ohif/app 0\.0\.1"):
        unpack(tarball, tmp_path / "cache", release)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("files", [{}, {"package/dist/../../../out.js": b"x"}])
def test_a_release_without_files_or_with_a_way_out_leaves_nothing(
    files: Mapping[str, bytes], tmp_path: Path
) -> None:
    tarball, release = packed(tmp_path, files)
    cache = tmp_path / "below" / "cache"
    with pytest.raises(ViewerUnavailable, match="cannot be unpacked"):
        unpack(tarball, cache, release)
    assert list(cache.iterdir()) == []
    assert not list(tmp_path.rglob("out.js"))


def test_links_and_devices_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "viewer.tgz"
    with tarfile.open(path, "w:gz") as archive:
        index = tarfile.TarInfo("package/dist/index.html")
        archive.addfile(index, io.BytesIO())
        for name, kind in (("link", tarfile.SYMTYPE), ("pipe", tarfile.FIFOTYPE)):
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    release = Release(package="@ohif/app", version="0.0.1", sha512=digest)
    dist = unpack(path, tmp_path / "cache", release)
    assert [one.name for one in dist.iterdir()] == ["index.html"]


def test_the_tarball_is_named_as_npm_names_it(tmp_path: Path) -> None:
    _, release = packed(tmp_path, WHOLE)
    assert release.tarball == "ohif-app-0.0.1.tgz"


@pytest.mark.parametrize(("notice", "option"), [(True, "always"), (False, "never")])
def test_the_configuration_asks_nothing_and_keeps_to_one_origin(notice: bool, option: str) -> None:
    text = app_config(name='A "quoted" PACS', notice=notice)
    config = json.loads(text.removeprefix("window.config = ").rstrip().removesuffix(";"))
    assert config["disableConfirmationPrompts"] is True
    assert config["measurementTrackingMode"] == "simplified"
    assert config["investigationalUseDialog"] == {"option": option}
    (source,) = config["dataSources"]
    assert source["configuration"]["friendlyName"] == 'A "quoted" PACS'
    assert source["configuration"]["wadoRoot"] == "/dicom-web"


def test_a_study_is_opened_with_the_series_to_draw() -> None:
    assert study_path(StudyUid("1.2")) == "/viewer?StudyInstanceUIDs=1.2"
    assert study_path(StudyUid("1.2"), SeriesUid("1.2.3")) == (
        "/viewer?StudyInstanceUIDs=1.2&initialSeriesInstanceUID=1.2.3"
    )
