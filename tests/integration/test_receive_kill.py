"""kill -9 in mid-transfer with real senders, and memory: a receiver in a process of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage
from sqlalchemy import select

from dicomnode.receive.file_meta import read_file_head
from dicomnode.store.database import Database
from dicomnode.store.tables import AssociationRow, InstanceRow
from dicomnode.testing.sender import associated, p_data, store_command
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series
from tests.integration.receiver_scenes import until

STORESCU = Path("/usr/bin/storescu")
CT = str(CTImageStorage)
IMAGES = 40


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two folders of CT slices, for two senders."""
    if not STORESCU.exists():
        pytest.skip(f"{STORESCU} (DCMTK) is not installed")
    folders = []
    for name in ("one", "two"):
        folder = tmp_path_factory.mktemp(name)
        geometry = SeriesGeometry(rows=256, columns=256, slices=IMAGES)
        for number, ds in enumerate(ct_series(StudyIdentity(seed=f"kill {name}"), geometry)):
            ds.save_as(folder / f"{number:03}.dcm", enforce_file_format=True)
        folders.append(folder)
    return folders[0], folders[1]


@dataclass(frozen=True)
class Running:
    """A receiver process."""

    port: int
    process: subprocess.Popen[str]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)

    def peak_mb(self) -> float:
        (line,) = re.findall(
            r"VmHWM:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text()
        )
        return int(line) / 1024


@contextmanager
def receiver(
    folder: Path, environment: Mapping[str, str] | None = None, within: Sequence[str] = ()
) -> Iterator[Running]:
    """`within` is a command that runs another one somewhere else."""
    program = Path(__file__).with_name("receiver_process.py")
    with subprocess.Popen(
        [*within, sys.executable, program, folder],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    ) as process:
        assert process.stdout is not None
        try:
            yield Running(int(process.stdout.readline()), process)
        finally:
            process.kill()


def start_sender(
    port: int, folder: Path, *options: str, within: Sequence[str] = ()
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*within, STORESCU, "-v", *options, "+sd", "127.0.0.1", str(port), folder],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def acknowledged(log: str) -> list[Path]:
    """The files a storescu was told success for."""
    told: list[Path] = []
    sending: Path | None = None
    for line in log.splitlines():
        if line.startswith("I: Sending file: "):
            sending = Path(line.removeprefix("I: Sending file: "))
        elif line.startswith("I: Received Store Response (Success)"):
            assert sending is not None
            told.append(sending)
    return told


def rows(folder: Path, url: str = "") -> dict[str, tuple[Path, str]]:
    """UID -> (file, digest) as SQL says."""
    database = Database(url or f"sqlite:///{folder}/index.sqlite", folder)
    with database.reading() as connection:
        found = connection.execute(
            select(InstanceRow.sop_instance_uid, InstanceRow.path, InstanceRow.sha256)
        ).all()
    database.dispose()
    return {row.sop_instance_uid: (folder / row.path, row.sha256) for row in found}


def assert_whole(folder: Path, url: str = "") -> None:
    """Every row has its file with its digest, every file its row, and nothing else is left."""
    known = rows(folder, url)
    for path, digest in known.values():
        with path.open("rb") as file:
            read_file_head(file)
            assert sha256(file.read()).hexdigest() == digest
    on_disk = set((folder / "instances").rglob("*.dcm"))
    assert on_disk == {path for path, _ in known.values()}
    assert list((folder / "spool").glob("*.part")) == []


def assert_all_closed(folder: Path) -> None:
    database = Database(f"sqlite:///{folder}/index.sqlite", folder)
    with database.reading() as connection:
        assert None not in connection.scalars(select(AssociationRow.closed_at)).all()
    database.dispose()


def count_files(folder: Path) -> int:
    return len(list((folder / "instances").rglob("*.dcm")))


@pytest.mark.parametrize("images_before", [1, IMAGES // 2, IMAGES])
def test_killed_in_mid_transfer_nothing_acknowledged_is_lost(
    sources: tuple[Path, Path], tmp_path: Path, images_before: int
) -> None:
    with receiver(tmp_path) as first:
        senders = [start_sender(first.port, folder) for folder in sources]
        until(lambda: count_files(tmp_path) >= images_before)
        first.kill()
        told = [path for sender in senders for path in acknowledged(sender.communicate()[1])]
    uids = {str(dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID) for path in told}
    assert uids <= set(rows(tmp_path))
    with receiver(tmp_path) as second:
        assert_whole(tmp_path)
        assert_all_closed(tmp_path)
        again = [start_sender(second.port, folder) for folder in sources]
        assert all(sender.communicate() and sender.returncode == 0 for sender in again)
    assert len(rows(tmp_path)) == 2 * IMAGES
    assert_whole(tmp_path)


@pytest.mark.parametrize("moment", ["renamed", "committed"])
def test_killed_between_two_steps_the_image_is_kept_once(
    sources: tuple[Path, Path], tmp_path: Path, moment: str
) -> None:
    with receiver(tmp_path, {"KILL_AT": moment}) as first:
        sender = start_sender(first.port, sources[0])
        told = acknowledged(sender.communicate()[1])
        assert first.process.wait(20) == -signal.SIGKILL
    assert len(told) == 2
    assert len(rows(tmp_path)) == (2 if moment == "renamed" else 3)
    with receiver(tmp_path) as second:
        assert len(rows(tmp_path)) == 3
        assert_whole(tmp_path)
        assert start_sender(second.port, sources[0]).wait(60) == 0
    assert len(rows(tmp_path)) == IMAGES
    assert_whole(tmp_path)


def test_a_receiver_that_ends_in_good_order_leaves_nothing_to_repair(
    sources: tuple[Path, Path], tmp_path: Path
) -> None:
    with receiver(tmp_path) as running:
        assert start_sender(running.port, sources[0]).wait(60) == 0
        running.process.terminate()
        assert running.process.wait(30) == 0
    assert_whole(tmp_path)
    assert_all_closed(tmp_path)


def test_memory_stays_flat_for_200_mb(tmp_path: Path) -> None:
    block = os.urandom(1 << 20)
    with receiver(tmp_path) as running, associated(running.port, CT) as sender:
        assert sender.store("1.2.1", block, sop_class=CT) == 0
        before = running.peak_mb()
        sender.send(p_data(1, 0x03, store_command("1.2.2", CT)))
        for number in range(200):
            sender.send(p_data(1, 0x02 if number == 199 else 0x00, block))
        assert sender.receive_status() == 0
        assert running.peak_mb() - before < 8
        assert running.peak_mb() < 300
    path, digest = rows(tmp_path)["1.2.2"]
    assert path.stat().st_size > 200 << 20
    assert digest == sha256(block * 200).hexdigest()
