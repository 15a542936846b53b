"""C-STORE command sets, read and written without a DICOM library.

Command sets are Implicit VR Little Endian (PS3.7 6.3.1): element = group, number (2 bytes each),
length (4 bytes), value. Only what C-STORE needs is understood; the rest is pynetdicom's.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from dicomnode.receive.errors import ProtocolBroken

_ELEMENT = struct.Struct("<HHI")
_US = struct.Struct("<H")

_AFFECTED_SOP_CLASS_UID = 0x0002
_COMMAND_FIELD = 0x0100
_MESSAGE_ID = 0x0110
_MESSAGE_ID_RESPONDED_TO = 0x0120
_COMMAND_DATA_SET_TYPE = 0x0800
_STATUS = 0x0900
_ERROR_COMMENT = 0x0902
_AFFECTED_SOP_INSTANCE_UID = 0x1000

_C_STORE_RQ = 0x0001
_C_STORE_RSP = 0x8001
_NO_DATA_SET = 0x0101


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRequest:
    """A C-STORE-RQ command (PS3.7 9.3.1.1). The UIDs are as the peer sent them: not yet checked."""

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    has_data_set: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Any command: whether a data set follows, and the C-STORE request if it is one."""

    has_data_set: bool
    store_request: StoreRequest | None


def read_command(command: bytes) -> Command:
    """Read a complete command set as far as needed.

    Raises:
        ProtocolBroken: the bytes are no command set, or mandatory elements are missing.
    """
    elements = _read_elements(command)
    has_data_set = _number(elements, _COMMAND_DATA_SET_TYPE) != _NO_DATA_SET
    if _number(elements, _COMMAND_FIELD) != _C_STORE_RQ:
        return Command(has_data_set=has_data_set, store_request=None)
    request = StoreRequest(
        message_id=_number(elements, _MESSAGE_ID),
        sop_class_uid=_text(elements, _AFFECTED_SOP_CLASS_UID),
        sop_instance_uid=_text(elements, _AFFECTED_SOP_INSTANCE_UID),
        has_data_set=has_data_set,
    )
    return Command(has_data_set=has_data_set, store_request=request)


def write_store_response(
    request: StoreRequest, status: int, comment: str = "", *, with_uids: bool = True
) -> bytes:
    """The C-STORE-RSP command set (PS3.7 9.3.1.2) that answers `request`.

    `with_uids` False leaves out the optional UIDs, for requests whose UIDs are no UIDs.
    """
    body = b"".join(
        (
            _uid_element(_AFFECTED_SOP_CLASS_UID, request.sop_class_uid) if with_uids else b"",
            _number_element(_COMMAND_FIELD, _C_STORE_RSP),
            _number_element(_MESSAGE_ID_RESPONDED_TO, request.message_id),
            _number_element(_COMMAND_DATA_SET_TYPE, _NO_DATA_SET),
            _number_element(_STATUS, status),
            _padded_element(_ERROR_COMMENT, comment[:64].encode("ascii"), b" ") if comment else b"",
            _uid_element(_AFFECTED_SOP_INSTANCE_UID, request.sop_instance_uid)
            if with_uids
            else b"",
        )
    )
    return _ELEMENT.pack(0, 0, 4) + struct.pack("<I", len(body)) + body


def _read_elements(command: bytes) -> Mapping[int, bytes]:
    elements: dict[int, bytes] = {}
    offset = 0
    while offset < len(command):
        if offset + _ELEMENT.size > len(command):
            raise ProtocolBroken("command set ends in the middle of an element")
        group, number, length = _ELEMENT.unpack_from(command, offset)
        offset += _ELEMENT.size
        if group != 0 or offset + length > len(command):
            raise ProtocolBroken("command set holds what is no command element")
        elements[number] = command[offset : offset + length]
        offset += length
    return elements


def _number(elements: Mapping[int, bytes], number: int) -> int:
    value = elements.get(number, b"")
    if len(value) != _US.size:
        raise ProtocolBroken(f"command element (0000,{number:04X}) is missing or malformed")
    return int(_US.unpack(value)[0])


def _text(elements: Mapping[int, bytes], number: int) -> str:
    # Padding is one NUL by the standard; some peers pad with spaces.
    return elements.get(number, b"").decode("ascii", errors="replace").rstrip("\0 ")


def _number_element(number: int, value: int) -> bytes:
    return _ELEMENT.pack(0, number, _US.size) + _US.pack(value)


def _uid_element(number: int, uid: str) -> bytes:
    return _padded_element(number, uid.encode("ascii"), b"\0")


def _padded_element(number: int, value: bytes, padding: bytes) -> bytes:
    if len(value) % 2:
        value += padding
    return _ELEMENT.pack(0, number, len(value)) + value
