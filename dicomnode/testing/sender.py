"""A sender that says exactly what it is told to, well-formed or not: one socket, PDU by PDU."""

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.dsutils import encode
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import PresentationContext, build_context

ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RP, ABORT = 0x02, 0x03, 0x04, 0x06, 0x07
_HEADER = struct.Struct(">BxI")
_ELEMENT = struct.Struct("<HHI")


class RawSender:
    """A connection to a receiver. A context manager that closes it without a word."""

    def __init__(self, port: int, *, timeout_s: float = 20.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.accepted: dict[int, int] = {}
        """Presentation context id -> result (PS3.8 9.3.3.2; 0 is accepted)."""

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.socket.close()

    def associate(
        self,
        offers: Sequence[tuple[str, Sequence[str]]],
        *,
        calling_ae: str = "RAW",
        called_ae: str = "DICOMNODE",
    ) -> bytes:
        """Send an A-ASSOCIATE-RQ with (abstract syntax, transfer syntaxes) as contexts 1, 3, ...

        Returns the PDU that answers; see `accepted`.
        """
        self.send(associate_request(offers, calling_ae=calling_ae, called_ae=called_ae))
        answer = self.receive_pdu()
        if answer[0] == ASSOCIATE_AC:
            self.accepted = dict(_context_results(answer))
        return answer

    def send(self, data: bytes) -> None:
        """Send these bytes, whatever they mean."""
        self.socket.sendall(data)

    def store(self, uid: str, data_set: bytes, *, sop_class: str, context_id: int = 1) -> int:
        """Send one C-STORE and return its status."""
        self.send(p_data(context_id, 0x03, store_command(uid, sop_class)))
        self.send(p_data(context_id, 0x02, data_set))
        return self.receive_status()

    def receive_pdu(self) -> bytes:
        """The next whole PDU; empty when the connection ended."""
        header = self._receive(_HEADER.size)
        if len(header) < _HEADER.size:
            return b""
        return header + self._receive(_HEADER.unpack(header)[1])

    def receive_status(self) -> int:
        """Status (0000,0900) of the response that comes next."""
        return int(struct.unpack("<H", self.receive_response()[0x0900])[0])

    def receive_response(self) -> dict[int, bytes]:
        """Command elements of the response that comes next, by element number.

        Raises:
            ConnectionError: something else came, or nothing.
        """
        pdu = self.receive_pdu()
        if not pdu or pdu[0] != P_DATA:
            raise ConnectionError(f"no P-DATA but {pdu[:1].hex() or 'the end'}")
        return dict(_elements(pdu[12:]))

    def release(self) -> bool:
        """Ask for release; True if it was granted."""
        self.send(_HEADER.pack(0x05, 4) + bytes(4))
        return self.receive_pdu()[:1] == bytes([RELEASE_RP])

    def abort(self) -> None:
        """Send an A-ABORT (service user)."""
        self.send(_HEADER.pack(0x07, 4) + bytes(4))

    def _receive(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            piece = self.socket.recv(count - len(received))
            if not piece:
                break
            received += piece
        return received


@contextmanager
def associated(
    port: int, sop_class: str, transfer_syntax: str = "1.2.840.10008.1.2.1"
) -> Iterator[RawSender]:
    """A sender with one accepted context, id 1."""
    with RawSender(port) as sender:
        answer = sender.associate([(sop_class, [transfer_syntax])])
        if answer[:1] != bytes([ASSOCIATE_AC]) or sender.accepted != {1: 0}:
            raise ConnectionError("the association was not accepted")
        yield sender


def associate_request(
    offers: Sequence[tuple[str, Sequence[str]]], *, calling_ae: str, called_ae: str
) -> bytes:
    """An A-ASSOCIATE-RQ PDU."""
    request = A_ASSOCIATE()
    request.application_context_name = UID("1.2.840.10008.3.1.1.1")
    request.calling_ae_title, request.called_ae_title = calling_ae, called_ae
    request.presentation_context_definition_list = [
        _context(2 * number + 1, abstract, transfer)
        for number, (abstract, transfer) in enumerate(offers)
    ]
    longest = MaximumLengthNotification()
    longest.maximum_length_received = 16384
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = UID("2.25.1")
    request.user_information = [longest, implementation]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(request)
    return pdu.encode()


def store_command(uid: str, sop_class: str, *, message_id: int = 1, data_set: bool = True) -> bytes:
    """A C-STORE-RQ command set; `uid` and `sop_class` may be anything in ASCII."""
    elements = (
        _element(0x0002, _even(sop_class.encode(), b"\0")),
        _element(0x0100, struct.pack("<H", 0x0001)),
        _element(0x0110, struct.pack("<H", message_id)),
        _element(0x0700, struct.pack("<H", 0)),
        _element(0x0800, struct.pack("<H", 0x0000 if data_set else 0x0101)),
        _element(0x1000, _even(uid.encode(), b"\0")),
    )
    body = b"".join(elements)
    return _element(0x0000, struct.pack("<I", len(body))) + body


def p_data(context_id: int, control: int, value: bytes) -> bytes:
    """A P-DATA-TF PDU with one PDV. `control`: 1 command, 2 last fragment (PS3.8 E.2)."""
    pdv = struct.pack(">IBB", len(value) + 2, context_id, control) + value
    return _HEADER.pack(P_DATA, len(pdv)) + pdv


def encoded(ds: Dataset, *, implicit_vr: bool = False, little_endian: bool = True) -> bytes:
    """A data set as it goes over the wire, without File Meta Information.

    Raises:
        ValueError: it cannot be encoded.
    """
    data_set = encode(ds, implicit_vr, little_endian)
    if data_set is None:
        raise ValueError("the data set cannot be encoded")
    return data_set


def _context(context_id: int, abstract: str, transfer: Sequence[str]) -> PresentationContext:
    context = build_context(abstract, list(transfer))
    context.context_id = context_id
    return context


def _context_results(associate_ac: bytes) -> Iterator[tuple[int, int]]:
    at = 74
    while at + 4 <= len(associate_ac):
        (length,) = struct.unpack_from(">H", associate_ac, at + 2)
        if associate_ac[at] == 0x21:
            yield associate_ac[at + 4], associate_ac[at + 6]
        at += 4 + length


def _elements(command: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ELEMENT.size <= len(command):
        _, number, length = _ELEMENT.unpack_from(command, at)
        at += _ELEMENT.size
        yield number, command[at : at + length]
        at += length


def _element(number: int, value: bytes) -> bytes:
    return _ELEMENT.pack(0, number, len(value)) + value


def _even(value: bytes, padding: bytes) -> bytes:
    return value + padding if len(value) % 2 else value
