"""What peers, networks and disks do to a receiver, and what is left afterwards."""

import errno
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from itertools import cycle, islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import CTImageStorage

from dicomnode.domain.events import EventName
from dicomnode.settings import ReceiveSettings
from dicomnode.testing.sender import (
    ABORT,
    RawSender,
    associate_request,
    associated,
    p_data,
    store_command,
)
from tests.integration.receiver_scenes import Node, running, until

CT = str(CTImageStorage)
SYNTAX = "1.2.840.10008.1.2.1"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with running(tmp_path / "data") as one:
        yield one


def begin(sender: RawSender, node: Node, uid: str = "1.2.3") -> None:
    """Send a command and half a data set; return when it has begun to arrive on disk."""
    sender.send(p_data(1, 0x03, store_command(uid, CT)))
    sender.send(p_data(1, 0x00, bytes(100_000)))
    until(lambda: [p for p in (node.folder / "spool").glob("*.part") if p.stat().st_size > 100_000])


def assert_nothing_is_left(node: Node) -> None:
    assert node.files() == []
    assert node.index.instances == {}


def assert_still_receiving(node: Node) -> None:
    with associated(node.port, CT) as sender:
        assert sender.store("1.9.9", b"next", sop_class=CT) == 0
        assert sender.release()


def test_an_abort_in_the_middle_leaves_nothing(node: Node) -> None:
    with associated(node.port, CT) as sender:
        begin(sender, node)
        sender.abort()
        assert node.outcome() == "aborted"
    assert_nothing_is_left(node)
    assert_still_receiving(node)


def test_a_connection_cut_in_the_middle_leaves_nothing(node: Node) -> None:
    with associated(node.port, CT) as sender:
        begin(sender, node)
    assert node.outcome() == "lost"
    assert_nothing_is_left(node)
    assert_still_receiving(node)


def test_a_connection_reset_in_the_middle_leaves_nothing(node: Node) -> None:
    with associated(node.port, CT) as sender:
        begin(sender, node)
        sender.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert node.outcome() == "lost"
    assert_nothing_is_left(node)


@pytest.mark.parametrize("cut", [3, 6, 9, 12, 200])
def test_a_truncated_pdu_leaves_nothing(node: Node, cut: int) -> None:
    with associated(node.port, CT) as sender:
        sender.send(p_data(1, 0x03, store_command("1.2.3", CT)))
        sender.send(p_data(1, 0x02, bytes(1000))[:cut])
    assert node.outcome() == "lost"
    assert_nothing_is_left(node)


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32),
        b"\x01\x00\xff\xff\xff\xff" + bytes(100),
        b"\x04\x00\x00\x00\x00\x06\x00\x00\x00\x02\x01\x03",
        bytes(64),
    ],
    ids=["http", "tls", "endless-associate", "data-first", "zeros"],
)
def test_bytes_that_are_no_association_end_the_connection_only(node: Node, garbage: bytes) -> None:
    with RawSender(node.port) as sender:
        sender.send(garbage)
        sender.socket.shutdown(socket.SHUT_WR)
        until(lambda: node.receiver.open_associations == 0)
    assert_still_receiving(node)


@pytest.mark.parametrize(
    "pdu",
    [
        struct.pack(">BxIIBB", 4, 6, 1, 1, 3),
        struct.pack(">BxIIBB", 4, 6, 4000, 1, 3),
        struct.pack(">BxIHH", 4, 4, 0, 0),
        b"\x09\x00\x00\x00\x00\x04" + bytes(4),
        p_data(1, 0x03, b"no command set at all"),
        p_data(1, 0x02, b"data set without a command"),
        associate_request([(CT, [SYNTAX])], calling_ae="A", called_ae="B"),
    ],
    ids=["short-pdv", "long-pdv", "no-pdv", "unknown-pdu", "no-command", "data-first", "again"],
)
def test_a_pdu_that_breaks_the_protocol_is_answered_with_an_abort(node: Node, pdu: bytes) -> None:
    with associated(node.port, CT) as sender:
        sender.send(pdu)
        assert sender.receive_pdu()[:1] == bytes([ABORT])
    assert node.outcome() == "aborted"
    assert_still_receiving(node)


def test_a_sender_that_stops_in_the_middle_of_a_pdu_is_aborted(tmp_path: Path) -> None:
    with running(tmp_path, ReceiveSettings(idle_timeout_s=0.5, reserve_mb=0)) as node:
        with associated(node.port, CT) as sender:
            sender.send(p_data(1, 0x03, store_command("1.2.3", CT)))
            sender.send(p_data(1, 0x02, bytes(1000))[:500])
            assert sender.receive_pdu()[:1] == bytes([ABORT])
        assert node.outcome() == "aborted"
        assert_nothing_is_left(node)


def test_a_sender_that_says_nothing_more_is_aborted(tmp_path: Path) -> None:
    with running(tmp_path, ReceiveSettings(idle_timeout_s=0.5, reserve_mb=0)) as node:
        with associated(node.port, CT) as sender:
            assert sender.receive_pdu()[:1] == bytes([ABORT])
        assert node.outcome() == "aborted"


def test_a_connection_that_never_asks_is_closed(tmp_path: Path) -> None:
    with (
        running(tmp_path, ReceiveSettings(idle_timeout_s=0.5, reserve_mb=0)) as node,
        RawSender(node.port) as sender,
    ):
        assert sender.receive_pdu() == b""
        until(lambda: node.receiver.open_associations == 0)


def test_a_connection_that_is_opened_and_closed_leaves_no_thread(node: Node) -> None:
    for _ in range(20):
        RawSender(node.port).socket.close()
    until(lambda: node.receiver.open_associations == 0, timeout_s=10)
    assert node.events.named(EventName.ASSOCIATION_OPENED) == []


def test_a_disk_that_fills_up_in_the_middle_is_a700_and_then_all_is_well(tmp_path: Path) -> None:
    left = 300_000

    def write(fd: int, chunk: bytes | memoryview) -> int:
        nonlocal left
        if left < len(chunk):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left -= len(chunk)
        return os.write(fd, chunk)

    with running(tmp_path, write=write) as node, associated(node.port, CT) as sender:
        assert sender.store("1.2.3", bytes(500_000), sop_class=CT) == 0xA700
        assert_nothing_is_left(node)
        left = 1 << 30
        assert sender.store("1.2.3", bytes(500_000), sop_class=CT) == 0
        assert sender.release()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here (needs root)")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_really_full_disk_is_a700_and_leaves_no_part(small_disk: Path) -> None:
    with running(small_disk) as node, associated(node.port, CT) as sender:
        assert sender.store("1.2.1", bytes(600_000), sop_class=CT) == 0
        assert sender.store("1.2.2", bytes(3_000_000), sop_class=CT) == 0xA700
        assert node.files() == ["instances"]
        assert sender.store("1.2.3", bytes(600_000), sop_class=CT) == 0
        assert sender.release()


def test_with_less_free_than_the_reserve_the_answer_is_a700(tmp_path: Path) -> None:
    with (
        running(tmp_path, ReceiveSettings(reserve_mb=1 << 30)) as node,
        associated(node.port, CT) as sender,
    ):
        assert sender.store("1.2.3", b"data", sop_class=CT) == 0xA700
        assert sender.release()
        assert_nothing_is_left(node)


SIZES = st.lists(st.sampled_from([1, 2, 5, 6, 7, 11, 12, 13, 500, 70_000, 262_144]), min_size=1)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(pdv_sizes=SIZES, cuts=SIZES, pdvs_in_pdu=st.integers(1, 4))
def test_the_bytes_are_whole_however_sender_and_network_cut_them(
    node: Node, pdv_sizes: list[int], cuts: list[int], pdvs_in_pdu: int
) -> None:
    data = os.urandom(sum(pdv_sizes))
    uid = f"1.2.{int.from_bytes(os.urandom(8), 'big')}"
    stream = p_data(1, 0x03, store_command(uid, CT)) + in_pdus(data, pdv_sizes, pdvs_in_pdu)
    with associated(node.port, CT) as sender:
        sender.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start, end in pieces(len(stream), cuts):
            sender.send(stream[start:end])
        assert sender.receive_status() == 0
        assert sender.release()
    kept = node.index.instances[uid]
    assert kept.sha256 == sha256(data).hexdigest()
    assert kept.path.read_bytes().endswith(data)


def in_pdus(data: bytes, pdv_sizes: list[int], pdvs_in_pdu: int) -> bytes:
    """The data set as PDVs of these sizes, several in one P-DATA-TF PDU."""
    pdvs, at = [], 0
    for number, size in enumerate(pdv_sizes, start=1):
        control = 0x02 if number == len(pdv_sizes) else 0x00
        pdvs.append(struct.pack(">IBB", size + 2, 1, control) + data[at : at + size])
        at += size
    groups = [b"".join(pdvs[i : i + pdvs_in_pdu]) for i in range(0, len(pdvs), pdvs_in_pdu)]
    return b"".join(struct.pack(">BxI", 4, len(group)) + group for group in groups)


def pieces(length: int, cuts: list[int]) -> Iterator[tuple[int, int]]:
    """Slices of the given sizes, over and over, but at most 200: the last takes the rest."""
    at = 0
    for size in islice(cycle(cuts), 199):
        if at >= length:
            return
        yield at, min(length, at + size)
        at += size
    if at < length:
        yield at, length
