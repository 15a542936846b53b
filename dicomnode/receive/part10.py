"""The head of somebody else's DICOM file (PS3.10 7.1), read as its bytes come."""

import struct

from dicomnode.domain.errors import InstanceUnreadable
from dicomnode.receive.file_meta import FileMeta

LARGEST_HEAD = 64 * 1024
"""Bytes of preamble and File Meta Information."""
_DATA = 132
_LONG_FORM = frozenset([b"OB", b"OW", b"UN", b"UT", b"SQ", b"UC", b"UR", b"OD", b"OF", b"OL"])
_MEDIA_SOP_CLASS_UID = 0x0002
_MEDIA_SOP_INSTANCE_UID = 0x0003
_TRANSFER_SYNTAX_UID = 0x0010


class HeadReader:
    """Takes the beginning of a file until its data set begins."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, piece: memoryview) -> tuple[FileMeta, bytes] | None:
        """None while the head goes on; then what it says, and the first bytes of the data set.

        UIDs are as the sender wrote them: not yet checked.

        Raises:
            InstanceUnreadable: this is no DICOM file, or it does not say what it holds.
        """
        self._held += piece
        if len(self._held) < _DATA + 12:
            return None
        end, elements = _walk(self._held, _start(self._held))
        if end is None:
            if len(self._held) > LARGEST_HEAD:
                raise InstanceUnreadable("the File Meta Information is too long")
            return None
        meta = FileMeta(
            sop_class_uid=_uid(elements, _MEDIA_SOP_CLASS_UID),
            sop_instance_uid=_uid(elements, _MEDIA_SOP_INSTANCE_UID),
            transfer_syntax_uid=_uid(elements, _TRANSFER_SYNTAX_UID),
        )
        return meta, bytes(self._held[end:])


def _start(held: bytearray) -> int:
    """Where File Meta Information begins."""
    if held[128:_DATA] == b"DICM":
        return _DATA
    # Toolkits that write a data set made in memory leave the preamble out.
    if held[:2] == b"\x02\x00" and bytes(held[4:6]) in (b"UL", b"OB", b"UI"):
        return 0
    raise InstanceUnreadable("not a DICOM file: no DICM mark at byte 128 (PS3.10 7.1)")


def _walk(held: bytearray, at: int) -> tuple[int | None, dict[int, bytes]]:
    """Where the data set begins (None: further on), and the elements of group 2 before it."""
    elements: dict[int, bytes] = {}
    end: int | None = None
    while end is None or at < end:
        if at + 12 > len(held):
            return None, {}
        group, number, vr, length = struct.unpack_from("<HH2sH", held, at)
        if group != 2:
            return at, elements
        start = at + 8
        if vr in _LONG_FORM:
            (length,) = struct.unpack_from("<I", held, at + 8)
            start = at + 12
        if start + length > len(held):
            return None, {}
        value = bytes(held[start : start + length])
        if number == 0 and length == 4:
            end = start + 4 + int.from_bytes(value, "little")
        elements[number] = value
        at = start + length
    return at, elements


def _uid(elements: dict[int, bytes], number: int) -> str:
    if number not in elements:
        raise InstanceUnreadable(f"File Meta element (0002,{number:04X}) is missing")
    return elements[number].decode("ascii", errors="replace").rstrip("\0 ")
