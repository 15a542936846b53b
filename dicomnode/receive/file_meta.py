"""The head of our files: preamble and File Meta Information (PS3.10 7.1), then the peer's bytes."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dicomnode import __version__
from dicomnode.domain.errors import InstanceUnreadable
from dicomnode.domain.identifiers import checked_uid, derived_uid

IMPLEMENTATION_CLASS_UID = derived_uid("dicomnode", "implementation class")
IMPLEMENTATION_VERSION_NAME = f"DICOMNODE_{__version__}"[:16]

_PREAMBLE = bytes(128) + b"DICM"
_SHORT = struct.Struct("<HH2sH")
_LONG = struct.Struct("<HH2sHI")
_GROUP_LENGTH_END = len(_PREAMBLE) + 12

_MEDIA_SOP_CLASS_UID = 0x0002
_MEDIA_SOP_INSTANCE_UID = 0x0003
_TRANSFER_SYNTAX_UID = 0x0010


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMeta:
    """What the head of one of our files says."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


def write_file_head(meta: FileMeta, *, sender_ae: str) -> bytes:
    """Preamble, prefix and File Meta Information; the data set follows at once.

    `sender_ae` becomes SourceApplicationEntityTitle (0002,0016).
    """
    elements = b"".join(
        (
            _LONG.pack(2, 0x0001, b"OB", 0, 2) + b"\x00\x01",
            _short_element(_MEDIA_SOP_CLASS_UID, b"UI", meta.sop_class_uid),
            _short_element(_MEDIA_SOP_INSTANCE_UID, b"UI", meta.sop_instance_uid),
            _short_element(_TRANSFER_SYNTAX_UID, b"UI", meta.transfer_syntax_uid),
            _short_element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _short_element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
            _short_element(0x0016, b"AE", sender_ae),
        )
    )
    length = _SHORT.pack(2, 0x0000, b"UL", 4) + struct.pack("<I", len(elements))
    return _PREAMBLE + length + elements


def read_file_head(file: BinaryIO) -> FileMeta:
    """Read the head of one of our own files; `file` then stands at the first byte of the data set.

    Raises:
        InstanceUnreadable: it is not a file this receiver wrote, or it is cut off.
    """
    head = file.read(_GROUP_LENGTH_END)
    if len(head) < _GROUP_LENGTH_END or not head.startswith(_PREAMBLE):
        raise InstanceUnreadable(f"{Path(file.name).name} has no File Meta Information")
    (length,) = struct.unpack("<I", head[-4:])
    elements = file.read(length)
    if len(elements) < length:
        raise InstanceUnreadable(f"{Path(file.name).name} ends in its File Meta Information")
    uids = _read_uids(elements)
    try:
        return FileMeta(
            sop_class_uid=checked_uid(uids[_MEDIA_SOP_CLASS_UID]),
            sop_instance_uid=checked_uid(uids[_MEDIA_SOP_INSTANCE_UID]),
            transfer_syntax_uid=checked_uid(uids[_TRANSFER_SYNTAX_UID]),
        )
    except KeyError as exc:
        raise InstanceUnreadable(
            f"{Path(file.name).name} lacks File Meta element (0002,{exc.args[0]:04X})"
        ) from exc


def _read_uids(elements: bytes) -> dict[int, str]:
    uids: dict[int, str] = {}
    offset = 0
    while offset + _LONG.size <= len(elements):
        _, number, vr, length = _SHORT.unpack_from(elements, offset)
        start = offset + _SHORT.size
        if vr == b"OB":
            _, _, _, _, length = _LONG.unpack_from(elements, offset)
            start = offset + _LONG.size
        value = elements[start : start + length]
        if vr == b"UI":
            uids[number] = value.rstrip(b"\0").decode("ascii", errors="replace")
        offset = start + length
    return uids


def _short_element(number: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii", errors="replace")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return _SHORT.pack(2, number, vr, len(value)) + value
