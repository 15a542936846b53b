"""HL7 messages over MLLP: framed by 0x0B and 0x1C 0x0D, answered once they are kept."""

import socket
import socketserver
import threading
from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from dicomnode.domain.errors import ReportError, StoreError
from dicomnode.domain.incoming_reports import IncomingReport
from dicomnode.receive.reports.hl7 import (
    Header,
    NotOurMessage,
    acknowledgement,
    header_of,
    read_message,
)
from dicomnode.settings import Hl7Settings

log = structlog.get_logger()

START, END = b"\x0b", b"\x1c\r"
CHUNK = 65536

Keep = Callable[[Sequence[IncomingReport]], None]
Refuse = Callable[[bytes, str], None]


def answer(data: bytes, keep: Keep, refuse: Refuse, now: datetime) -> bytes:
    """The acknowledgement of one message: AA only after `keep` has returned.

    AE for what cannot be read or kept, AR for what is no report. `refuse` is given what cannot be
    read, so that nothing is lost; the reason quotes nothing of it.
    """
    header: Header = header_of(data)
    try:
        header, reports = read_message(data)
        keep(reports)
    except NotOurMessage as exc:
        return acknowledgement(header, "AR", str(exc), now)
    except ReportError as exc:
        refuse(data, str(exc))
        return acknowledgement(header, "AE", str(exc), now)
    except StoreError:
        # The sender sends it again.
        return acknowledgement(header, "AE", "the index cannot be written to now", now)
    return acknowledgement(header, "AA", "", now)


class MllpListener:
    """Takes reports from those who may send them."""

    def __init__(
        self, settings: Hl7Settings, keep: Keep, refuse: Refuse, clock: Callable[[], datetime]
    ) -> None:
        connections = threading.BoundedSemaphore(settings.max_connections)

        class Connection(socketserver.BaseRequestHandler):
            """One sender; its messages are answered one after the other."""

            def handle(self) -> None:
                peer: socket.socket = self.request
                if not settings.admits(self.client_address[0]):
                    log.warning("hl7.not-admitted", address=self.client_address[0])
                    return
                if not connections.acquire(blocking=False):
                    log.warning("hl7.too-many-connections", limit=settings.max_connections)
                    return
                try:
                    peer.settimeout(settings.idle_timeout_s)
                    for data in messages(peer, settings.largest_message):
                        peer.sendall(START + answer(data, keep, refuse, clock()) + END)
                except (OSError, ReportError) as exc:
                    log.info("hl7.connection-ended", reason=type(exc).__name__)
                finally:
                    connections.release()

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            request_queue_size = 64

        self._server = Server((settings.host, settings.port), Connection)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more; a message in hand that is not answered is sent again by its sender."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


def messages(peer: socket.socket, largest: int) -> "Messages":
    """What a peer sends, message by message, until it closes.

    Raises:
        ReportError: a message is larger than `largest` bytes.
        OSError: the connection broke or was idle for too long.
    """
    return Messages(peer, largest)


class Messages:
    """Cuts a stream into messages, however it is split into packets."""

    def __init__(self, peer: socket.socket, largest: int) -> None:
        self._peer = peer
        self._largest = largest
        self._buffer = bytearray()

    def __iter__(self) -> "Messages":
        return self

    def __next__(self) -> bytes:
        searched = 0
        while True:
            end = self._buffer.find(END, max(0, searched - 1))
            if end >= 0:
                framed = bytes(self._buffer[:end])
                del self._buffer[: end + len(END)]
                # Anything before the start block is noise between messages.
                return framed[framed.find(START) + 1 :]
            searched = len(self._buffer)
            if searched > self._largest:
                raise ReportError("a message is larger than is allowed")
            received = self._peer.recv(CHUNK)
            if not received:
                raise StopIteration
            self._buffer += received
