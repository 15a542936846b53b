"""The HL7 listener answers every message, however it comes, or ends the connection."""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import pytest

from dicomnode.domain.incoming_reports import IncomingReport
from dicomnode.receive.reports.mllp import END, START, MllpListener, asks_listener
from dicomnode.settings import Hl7Settings
from tests.unit.test_receive_hl7 import message, obx

NOW = datetime(2024, 1, 31, 12, tzinfo=UTC)
REFUSED: list[tuple[bytes, str]] = []


def nothing(_reports: Sequence[IncomingReport]) -> None:
    pass


@contextmanager
def listening(
    keep: Callable[[Sequence[IncomingReport]], None] = nothing, **values: object
) -> Iterator[int]:
    settings = Hl7Settings.model_validate({"port": 0, "largest_message": 10_000, **values})
    REFUSED.clear()
    listener = MllpListener(
        settings, keep, lambda data, why: REFUSED.append((data, why)), lambda: NOW
    )
    listener.start()
    try:
        yield listener.port
    finally:
        listener.stop()


def everything(peer: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    received = b""
    try:
        while piece := peer.recv(65536):
            received += piece
    except ConnectionError:
        pass
    return received


def sent(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        peer.sendall(data)
        # The node may have answered and gone by now; its answer can still be read.
        with suppress(OSError):
            peer.shutdown(socket.SHUT_WR)
        return everything(peer)


def test_each_message_of_a_connection_is_answered() -> None:
    frame = START + message(obx("Text.")) + END
    with listening() as port:
        assert sent(port, b"noise" + frame + frame + START + b"half").count(b"MSA|AA|M1") == 2


def test_a_message_that_is_too_large_is_answered_before_the_connection_ends() -> None:
    with listening() as port:
        reply = sent(port, START + message(obx("x" * 100_000), control="M3"))
    assert b"MSA|AE|M3|a message of more than 10000 bytes" in reply
    assert REFUSED == [(b"", "a message of more than 10000 bytes")]


def test_a_message_that_does_not_end_ends_the_connection() -> None:
    with (
        listening(idle_timeout_s=0.2) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as peer,
    ):
        peer.sendall(START + b"MSH|")
        assert everything(peer) == b""


def test_a_bug_met_on_the_way_does_not_print_the_report(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(reports: Sequence[IncomingReport]) -> None:
        raise RuntimeError(reports[0].parts[0].text)

    with listening(fail) as port:
        assert b"MSA|AE|" in sent(port, START + message(obx("Secret.")) + END)
    assert "Secret" not in "".join(capfd.readouterr())


def test_the_listener_is_told_from_other_programs() -> None:
    with listening() as port:
        assert asks_listener("127.0.0.1", port, timeout_s=5)
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert not asks_listener("127.0.0.1", other.getsockname()[1], timeout_s=0.2)
    assert not asks_listener("127.0.0.1", port, timeout_s=0.2)
