"""Bytes of an element become text, whatever they are; nothing here raises on odd values."""

import struct
from collections.abc import Mapping
from functools import lru_cache

from pydicom.charset import decode_bytes, python_encoding
from pydicom.datadict import dictionary_VR, keyword_for_tag

from dicomnode.assembly.elements import Element

SPECIFIC_CHARACTER_SET = 0x00080005
PIXEL_REPRESENTATION = 0x00280103

# VR -> code of `struct`.
_NUMBERS: Mapping[str, str] = dict(
    zip(("US", "SS", "UL", "SL", "UV", "SV", "FL", "FD"), "HhLlQqfd", strict=True)
)
_IN_CHARACTER_SET = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_ONE_VALUE = frozenset({"LT", "ST", "UT", "UR"})
_ASCII = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI"})
_TEXT = _IN_CHARACTER_SET | _ONE_VALUE | _ASCII
_DELIMITERS = {ord("^"), ord("="), ord("\\")}


class ValueReader:
    """Reads the values of one data set; elements must come in its order.

    Remembers (0008,0005) for the text that follows it, and (0028,0103) for `US or SS`.
    """

    def __init__(self, *, little_endian: bool) -> None:
        self._order = "<" if little_endian else ">"
        self._encodings = ["iso8859"]
        self._signed = False

    def read(self, element: Element) -> tuple[str, tuple[str, ...]] | None:
        """Keyword and values; None for private, unknown, binary and sequence elements.

        Blanks and nulls around a value are cut off. An element without a value gives `()`; an
        empty one among several values stays, so that places keep their meaning.
        """
        known = _known(element.tag)
        if known is None:
            return None
        keyword, dictionary_vr = known
        vr = element.vr if element.vr not in (None, "UN") else dictionary_vr
        if vr == "US or SS":
            vr = "SS" if self._signed else "US"
        if vr in _NUMBERS:
            values = self._numbers(_NUMBERS[vr], element.value)
        elif vr in _TEXT:
            values = self._texts(vr, element.value)
        else:
            return None
        if element.tag == SPECIFIC_CHARACTER_SET:
            self._encodings = _python_encodings(values)
        elif element.tag == PIXEL_REPRESENTATION:
            self._signed = values[:1] == ("1",)
        return keyword, values

    def _numbers(self, code: str, value: bytes) -> tuple[str, ...]:
        count = len(value) // struct.calcsize(f"={code}")
        return tuple(
            f"{one:.9g}" if code == "f" else str(one)
            for one in struct.unpack_from(f"{self._order}{count}{code}", value)
        )

    def _texts(self, vr: str, value: bytes) -> tuple[str, ...]:
        # Decoded before it is split: the second byte of a character may look like a backslash.
        text = self._decoded(value) if vr in _IN_CHARACTER_SET else value.decode("latin-1")
        parts = [text] if vr in _ONE_VALUE else text.split("\\")
        values = tuple(part.strip(" \0\t\r\n") for part in parts)
        return values if any(values) else ()

    def _decoded(self, value: bytes) -> str:
        if b"\x1b" in value:
            return decode_bytes(value, self._encodings, _DELIMITERS)
        return value.decode(self._encodings[0], errors="replace")


@lru_cache(maxsize=8192)
def _known(tag: int) -> tuple[str, str] | None:
    """Keyword and VR of a tag in pydicom's dictionary."""
    if tag >> 16 & 1:
        return None
    keyword = keyword_for_tag(tag)
    return (keyword, dictionary_VR(tag)) if keyword else None


def _python_encodings(defined_terms: tuple[str, ...]) -> list[str]:
    """Encodings of (0008,0005) (PS3.3 C.12.1.1.2); unknown terms count as the default."""
    encodings = [python_encoding.get(term, "iso8859") for term in defined_terms]
    return encodings or ["iso8859"]
