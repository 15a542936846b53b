"""Cells of docs/fault_matrix.md about receiving: a receiver in a process of its own, real senders.

After each fault: what was acknowledged is there with its digest, what is there is there once, the
receiver goes on without a person, and an event says what happened.
"""

import json
import os
import random
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage

from dicomnode.testing.postgresql import RunningPostgresql, postgresql_programs
from dicomnode.testing.sender import associated, p_data, store_command
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series
from tests.integration.receiver_scenes import until
from tests.integration.test_receive_kill import (
    STORESCU,
    acknowledged,
    assert_all_closed,
    assert_whole,
    count_files,
    receiver,
    rows,
    start_sender,
)

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not STORESCU.exists(), reason=f"{STORESCU} (DCMTK) is not installed"),
]

CT = str(CTImageStorage)
IMAGES = 24
SOON = {"RECEIVE": json.dumps({"idle_timeout_s": 2.0})}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CT slices of 128 kB each."""
    folder = tmp_path_factory.mktemp("source")
    geometry = SeriesGeometry(rows=256, columns=256, slices=IMAGES)
    for number, ds in enumerate(ct_series(StudyIdentity(seed="matrix"), geometry)):
        ds.save_as(folder / f"{number:03}.dcm", enforce_file_format=True)
    return folder


def told(log: str) -> set[str]:
    """SOPInstanceUIDs a storescu was told success for."""
    return {
        str(dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
        for path in acknowledged(log)
    }


def events(folder: Path) -> list[str]:
    """What the receiver wrote down."""
    return folder.with_suffix(".events").read_text(encoding="utf-8").splitlines()


def says(folder: Path, name: str, **facts: object) -> bool:
    """Whether an event of this name holds these facts."""
    found = [line.partition(" ")[2] for line in events(folder) if line.startswith(f"{name} ")]
    return any(facts.items() <= json.loads(one).items() for one in found)


def send_all(port: int, source: Path, within: Sequence[str] = ()) -> None:
    """Everything is taken."""
    sender = start_sender(port, source, within=within)
    log = sender.communicate(timeout=60)[1]
    assert len(acknowledged(log)) == IMAGES, log[-2000:]


def test_a_receiver_that_freezes_and_wakes_goes_on_where_it_was(
    source: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with receiver(folder) as running:
        sender = start_sender(running.port, source)
        until(lambda: count_files(folder) >= 3)
        running.process.send_signal(signal.SIGSTOP)
        gone = start_sender(running.port, source, "-td", "1", "-ta", "1")
        log = gone.communicate(timeout=60)[1]
        assert gone.returncode != 0, "a sender that waits no longer is told nothing"
        running.process.send_signal(signal.SIGCONT)
        everything = told(sender.communicate(timeout=60)[1])
        assert len(everything) == IMAGES
        assert told(log) <= everything
        send_all(running.port, source)
    assert set(rows(folder)) == everything
    assert_whole(folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB for everything, the index too."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here (needs root)")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_with_index_and_images_on_a_full_disk_what_was_acknowledged_stays(
    source: Path, small_disk: Path
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(6 << 20))
    with receiver(small_disk) as running:
        sender = start_sender(running.port, source, "-nh")
        log = sender.communicate(timeout=60)[1]
        kept = told(log)
        assert 0 < len(kept) < IMAGES, "it fills up on the way"
        assert kept <= set(rows(small_disk))
        ballast.unlink()
        send_all(running.port, source)
        assert says(small_disk, "instance.refused")
    assert len(rows(small_disk)) == IMAGES
    # A file whose row found no room is settled by the next start.
    with receiver(small_disk):
        assert_whole(small_disk)


def test_a_database_that_is_killed_and_comes_back_has_what_was_acknowledged(
    source: Path, tmp_path: Path
) -> None:
    if postgresql_programs() is None:
        pytest.skip("PostgreSQL is not installed")
    folder = tmp_path / "data"
    folder.mkdir()
    with RunningPostgresql(bears_kill=True) as server:
        url = server.new_database()
        with receiver(folder, {"DATABASE": url}) as running:
            sender = start_sender(running.port, source, "-nh")
            until(lambda: count_files(folder) >= 3)
            server.kill()
            log = sender.communicate(timeout=60)[1]
            assert len(acknowledged(log)) < IMAGES, "nothing is acknowledged without its row"
            server.start()
            assert told(log) <= set(rows(folder, url))
            send_all(running.port, source)
            assert len(rows(folder, url)) == IMAGES
        # What was on disk when its row could not be written is settled by the next start.
        with receiver(folder, {"DATABASE": url}):
            assert_whole(folder, url)


@contextmanager
def own_network() -> Iterator[Sequence[str]]:
    """A network namespace; the command that runs another one in it."""
    name = f"dicomnode-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True).returncode:
        pytest.skip("a network namespace cannot be made here (needs root and iproute2)")
    try:
        within = ("ip", "netns", "exec", name)
        subprocess.run([*within, "ip", "link", "set", "lo", "up"], check=True)
        yield within
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def test_a_network_that_is_cut_and_mended_costs_what_was_on_the_line_only(
    source: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with own_network() as within, receiver(folder, SOON, within) as running:
        sender = start_sender(running.port, source, "-td", "3", within=within)
        until(lambda: count_files(folder) >= 3)
        subprocess.run([*within, "ip", "link", "set", "lo", "down"], check=True)
        # Neither end is told: the association is half open until its silence has lasted.
        until(lambda: says(folder, "association.closed"))
        kept = told(sender.communicate(timeout=60)[1])
        assert 0 < len(kept) < IMAGES
        assert kept <= set(rows(folder))
        assert_all_closed(folder)
        subprocess.run([*within, "ip", "link", "set", "lo", "up"], check=True)
        send_all(running.port, source, within)
    assert len(rows(folder)) == IMAGES
    assert_whole(folder)


def test_the_same_study_from_four_senders_at_once_in_any_order_is_kept_once(
    source: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with receiver(folder) as running, ExitStack() as folders:
        senders = []
        for seed in range(4):
            paths = sorted(source.iterdir())
            random.Random(seed).shuffle(paths)
            shuffled = tmp_path / f"order-{seed}"
            shuffled.mkdir()
            for number, path in enumerate(paths):
                (shuffled / f"{number:03}.dcm").symlink_to(path)
            senders.append(start_sender(running.port, shuffled))
            folders.callback(senders[-1].wait)
        logs = [sender.communicate(timeout=60)[1] for sender in senders]
        assert [len(acknowledged(log)) for log in logs] == [IMAGES] * 4
        assert sum(line.startswith("instance.duplicate ") for line in events(folder)) == 3 * IMAGES
    assert len(rows(folder)) == IMAGES
    assert_whole(folder)


def test_senders_that_are_slow_hold_up_nobody(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with receiver(folder) as running, ExitStack() as slow:
        for number in range(20):
            sender = slow.enter_context(associated(running.port, CT))
            sender.send(p_data(1, 0x03, store_command(f"1.2.3.{number}", CT)))
            sender.send(p_data(1, 0x00, bytes(1000)))
        send_all(running.port, source)
    assert len(rows(folder)) == IMAGES


def test_thousands_of_connections_without_an_association_keep_nobody_out(
    source: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    few = {"RECEIVE": json.dumps({"max_associations": 20})}
    connections = int(os.environ.get("DICOMNODE_CONNECTIONS", "5000"))
    open_ones: deque[socket.socket] = deque()
    with receiver(folder, few) as running:
        with associated(running.port, CT) as sender:
            assert sender.store("1.2.1", b"before", sop_class=CT) == 0
            before = running.peak_mb()
            for number in range(connections):
                # One address has ports for some 28,000 connections, open or just closed.
                own = (f"127.0.0.{2 + number // 10_000}", 0)
                line = socket.create_connection(("127.0.0.1", running.port), 20, source_address=own)
                open_ones.append(line)
                if len(open_ones) > 5_000:
                    open_ones.popleft().close()
                if number % 1_000 == 999:
                    assert sender.store(f"1.2.{number}", b"while", sop_class=CT) == 0
            send_all(running.port, source)
            assert sender.release()
        threads = len(list(Path(f"/proc/{running.process.pid}/task").iterdir()))
        assert threads < 200
        assert running.peak_mb() - before < 100
        for line in open_ones:
            line.close()
    assert len(rows(folder)) == IMAGES + 1 + connections // 1_000
