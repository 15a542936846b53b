"""The short text and number elements of a data set, in one pass over its bytes.

Not pydicom's reader, for three reasons: it reads a nested sequence and an undefined length as a
whole, so that a lying length costs memory; it inflates a deflated data set as a whole; and it
builds objects for each element, which takes longer than everything else done on arrival. Here no
value over `LONGEST_VALUE` is read, nothing is kept of what is skipped, and nothing recurses.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

LONGEST_VALUE = 1024
"""Bytes; a longer value is skipped."""
MOST_INFLATED = 64 * 1024 * 1024
"""Bytes of a deflated data set that are looked at."""

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
SHARED_FUNCTIONAL_GROUPS = 0x52009229
PER_FRAME_FUNCTIONAL_GROUPS = 0x52009230
PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
FIRST_AFTER_FILE_META = 0x00030000
END_OF_HEADER = PER_FRAME_FUNCTIONAL_GROUPS

# PS3.5 7.1.2: these have two reserved bytes and a length of four bytes.
_LONG_FORM = frozenset(
    [b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"]
)
# The only sequences looked into: what enhanced images say once for all frames.
_ENTERED = frozenset({0x00289110, 0x00209116})  # PixelMeasures-, PlaneOrientationSequence
_DEEPEST = 64
_PIECE = 65_536
MOST_ELEMENTS = 100_000
"""A walk ends here; only nested sequences of an undefined length can be so long."""


class Truncated(Exception):
    """The bytes end before the data set does."""


class Malformed(Exception):
    """The bytes are not a data set."""


class Source(Protocol):
    """Bytes read forwards."""

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes, or none at the very end; else raises `Truncated`."""
        ...

    def skip(self, count: int) -> None:
        """Pass over `count` bytes; raises `Truncated` if there are fewer."""
        ...

    @property
    def position(self) -> int:
        """Bytes read and skipped so far."""
        ...


class FileSource:
    """The bytes of a file, from where it stands."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self.position = file.tell()
        """Offset in the file."""

    def read(self, count: int) -> bytes:
        """As `Source.read`."""
        found = self._file.read(count)
        self.position += len(found)
        if found and len(found) < count:
            raise Truncated
        return found

    def skip(self, count: int) -> None:
        """As `Source.skip`."""
        if self.position + count > self._size:
            raise Truncated
        self.position += count
        self._file.seek(self.position)


class InflatedSource:
    """The bytes of a deflated data set (PS3.5 A.5), inflated piece by piece."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._piece = b""
        self._taken = 0
        self.position = 0
        """Offset in the inflated bytes."""

    def read(self, count: int) -> bytes:
        """As `Source.read`."""
        while len(self._piece) - self._taken < count and self._inflate():
            pass
        found = self._piece[self._taken : self._taken + count]
        self._taken += len(found)
        self.position += len(found)
        if found and len(found) < count:
            raise Truncated
        return found

    def skip(self, count: int) -> None:
        """As `Source.skip`."""
        while count:
            step = len(self.read(min(count, len(self._piece) - self._taken or 1)))
            if not step:
                raise Truncated
            count -= step

    def _inflate(self) -> bool:
        """Make a further piece ready; False at the end of the bytes."""
        if self.position > MOST_INFLATED:
            raise Malformed(f"more than {MOST_INFLATED >> 20} MB before the pixel data")
        compressed = self._inflater.unconsumed_tail or self._file.read(_PIECE)
        if not compressed or self._inflater.eof:
            return False
        try:
            inflated = self._inflater.decompress(compressed, _PIECE)
        except zlib.error as exc:
            raise Malformed("the deflated data set is damaged") from exc
        self._piece = self._piece[self._taken :] + inflated
        self._taken = 0
        return True


@dataclass(frozen=True, slots=True)
class Element:
    """One element with a short value. `vr` is None where the encoding is implicit."""

    tag: int
    vr: str | None
    value: bytes
    shared: bool
    """True inside (5200,9229) SharedFunctionalGroupsSequence."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The first element a walk did not read; the source stands at its value."""

    tag: int
    length: int
    start: int
    """Position of its first byte."""


class ElementReader:
    """Walks a data set up to its per-frame functional groups or pixel data."""

    def __init__(
        self, source: Source, *, implicit: bool, little_endian: bool, before: int = END_OF_HEADER
    ) -> None:
        """`before`: the walk ends at the first top-level tag from here on."""
        self._source = source
        self._before = before
        self._order = "<" if little_endian else ">"
        self._head = struct.Struct(f"{self._order}HH")
        self._length2 = struct.Struct(f"{self._order}H")
        self._length4 = struct.Struct(f"{self._order}L")
        self._implicit = [implicit]
        """Encoding at each depth of sequences of undefined length; the last is the present one."""
        self._shared_end = 0
        self._shared_depth = 0
        self.stopped_at: Stop | None = None
        """The element the walk ended before; None at the end of the bytes."""

    def __iter__(self) -> Iterator[Element]:
        """Top-level elements, and those of the shared functional groups, in the order they come.

        Raises:
            Truncated: the bytes end inside an element.
            Malformed: sequences are nested deeper than any object has them.
        """
        for _ in range(MOST_ELEMENTS):
            start = self._source.position
            head = self._source.read(8)
            if not head:
                return
            tag, vr, length = self._parse(head)
            depth = len(self._implicit)
            if tag == SEQUENCE_END and depth > 1:
                self._implicit.pop()
                if depth == self._shared_depth:
                    self._shared_depth = 0
            elif tag >> 16 == 0xFFFE:
                self._enter_item(tag, length)
            elif depth == 1 and tag >= self._before and not self._in_shared:
                self.stopped_at = Stop(tag, length, start)
                return
            elif length == UNDEFINED:
                self._enter_sequence(tag, vr)
            elif tag == SHARED_FUNCTIONAL_GROUPS and depth == 1:
                self._shared_end = self._source.position + length
            elif self._in_shared and tag in _ENTERED:
                continue
            elif length > LONGEST_VALUE or (depth > 1 and not self._in_shared):
                self._source.skip(length)
            else:
                value = self._source.read(length)
                if len(value) < length:
                    raise Truncated
                yield Element(tag, vr, value, self._in_shared)

    @property
    def _in_shared(self) -> bool:
        return bool(self._shared_depth) or self._source.position < self._shared_end

    def _parse(self, head: bytes) -> tuple[int, str | None, int]:
        group, element = self._head.unpack_from(head)
        tag = group << 16 | element
        vr = head[4:6]
        # A VR is two capitals; some writers fall into implicit encoding within sequences.
        if group == 0xFFFE or self._implicit[-1] or not (vr.isalpha() and vr.isupper()):
            return tag, None, self._length4.unpack_from(head, 4)[0]
        if vr in _LONG_FORM:
            long = self._source.read(4)
            if not long:
                raise Truncated
            return tag, vr.decode("ascii"), self._length4.unpack(long)[0]
        return tag, vr.decode("ascii"), self._length2.unpack_from(head, 6)[0]

    def _enter_item(self, tag: int, length: int) -> None:
        """Items of undefined length and of the shared groups are walked, others passed over."""
        if tag == ITEM and length != UNDEFINED and not self._in_shared:
            self._source.skip(length)

    def _enter_sequence(self, tag: int, vr: str | None) -> None:
        if len(self._implicit) >= _DEEPEST:
            raise Malformed("sequences are nested too deeply")
        # PS3.5 6.2.2 note 2: UN of undefined length holds items in implicit little endian.
        self._implicit.append(self._implicit[-1] or vr == "UN")
        if tag == SHARED_FUNCTIONAL_GROUPS and len(self._implicit) == 2:
            self._shared_depth = 2
