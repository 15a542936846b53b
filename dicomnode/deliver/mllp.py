"""One HL7 v2 message to a peer over MLLP, plain or in TLS, and what it answers."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

START, END = b"\x0b", b"\x1c\r"
LARGEST_ANSWER = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """MSA-1 and MSA-3 of an acknowledgement."""

    code: str
    """AA or CA: taken. AE or CE: not now. AR or CR: never."""
    words: str


def send_by_mllp(
    message: bytes,
    host: str,
    port: int,
    *,
    control_id: str,
    timeout_s: float,
    context: ssl.SSLContext | None = None,
    name: str = "",
) -> Answer:
    """Send `message` and wait for its acknowledgement; `name` is the certificate's.

    Raises:
        OSError: the peer cannot be reached, is not who it should be, does not answer in time, or
            what it answers is no acknowledgement of this message.
    """
    with connected(host, port, timeout_s=timeout_s, context=context, name=name) as line:
        line.sendall(START + message + END)
        return _read(_answer(line), control_id)


@contextmanager
def connected(
    host: str, port: int, *, timeout_s: float, context: ssl.SSLContext | None, name: str = ""
) -> Iterator[socket.socket]:
    """A line to the peer, in TLS if there is a `context`; `name` is the certificate's.

    Raises:
        OSError: the peer cannot be reached, or is not who it should be.
    """
    with ExitStack() as stack:
        line: socket.socket = stack.enter_context(
            socket.create_connection((host, port), timeout=timeout_s)
        )
        if context is not None:
            line = stack.enter_context(context.wrap_socket(line, server_hostname=name or host))
        yield line


def _answer(line: socket.socket) -> bytes:
    heard = b""
    while END not in heard:
        part = line.recv(4096)
        if not part:
            raise ConnectionError("the peer closed the connection without an answer")
        heard += part
        if len(heard) > LARGEST_ANSWER:
            raise ConnectionError("the peer's answer does not end")
    return heard[heard.find(START) + 1 : heard.index(END)]


def _read(data: bytes, control_id: str) -> Answer:
    """The MSA segment. A peer that repeats another control id answers something else."""
    lines = data.decode("utf-8", "replace").replace("\n", "\r").split("\r")
    header = next((each for each in lines if each.startswith("MSH")), "MSH|")
    separator = header[3:4] or "|"
    found = next((each for each in lines if each.startswith("MSA" + separator)), "")
    fields = [*found.split(separator), "", "", ""]
    if fields[1] not in ("AA", "CA", "AE", "CE", "AR", "CR"):
        raise ConnectionError("the peer answered with something that is no acknowledgement")
    if fields[2] != control_id:
        raise ConnectionError("the peer acknowledged another message")
    return Answer(code=fields[1], words=fields[3][:80])
