"""HL7 messages over MLLP: framed by 0x0B and 0x1C 0x0D, answered once they are kept."""

import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import datetime
from time import monotonic

import structlog

from dicomnode.domain.errors import ReportError, StoreError
from dicomnode.domain.incoming_reports import IncomingReport
from dicomnode.receive.reports.hl7 import (
    ACCESSION_FIELDS,
    NotOurMessage,
    acknowledgement,
    header_of,
    read_message,
)
from dicomnode.settings import Hl7Settings

log = structlog.get_logger()

START, END = b"\x0b", b"\x1c\r"
CHUNK = 65536
LARGE = 256 * 1024

Keep = Callable[[Sequence[IncomingReport]], None]
Refuse = Callable[[bytes, str], None]


def answer(
    data: bytes,
    keep: Keep,
    refuse: Refuse,
    now: datetime,
    accession_fields: Sequence[str] = ACCESSION_FIELDS,
) -> bytes:
    """The acknowledgement of one message: AA only after `keep` has returned.

    AE for what cannot be read or kept, AR for what is no report. `refuse` is given what would not
    be taken when sent again either, so that nothing is lost; the reason quotes nothing of it.
    """
    try:
        keep(read_message(data, accession_fields))
    except NotOurMessage as exc:
        code, words = "AR", str(exc)
    except StoreError as exc:
        code, words = "AE", "the index cannot be written to now"
        if not exc.retryable:
            words = _aside(data, "the index refuses it", refuse)
    except ReportError as exc:
        code, words = "AE", _aside(data, str(exc), refuse)
    except Exception as exc:  # noqa: BLE001 (a bug may neither silence the answer nor be quoted)
        log.warning("hl7.failed", error=type(exc).__name__)
        code, words = "AE", _aside(data, f"the node failed on it ({type(exc).__name__})", refuse)
    else:
        code, words = "AA", ""
    return acknowledgement(header_of(data), code, words, now)


def _aside(data: bytes, reason: str, refuse: Refuse) -> str:
    """Have a message kept for a person; the reason, for the sender."""
    try:
        refuse(data, reason)
    except (OSError, StoreError) as exc:
        # The sender is told by AE, and has it still.
        log.warning("hl7.not-put-aside", error=type(exc).__name__)
    return reason


class MllpListener:
    """Takes reports from those who may send them."""

    def __init__(
        self, settings: Hl7Settings, keep: Keep, refuse: Refuse, clock: Callable[[], datetime]
    ) -> None:
        connections = threading.BoundedSemaphore(settings.max_connections)
        # A large message takes many times its size while it is read; one at a time is enough.
        reading = threading.Lock()

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
                    stream = Messages(peer, settings.largest_message, settings.idle_timeout_s)
                    for data in stream:
                        with reading if len(data) > LARGE else nullcontext():
                            reply = answer(data, keep, refuse, clock(), settings.accession)
                        peer.sendall(START + reply + END)
                except MessageTooLarge as exc:
                    # What was not read to its end cannot be kept; the sender has it still.
                    refuse(b"", str(exc))
                    peer.sendall(START + _too_large(exc, clock()) + END)
                    log.info("hl7.connection-ended", reason=type(exc).__name__)
                except (OSError, StoreError, ReportError) as exc:
                    log.info("hl7.connection-ended", reason=type(exc).__name__)
                finally:
                    connections.release()

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            request_queue_size = 64
            address_family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET

            def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
                """By default the traceback is printed, and its last line may quote a report."""
                log.warning("hl7.connection-failed", error=type(sys.exc_info()[1]).__name__)

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


class MessageTooLarge(ReportError):
    """A message that is longer than is allowed; `beginning` holds its header."""

    def __init__(self, largest: int, beginning: bytes) -> None:
        super().__init__(f"a message of more than {largest} bytes")
        self.beginning = beginning


def _too_large(exc: MessageTooLarge, now: datetime) -> bytes:
    return acknowledgement(header_of(exc.beginning), "AE", str(exc), now)


class Messages:
    """What a peer sends, message by message, until it closes; however it is split into packets.

    Raises:
        MessageTooLarge: a message is larger than `largest` bytes.
        ReportError: a message did not come to its end within `longest_s` seconds.
        OSError: the connection broke or was idle for too long.
    """

    def __init__(self, peer: socket.socket, largest: int, longest_s: float = 300.0) -> None:
        self._peer = peer
        self._largest = largest
        self._longest_s = longest_s
        self._buffer = bytearray()

    def __iter__(self) -> "Messages":
        return self

    def __next__(self) -> bytes:
        searched = 0
        deadline: float | None = None
        while True:
            end = self._buffer.find(END, max(0, searched - 1))
            if end >= 0:
                framed = bytes(self._buffer[:end])
                del self._buffer[: end + len(END)]
                # Anything before the start block is noise between messages.
                return framed[framed.find(START) + 1 :]
            searched = len(self._buffer)
            if searched > self._largest:
                start = self._buffer.find(START, 0, CHUNK) + 1
                raise MessageTooLarge(self._largest, bytes(self._buffer[start : start + CHUNK]))
            if searched:
                deadline = deadline or monotonic() + self._longest_s
                if monotonic() > deadline:
                    raise ReportError("a message did not come to its end in time")
            received = self._peer.recv(CHUNK)
            if not received:
                raise StopIteration
            self._buffer += received


def asks_listener(host: str, port: int, timeout_s: float) -> bool:
    """True if a listener of this program answers there; it is sent what it rejects (AR)."""
    question = b"MSH|^~\\&|DICOMNODE|CHECK|||||NMQ^N01|CHECK|P|2.5\r"
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as peer:
            peer.settimeout(timeout_s)
            peer.sendall(START + question + END)
            reply = next(Messages(peer, CHUNK, timeout_s), b"")
    except (OSError, ReportError):
        return False
    return b"|DICOMNODE|" in reply and b"MSA|AR|CHECK|" in reply
