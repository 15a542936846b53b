"""One accepted connection: large reads, no delayed acknowledgements."""

import contextlib
import select
import socket
import struct
import time
from typing import Any

from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

from dicomnode.receive.errors import ConnectionLost, PeerSilent
from dicomnode.receive.tuning.wakeups import Doorbell

_BUFFER_BYTES = 256 * 1024
_LINGER_S = 1.0
_TCP_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)


class ReceiverSocket(AssociationSocket):
    """An accepted socket with one large buffer. Used by the DUL thread only."""

    def __init__(
        self, assoc: Association, client_socket: socket.socket, *, timeout_s: float
    ) -> None:
        super().__init__(assoc, client_socket=client_socket)
        client_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client_socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._limit_waits(client_socket, timeout_s)
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        # Held bytes are [start, end); gathered ones [run, run_end), always before them.
        self._start = self._end = self._run = self._run_end = 0
        self._is_readable = False
        self._poll = select.poll()
        self._poll.register(client_socket, select.POLLIN)
        self._nap = select.poll()
        self._nap.register(client_socket, select.POLLIN)

    def _limit_waits(self, line: socket.socket, timeout_s: float) -> None:
        """By the kernel: `settimeout` would poll before each read."""
        limit = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1_000_000))
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def _receive(self, into: memoryview) -> int:
        """Bytes that came; BlockingIOError if none did for the time-out."""
        assert self.socket is not None
        return self.socket.recv_into(into)

    @property
    def _is_decrypted(self) -> bool:
        """True if bytes wait that the kernel no longer has; never without TLS."""
        return False

    @property
    def ready(self) -> bool:
        """True if a read would not wait."""
        if self.socket is None or not self._is_connected:
            return False
        if self._start < self._end or self._is_readable or self._is_decrypted:
            return True
        return bool(self._poll.poll(0))

    @property
    def holds_bytes(self) -> bool:
        """True if the buffer has bytes that were not taken yet."""
        return self._start < self._end

    def listen_to(self, doorbell: Doorbell) -> None:
        """Let `nap` end when `doorbell` rings."""
        self._doorbell = doorbell
        self._nap.register(doorbell.fd, select.POLLIN)

    def nap(self, longest_s: float) -> None:
        """Wait for the peer's bytes or for the doorbell."""
        if self._start < self._end or self.socket is None or self._is_decrypted:
            return
        for fd, _ in self._nap.poll(longest_s * 1000):
            if fd == self._doorbell.fd:
                self._doorbell.silence()
            else:
                self._is_readable = True

    def recv(self, nr_bytes: int) -> bytearray:
        """Exactly so many bytes, or fewer where the connection ended."""
        taken = bytearray()
        while len(taken) < nr_bytes:
            piece = self.take(nr_bytes - len(taken))
            if not piece:
                break
            taken += piece
        return taken

    def gather(self, most: int) -> int:
        """Put up to `most` held bytes with those gathered before; how many, 0 if none are held.

        What PDU headers separate becomes one run this way: written and hashed at once, it costs
        fewer hand-overs of the interpreter lock than the copy costs time.
        """
        count = min(most, self._end - self._start)
        if self._run == self._run_end:
            self._run = self._run_end = self._start
        elif self._run_end != self._start:
            self._buffer[self._run_end : self._run_end + count] = self._buffer[
                self._start : self._start + count
            ]
        self._start += count
        self._run_end += count
        return count

    def take_run(self) -> memoryview:
        """The gathered bytes; valid until the next call of `fill`, `peek` or `take`."""
        run = self._buffer[self._run : self._run_end]
        self._run = self._run_end
        return run

    def fill(self) -> None:
        """Wait for more bytes; nothing may be held or gathered.

        Raises:
            ConnectionLost: there will be none.
            PeerSilent: as `take`.
        """
        self._start = self._end = self._run = self._run_end = 0
        if not self._fill():
            raise ConnectionLost("the connection ended in the middle of a PDU")

    def holds(self, header: struct.Struct) -> bool:
        """True if `take_header` would not wait."""
        return self._end - self._start >= header.size

    def take(self, most: int) -> memoryview:
        """The next bytes, at least one and at most `most`; none when the connection ended.

        Valid until the next call.

        Raises:
            PeerSilent: nothing came for the idle time-out.
            ConnectionLost: the connection broke.
        """
        if self._start == self._end:
            self._start = self._end = 0
            self._fill()
        start = self._start
        self._start = min(self._end, start + most)
        return self._buffer[start : self._start]

    def peek(self, header: struct.Struct) -> tuple[Any, ...]:
        """The header that comes next, without taking it.

        Raises:
            ConnectionLost: the connection ended before it was complete.
            PeerSilent: as `take`.
        """
        while self._end - self._start < header.size:
            held = self._end - self._start
            self._buffer[:held] = bytes(self._buffer[self._start : self._end])
            self._start, self._end = 0, held
            if not self._fill():
                raise ConnectionLost("the connection ended where a header was due")
        return header.unpack_from(self._buffer, self._start)

    def take_header(self, header: struct.Struct) -> tuple[Any, ...]:
        """The header that comes next; raises as `peek`."""
        fields = self.peek(header)
        self._start += header.size
        return fields

    def hang_up(self) -> None:
        """Close so that the peer still reads our last PDU.

        A socket closed with unread bytes is reset, and the reset overtakes what we sent.
        """
        sock = self.socket
        if sock is not None:
            # The peer may be faster.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
                patience = time.monotonic() + _LINGER_S
                while self._poll.poll(max(0.0, patience - time.monotonic()) * 1000):
                    if not sock.recv_into(self._buffer):
                        break
        self._start = self._end = 0
        self.close()

    def let_go(self) -> None:
        """Close and free the buffer: associations are cycles, which the interpreter frees late."""
        self.close()
        self._start = self._end = self._run = self._run_end = 0
        self._buffer = memoryview(b"")

    def _fill(self) -> int:
        assert self.socket is not None
        self._is_readable = False
        try:
            count = self._receive(self._buffer[self._end :])
        except BlockingIOError as exc:
            raise PeerSilent("nothing came in the middle of a PDU for the idle time-out") from exc
        except OSError as exc:
            raise ConnectionLost("the connection broke") from exc
        if _TCP_QUICKACK is not None:
            # The kernel forgets it by itself, so it is said after each read.
            self.socket.setsockopt(socket.IPPROTO_TCP, _TCP_QUICKACK, 1)
        self._end += count
        return count
