"""A file as it is stored: its transfer syntax, and where its pixel data lie."""

import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from dicomnode.web.dicomweb.problems import FileGone, NotHeld

_PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_BITS_OF_FLOATS = {0x7FE00008: 32, 0x7FE00009: 64}
_KEYWORDS = (
    *("SOPClassUID", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "Rows"),
    *("Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "PlanarConfiguration"),
)
_ITEM, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_MOST_FRAGMENTS = 1_000_000
_LONG_FORM = (b"OB", b"OW", b"UN", b"OF", b"OD", b"OL", b"OV")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """How and where a file keeps its pixels (PS3.3 C.7.6.3, PS3.5 section 8)."""

    tag: int
    vr: str
    transfer_syntax: UID
    rows: int
    columns: int
    samples: int
    photometric: str
    planar: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    frames: int
    start: int
    """Offset of the value in the file."""
    length: int | None
    """Of the value in bytes; None: encapsulated in fragments."""

    @property
    def frame_bits(self) -> int:
        """Of one frame that is not compressed."""
        # YBR_FULL_422 keeps two of three samples (PS3.3 C.7.6.3.1.2).
        is_halved = self.photometric == "YBR_FULL_422" and self.length is not None
        return self.rows * self.columns * (2 if is_halved else self.samples) * self.bits_allocated


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """One PS3.10 file."""

    path: Path
    transfer_syntax: UID
    sop_class: str
    data_set_at: int
    """Offset of the data set: what lies before is preamble and file meta information."""
    pixels: Pixels | None
    """None: no pixel data, or a deflated data set."""

    @property
    def is_deflated(self) -> bool:
        """Offsets mean nothing in it."""
        return self.transfer_syntax == DeflatedExplicitVRLittleEndian


def open_stored(path: Path) -> StoredFile:
    """Read where things are; remembered for the files asked for last.

    Raises:
        FileGone: the file is missing, or cannot be read.
    """
    try:
        stat = path.stat()
        return _open_stored(path, stat.st_mtime_ns, stat.st_size)
    except OSError as exc:
        raise FileGone(f"the file cannot be opened: {exc.strerror}") from exc


@lru_cache(maxsize=512)
def _open_stored(path: Path, _changed: int, size: int) -> StoredFile:
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            # Values of the header may stand in pydicom's warnings.
            warnings.simplefilter("ignore")
            return _read(path, file, size)
    except OSError:
        raise
    except Exception as exc:  # a damaged header makes pydicom raise almost anything
        raise FileGone(f"the file cannot be read ({type(exc).__name__})") from exc


def _read(path: Path, file: BinaryIO, size: int) -> StoredFile:
    ds = dcmread(file, stop_before_pixels=True, specific_tags=list(_KEYWORDS))
    transfer_syntax = UID(ds.file_meta.TransferSyntaxUID)
    is_deflated = transfer_syntax == DeflatedExplicitVRLittleEndian
    pixels = None if is_deflated else _pixels(file, ds, transfer_syntax, size)
    file.seek(132)
    length = struct.unpack("<HH2sHI", file.read(12))
    has_length = length[:2] == (2, 0)
    return StoredFile(
        path=path,
        transfer_syntax=transfer_syntax,
        sop_class=str(ds.get("SOPClassUID", "")),
        data_set_at=144 + length[4] if has_length else 132,
        pixels=pixels,
    )


def _pixels(file: BinaryIO, ds: Dataset, transfer_syntax: UID, size: int) -> Pixels | None:
    """Pixel data begin where `file` stands, if there are any."""
    order = ">" if transfer_syntax == ExplicitVRBigEndian else "<"
    head = file.read(8)
    if len(head) < 8:
        return None
    group, element = struct.unpack(f"{order}HH", head[:4])
    tag, vr = group << 16 | element, "OW"
    if tag not in _PIXEL_DATA or not ds.get("Rows") or not ds.get("Columns"):
        return None
    if transfer_syntax.is_implicit_VR or head[4:6] not in _LONG_FORM:
        (length,) = struct.unpack(f"{order}I", head[4:])
    else:
        vr = head[4:6].decode("ascii")
        (length,) = struct.unpack(f"{order}I", file.read(4))
    start = file.tell()
    if length != _UNDEFINED and start + length > size:
        raise EOFError
    return Pixels(
        tag=tag,
        vr=vr,
        transfer_syntax=transfer_syntax,
        rows=int(ds.Rows),
        columns=int(ds.Columns),
        samples=int(ds.get("SamplesPerPixel") or 1),
        photometric=str(ds.get("PhotometricInterpretation") or "MONOCHROME2"),
        planar=int(ds.get("PlanarConfiguration") or 0),
        bits_allocated=int(ds.get("BitsAllocated") or _BITS_OF_FLOATS.get(tag, 16)),
        bits_stored=int(ds.get("BitsStored") or ds.get("BitsAllocated") or 16),
        signed=ds.get("PixelRepresentation") == 1,
        frames=max(1, int(ds.get("NumberOfFrames") or 1)),
        start=start,
        length=None if length == _UNDEFINED else length,
    )


Extents = tuple[tuple[int, int], ...]
"""(offset in the file, bytes) of each piece."""


def frame_extents(stored: StoredFile, index: int) -> Extents:
    """Where encapsulated frame `index` (from 0) lies: one extent a fragment.

    Raises:
        FileGone: the fragments do not tell where a frame begins (PS3.5 A.4).
    """
    pixels = stored.pixels
    if pixels is None or not 0 <= index < pixels.frames:
        raise NotHeld("there is no such frame")
    stat = stored.path.stat()
    offsets, fragments = _fragments(stored.path, pixels.start, stat.st_mtime_ns, stat.st_size)
    if pixels.frames == 1:
        return fragments
    if len(offsets) == pixels.frames:
        # The table counts from the first byte after itself, items included (PS3.5 A.4).
        base = fragments[0][0] - 8
        first = base + offsets[index]
        end = base + offsets[index + 1] if index + 1 < len(offsets) else None
        found = tuple(one for one in fragments if first < one[0] and (end is None or one[0] < end))
    elif len(fragments) == pixels.frames:
        found = (fragments[index],)
    else:
        raise FileGone("the fragments of this image do not tell where its frames begin")
    if not found:
        raise FileGone("the offset table of this image is wrong")
    return found


@lru_cache(maxsize=64)
def _fragments(path: Path, start: int, _changed: int, size: int) -> tuple[Sequence[int], Extents]:
    """The basic offset table and every fragment; only their headers are read."""
    fragments: list[tuple[int, int]] = []
    offsets: Sequence[int] = ()
    try:
        with path.open("rb") as file:
            at = start
            for number in range(_MOST_FRAGMENTS):
                file.seek(at)
                head = file.read(8)
                if len(head) < 8:
                    break
                group, element, length = struct.unpack("<HHI", head)
                if group << 16 | element != _ITEM or at + 8 + length > size:
                    break
                if number == 0:
                    offsets = struct.unpack(f"<{length // 4}I", file.read(length // 4 * 4))
                else:
                    fragments.append((at + 8, length))
                at += 8 + length
    except OSError as exc:
        raise FileGone(f"the file cannot be read: {exc.strerror}") from exc
    if not fragments:
        raise FileGone("the image holds no fragments")
    return offsets, tuple(fragments)
