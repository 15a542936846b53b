"""Lines to a syslog collector: UDP (RFC 5426), or TLS over TCP (RFC 5425)."""

import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress

TIMEOUT_S = 5.0
# How long a refusal may be on its way.
REFUSAL_S = 1.0


def send_by_udp(lines: Sequence[bytes], host: str, port: int) -> None:
    """One datagram each. Nobody says whether they arrive.

    Raises:
        OSError: the host is not known or the network refuses them.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as out:
        out.settimeout(TIMEOUT_S)
        out.connect(address)
        for line in lines:
            out.send(line)


def send_by_tls(
    lines: Sequence[bytes], host: str, port: int, *, context: ssl.SSLContext, name: str
) -> None:
    """Over one connection, each line with its length before it; `name` is the certificate's.

    Raises:
        OSError: the collector cannot be reached, is not who it should be, or refuses us.
    """
    with (
        socket.create_connection((host, port), timeout=TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=name) as line_out,
    ):
        for line in lines:
            line_out.sendall(b"%d %b" % (len(line), line))
        line_out.settimeout(REFUSAL_S)
        _listen_for_refusal(line_out)
        # Many collectors close without saying so.
        with suppress(OSError):
            line_out.unwrap()


def _listen_for_refusal(line_out: ssl.SSLSocket) -> None:
    """A collector says nothing, unless (TLS 1.3) our certificate does not suit it."""
    try:
        heard = line_out.recv(1)
    except TimeoutError:
        return
    if not heard:
        raise ConnectionError("the collector closed the connection")
