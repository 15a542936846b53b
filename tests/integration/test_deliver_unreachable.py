"""Every way a destination can fail to be there ends in time, with a reason to act on."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicomnode.deliver import Peer, echo, read_back, request_commitment, send_objects
from dicomnode.domain.errors import PeerUnavailable
from dicomnode.settings import Destination
from dicomnode.testing.results import stand_in_result
from dicomnode.testing.studies import StudyIdentity

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)


def _peer(port: int, *, host: str = "127.0.0.1", timeout_s: float = 0.5) -> Peer:
    return Peer(ae_title="PACS", host=host, port=port, timeout_s=timeout_s, name="archive")


def _port_of(listening: socket.socket) -> int:
    port: int = listening.getsockname()[1]
    return port


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return _port_of(opened)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Takes TCP connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield _port_of(listening)


@pytest.fixture
def black_hole_port() -> Iterator[int]:
    """Drops every new connection request, as a firewall does: its accept queue is full."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = listening.getsockname()
        for _ in range(8):
            filling = stack.enter_context(socket.socket())
            filling.settimeout(0.2)
            try:
                filling.connect(address)
            except TimeoutError:
                yield _port_of(listening)
                return
        pytest.skip("this system's accept queue does not fill")


def test_a_refused_connection_says_so(closed_port: int) -> None:
    with pytest.raises(PeerUnavailable, match="refused or host unreachable"):
        echo(_peer(closed_port), own_ae="NODE")


def test_an_unknown_host_name_says_so() -> None:
    with pytest.raises(PeerUnavailable, match="host name cannot be resolved"):
        echo(_peer(104, host="no-such-host.invalid"), own_ae="NODE")


@pytest.mark.parametrize("host", ["", "a" * 70 + ".example", "."])
def test_a_host_name_that_cannot_be_one_is_no_crash(host: str, closed_port: int) -> None:
    with pytest.raises(PeerUnavailable):
        echo(_peer(closed_port, host=host), own_ae="NODE")


def test_an_address_that_swallows_packets_ends_in_time(black_hole_port: int) -> None:
    with pytest.raises(PeerUnavailable, match=r"no connection within 0\.5 s"):
        echo(_peer(black_hole_port), own_ae="NODE")


def test_a_port_that_connects_and_stays_silent_ends_in_time(silent_port: int) -> None:
    with pytest.raises(PeerUnavailable, match="was not answered within"):
        echo(_peer(silent_port), own_ae="NODE")


@contextmanager
def _answering(listening: socket.socket, words: bytes) -> Iterator[None]:
    """Answers the first request on one connection with `words` and hangs up."""

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(words)

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    thread.join(10)


def test_a_port_that_connects_and_hangs_up_says_so(closed_port: int) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        _answering(listening, b""),
        pytest.raises(PeerUnavailable, match="ended the connection"),
    ):
        echo(_peer(_port_of(listening), timeout_s=10), own_ae="NODE")


def test_a_web_server_is_told_from_a_pacs() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        _answering(listening, b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        pytest.raises(PeerUnavailable, match="is this a DICOM port"),
    ):
        echo(_peer(_port_of(listening), timeout_s=5), own_ae="NODE")


def test_every_service_reports_the_same_reason_for_a_dead_peer(
    closed_port: int, tmp_path: Path
) -> None:
    encoded = stand_in_result(tmp_path, StudyIdentity(seed="dead"))
    dead = Destination(
        name="archive", ae_title="PACS", host="127.0.0.1", port=closed_port, timeout_s=0.5
    )
    (outcome,) = send_objects([encoded], dead, own_ae="NODE", clock=lambda: NOON)
    assert isinstance(outcome.result, PeerUnavailable)
    with pytest.raises(PeerUnavailable) as reading:
        read_back([encoded], dead, own_ae="NODE")
    with pytest.raises(PeerUnavailable) as asking:
        request_commitment([encoded], dead, "2.25.9", own_ae="NODE")
    assert str(outcome.result) == str(reading.value) == str(asking.value)
