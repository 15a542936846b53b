"""Files of a node elsewhere: whole or not there, within a bound, and nothing in use is removed."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset

from dicomnode.domain.errors import (
    CacheTooSmall,
    FilesUnavailable,
    FilesUnreachable,
    Interrupted,
    StudyError,
    TakenOver,
)
from dicomnode.domain.files import ImageFile, checked_name, handed_back
from dicomnode.files.fetched import FetchedFiles
from dicomnode.files.source import data_set_sha256
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series

SIZE = 1000
# Preamble, prefix, a group length of 8, and so many bytes.
META = bytes(128) + b"DICM\x02\x00\x00\x00UL\x04\x00\x08\x00\x00\x00" + b"abcdefgh"


class Shelf:
    """A node's files in memory; `faults` are raised first, one for each call of `get`."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: list[Exception] = []
        self.got: list[str] = []
        self.put_order: list[str] = []
        self.half: Callable[[], None] = lambda: None

    def get(self, name: str, into: BinaryIO) -> None:
        self.got.append(name)
        if name not in self.files:
            raise FilesUnavailable(f"{name} is no longer on the node")
        content = self.files[name]
        into.write(content[: len(content) // 2])
        into.flush()
        self.half()
        if self.faults:
            raise self.faults.pop(0)
        into.write(content[len(content) // 2 :])

    def put(self, name: str, path: Path) -> None:
        self.put_order.append(name)
        self.files[name] = path.read_bytes()

    def names(self, folder: str) -> list[str]:
        found = [name.rpartition("/") for name in self.files]
        return sorted(file for place, _, file in found if place == folder)

    def close(self) -> None: ...


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "fetched"


Opened = Callable[..., FetchedFiles]


@pytest.fixture
def opened(root: Path, shelf: Shelf) -> Iterator[Opened]:
    with ExitStack() as stack:

        def begin(*, room: float = 10, wait_s: float = 0.0) -> FetchedFiles:
            files = FetchedFiles(root, shelf, cache_bytes=int(room * SIZE), wait_s=wait_s)
            stack.callback(files.close)
            return files

        yield begin


def image(shelf: Shelf, root: Path, number: int) -> ImageFile:
    """One that lies on the node."""
    shelf.files[f"instances/20240131/a/{number}.dcm"] = content(number)
    return ImageFile(
        path=root / f"instances/20240131/a/{number}.dcm",
        sha256=hashlib.sha256(bytes([number]) * (SIZE - len(META))).hexdigest(),
        size_bytes=SIZE - len(META),
    )


def content(number: int) -> bytes:
    """What lies on disk: the data set behind file meta information."""
    return META + bytes([number]) * (SIZE - len(META))


def held(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "instances").rglob("*") if path.is_file())


def test_images_are_fetched_once_and_lie_where_the_index_says(
    opened: Opened, shelf: Shelf, root: Path
) -> None:
    files, images = opened(), [image(shelf, root, number) for number in (1, 2)]
    for _ in range(2):
        with files.at_hand(images):
            assert [one.path.read_bytes() for one in images] == [content(1), content(2)]
    assert len(shelf.got) == 2


def test_no_half_image_is_ever_seen(opened: Opened, shelf: Shelf, root: Path) -> None:
    one = image(shelf, root, 1)
    seen = []
    shelf.half = lambda: seen.append(one.path.exists())
    with opened().at_hand([one]):
        pass
    assert seen == [False]


@pytest.mark.parametrize("damage", [lambda right: right[:-1], lambda right: right[:-1] + b"x"])
def test_a_damaged_image_is_an_error_that_passes_and_is_not_kept(
    damage: Callable[[bytes], bytes], opened: Opened, shelf: Shelf, root: Path
) -> None:
    one = image(shelf, root, 1)
    name, right = next(iter(shelf.files.items()))
    shelf.files[name] = damage(right)
    files = opened()
    with (
        pytest.raises(FilesUnavailable, match=r"1\.dcm came damaged") as caught,
        files.at_hand([one]),
    ):
        pass
    assert caught.value.retryable
    assert held(root) == []
    shelf.files[name] = right
    with files.at_hand([one]):
        assert held(root) == ["1.dcm"]


def test_an_image_that_was_damaged_in_the_cache_is_fetched_again(
    opened: Opened, shelf: Shelf, root: Path
) -> None:
    files, one = opened(), image(shelf, root, 1)
    with files.at_hand([one]):
        one.path.write_bytes(content(7))
    with files.at_hand([one]):
        assert one.path.read_bytes() == content(1)


def test_a_missing_image_is_named(opened: Opened, shelf: Shelf, root: Path) -> None:
    one = image(shelf, root, 1)
    shelf.files.clear()
    missing = pytest.raises(FilesUnavailable, match=r"instances/20240131/a/1\.dcm is no longer")
    with missing, opened(wait_s=60).at_hand([one]):
        pass


def test_a_node_that_does_not_answer_is_waited_for(
    opened: Opened, shelf: Shelf, root: Path
) -> None:
    one = image(shelf, root, 1)
    shelf.faults = [FilesUnreachable("restarts"), FilesUnreachable("broke off")]
    with opened(wait_s=30).at_hand([one]):
        assert held(root) == ["1.dcm"]
    assert len(shelf.got) == 3


def test_a_node_that_stays_away_is_an_error_that_passes(
    opened: Opened, shelf: Shelf, root: Path
) -> None:
    one = image(shelf, root, 1)
    shelf.faults = [FilesUnreachable("is off")] * 9
    with pytest.raises(FilesUnreachable) as caught, opened(wait_s=0.5).at_hand([one]):
        pass
    assert caught.value.retryable
    assert held(root) == []


def test_a_worker_that_ends_does_not_wait_for_the_node(
    opened: Opened, shelf: Shelf, root: Path
) -> None:
    one, files = image(shelf, root, 1), opened(wait_s=600)
    shelf.faults = [FilesUnreachable("is off")] * 9
    shelf.half = files.close
    with pytest.raises(Interrupted), files.at_hand([one]):
        pass


class TestCache:
    def test_what_was_not_used_for_longest_goes_first(
        self, opened: Opened, shelf: Shelf, root: Path
    ) -> None:
        files, images = opened(room=2), [image(shelf, root, number) for number in (1, 2, 3)]
        for one in (images[0], images[1], images[0], images[2]):
            with files.at_hand([one]):
                pass
        assert held(root) == ["1.dcm", "3.dcm"]

    def test_what_a_run_reads_stays_and_another_run_waits(
        self, opened: Opened, shelf: Shelf, root: Path
    ) -> None:
        files, images = opened(room=2), [image(shelf, root, number) for number in (1, 2, 3)]
        came = threading.Event()

        def second() -> None:
            with files.at_hand(images[2:]):
                came.set()

        other = threading.Thread(target=second)
        with files.at_hand(images[:2]):
            other.start()
            assert not came.wait(1.0)
            assert held(root) == ["1.dcm", "2.dcm"]
        other.join(timeout=30)
        assert came.is_set()
        assert "3.dcm" in held(root)

    def test_a_job_that_would_never_fit_is_told_so_at_once(
        self, opened: Opened, shelf: Shelf, root: Path
    ) -> None:
        images = [image(shelf, root, number) for number in (1, 2, 3)]
        too_small = pytest.raises(CacheTooSmall, match=r"raise files\.cache_gb")
        with too_small as caught, opened(room=2.5).at_hand(images):
            pass
        assert not caught.value.retryable

    def test_a_restart_knows_what_is_there_and_removes_what_is_half_there(
        self, opened: Opened, shelf: Shelf, root: Path
    ) -> None:
        one, two = image(shelf, root, 1), image(shelf, root, 2)
        with opened(room=1).at_hand([one]):
            pass
        (one.path.parent / ".9.dcm.7.part").write_bytes(b"half")
        (root / "results").mkdir()
        again = opened(room=1)
        assert held(root) == ["1.dcm"]
        assert not (root / "results").exists()
        with again.at_hand([two]):
            assert held(root) == ["2.dcm"]


def results_of_a_run(root: Path) -> Path:
    folder = root / "results" / "ab" / "abc"
    (folder / ".scratch-1").mkdir(parents=True)
    for name in ("findings.json", "a.dcm", "overlay.png"):
        (folder / name).write_text(name)
    return folder


class TestResults:
    def test_the_outcome_is_handed_back_last(
        self, opened: Opened, shelf: Shelf, root: Path
    ) -> None:
        files = opened()
        results = results_of_a_run(root)
        files.hand_back(results, lambda: None)
        assert shelf.put_order[-1] == "results/ab/abc/findings.json"
        assert len(shelf.put_order) == 3
        files.let_go(results)
        assert not results.exists()
        files.bring_back(results)
        assert {path.name for path in results.iterdir()} == {
            "findings.json",
            "a.dcm",
            "overlay.png",
        }
        files.bring_back(results)
        assert len(shelf.got) == 3

    def test_who_has_lost_the_job_does_not_finish(
        self, opened: Opened, shelf: Shelf, root: Path
    ) -> None:
        files = opened()
        results = results_of_a_run(root)

        def lost() -> None:
            raise TakenOver("another process has this work")

        with pytest.raises(TakenOver):
            files.hand_back(results, lost)
        assert "results/ab/abc/findings.json" not in shelf.files


def test_a_calibration_is_as_the_node_has_it(opened: Opened, shelf: Shelf, root: Path) -> None:
    files, folder = opened(), root / "calibration" / "lungs"
    files.keep_current(folder)
    assert not folder.exists()
    shelf.files["calibration/lungs/0001.json"] = b"1"
    shelf.files["calibration/lungs/in_force.json"] = b"one"
    files.keep_current(folder)
    assert (folder / "in_force.json").read_bytes() == b"one"
    del shelf.files["calibration/lungs/in_force.json"]
    files.keep_current(folder)
    assert [path.name for path in folder.iterdir()] == ["0001.json"]


@pytest.mark.parametrize(
    "name",
    ["index.sqlite", "../secret", "instances/../index.sqlite", "instances//1.dcm", "/etc/passwd",
     "instances/.1.dcm.part", "quarantine/1.dcm", "", "instances/a\\..\\b"],
)  # fmt: skip
def test_nothing_else_has_a_name(name: str) -> None:
    with pytest.raises(StudyError):
        checked_name(name)


@pytest.mark.parametrize("name", ["instances/1.dcm", "results/ab/abc", "results/xx/abc/a.dcm"])
def test_results_lie_in_the_folder_of_their_job(name: str) -> None:
    with pytest.raises(StudyError):
        handed_back(name)
    assert handed_back("results/ab/abc/a.dcm").job_id == "abc"


def test_the_digest_is_that_of_what_a_sender_sent(tmp_path: Path) -> None:
    ds = ct_series(StudyIdentity(seed="digest"), SeriesGeometry(rows=8, columns=8, slices=1))[0]
    path = tmp_path / "1.dcm"
    ds.save_as(path, enforce_file_format=True)
    sent = BytesIO()
    syntax = ds.file_meta.TransferSyntaxUID
    dcmwrite(
        sent,
        without_meta(ds),
        implicit_vr=syntax.is_implicit_VR,
        little_endian=True,
        enforce_file_format=False,
    )
    assert data_set_sha256(path) == hashlib.sha256(sent.getvalue()).hexdigest()


@pytest.mark.parametrize("content", [b"", b"DICM", bytes(200)])
def test_what_is_no_dicom_file_has_no_digest(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "1.dcm").write_bytes(content)
    assert data_set_sha256(tmp_path / "1.dcm") == ""


def without_meta(ds: Dataset) -> Dataset:
    bare = Dataset()
    bare.update(ds)
    return bare
