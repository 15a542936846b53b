"""Data sets as bytes in Explicit VR Little Endian and UTF-8: pydicom's own, several times faster.

A report is a tree of hundreds of small items, and pydicom makes a buffer for each element of each
of them. Sequences and plain texts are written here; every other element is left to pydicom.
"""

from collections.abc import Iterable
from struct import Struct
from typing import TypeVar

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element

Item = TypeVar("Item", bound=Dataset)

CHARACTER_SET = "ISO_IR 192"

_TEXT = frozenset({"LO", "LT", "SH", "ST"})
_LONG_TEXT = frozenset({"UC", "UT"})
_ASCII = frozenset({"AE", "AS", "CS", "DA", "DT", "TM", "UI"})
_SPECIFIC_CHARACTER_SET = 0x00080005
_META_LENGTH = 0x00020000
_META_REQUIRED = frozenset({0x00020001, 0x00020002, 0x00020003, 0x00020010, 0x00020012, 0x00020013})
_LARGEST_SHORT = 0xFFFF
_SHORT = Struct("<HH2sH")
"""Group, element, VR, length (PS3.5 7.1.2)."""
_LONG = Struct("<HH2sxxL")
_ITEM = Struct("<HHL")


class Unusual(Exception):
    """Something that is not written here: pydicom has to write the whole."""


_KEPT = "_kept_explicit"


def kept(item: Item) -> Item:
    """`item`, which is never changed from now on, with its bytes beside it.

    For codes and notes that every report repeats. A copy of it is written anew.
    """
    setattr(item, _KEPT, (id(item), _joined(item)))
    return item


def explicit_bytes(ds: Dataset) -> bytes:
    """`ds` without preamble and file meta information; its character set is UTF-8.

    Raises:
        Unusual: an item has a character set of its own, a length is left undefined, or a VR is
            ambiguous.
    """
    return _joined(ds, root=True)


def meta_bytes(meta: Dataset) -> bytes:
    """File meta information (PS3.10 7.1) with the length of its group; `meta` holds all the rest.

    Raises:
        Unusual: one of the elements that every file must have is missing.
    """
    elements = {int(tag): element for tag, element in meta.items() if tag != _META_LENGTH}
    if not elements.keys() >= _META_REQUIRED:
        raise Unusual
    content = b"".join(_element(meta, tag, elements[tag]) for tag in sorted(elements))
    return _headed(_SHORT, _META_LENGTH, "UL", len(content).to_bytes(4, "little")) + content


def _joined(ds: Dataset, *, root: bool = False) -> bytes:
    elements = {int(tag): element for tag, element in ds.items()}
    if not root and _SPECIFIC_CHARACTER_SET in elements:
        raise Unusual
    return b"".join(_element(ds, tag, elements[tag]) for tag in sorted(elements))


def _element(ds: Dataset, tag: int, element: DataElement | RawDataElement) -> bytes:
    if isinstance(element, RawDataElement):
        element = ds[tag]
    vr, value = element.VR, element.value
    if vr == "SQ":
        if element.is_undefined_length:
            raise Unusual
        return _headed(_LONG, tag, vr, _items(value))
    if isinstance(value, str):
        try:
            if vr in _TEXT or vr in _LONG_TEXT:
                content = value.encode("utf-8")
            elif vr in _ASCII:
                content = value.encode("iso8859")
            else:
                return _by_pydicom(element)
        except UnicodeError:
            return _by_pydicom(element)
        if len(content) % 2:
            content += b"\0" if vr == "UI" else b" "
        if vr in _LONG_TEXT:
            return _headed(_LONG, tag, vr, content)
        if len(content) <= _LARGEST_SHORT:
            return _headed(_SHORT, tag, vr, content)
    return _by_pydicom(element)


def _headed(header: Struct, tag: int, vr: str, content: bytes) -> bytes:
    return header.pack(tag >> 16, tag & 0xFFFF, vr.encode(), len(content)) + content


def _items(items: Iterable[Dataset]) -> bytes:
    parts = []
    for item in items:
        if getattr(item, "is_undefined_length_sequence_item", False):
            raise Unusual
        owner, content = item.__dict__.get(_KEPT, (None, b""))
        if owner != id(item):
            content = _joined(item)
        parts += [_ITEM.pack(0xFFFE, 0xE000, len(content)), content]
    return b"".join(parts)


def _by_pydicom(element: DataElement) -> bytes:
    if len(element.VR) != 2:
        raise Unusual
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_data_element(buffer, element, [CHARACTER_SET])
    return buffer.getvalue()
