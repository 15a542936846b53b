"""An accepted connection under TLS."""

import socket
import ssl
from collections.abc import Callable

from pynetdicom.association import Association

from dicomnode.receive.tuning.connection import ReceiverSocket
from dicomnode.receive.tuning.wakeups import Doorbell

_HANDSHAKE_S = 10.0
"""A peer that dawdles longer is hung up on."""


class SecureSocket(ReceiverSocket):
    """A `ReceiverSocket` whose bytes are decrypted first.

    Shakes hands in the association's own thread, so that a slow peer holds up nobody.
    """

    def __init__(
        self,
        assoc: Association,
        line: ssl.SSLSocket,
        *,
        timeout_s: float,
        on_refused: Callable[[str], None],
    ) -> None:
        self._secure = line
        self._timeout_s = timeout_s
        self._on_refused = on_refused
        super().__init__(assoc, line, timeout_s=timeout_s)

    def listen_to(self, doorbell: Doorbell) -> None:
        """As without TLS, once the peer has shown who it is."""
        super().listen_to(doorbell)
        try:
            self._secure.settimeout(min(_HANDSHAKE_S, self._timeout_s))
            self._secure.do_handshake()
            self._secure.settimeout(self._timeout_s)
        except OSError as exc:
            self._on_refused(_words(exc))
            self._is_connected = False
            self.event_queue.put("Evt17")

    def _limit_waits(self, line: socket.socket, timeout_s: float) -> None:
        """By Python: OpenSSL would try again where the kernel's limit ends a read."""
        line.settimeout(timeout_s)

    def _receive(self, into: memoryview) -> int:
        try:
            return super()._receive(into)
        except TimeoutError as exc:
            raise BlockingIOError from exc

    @property
    def _is_decrypted(self) -> bool:
        return bool(self._secure.pending())


def _words(exc: OSError) -> str:
    """Why there was no handshake, in OpenSSL's words and none of the peer's."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"the peer's certificate is not accepted: {exc.verify_message}"
    if isinstance(exc, ssl.SSLError):
        return f"no handshake: {(exc.reason or 'ended early').lower().replace('_', ' ')}"
    return "no handshake: the peer was silent or hung up"
