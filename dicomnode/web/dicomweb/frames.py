"""Frames of an image: as they are stored, or decoded to little endian (PS3.18 10.4, 8.7.3)."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian

from dicomnode.pipeline.codecs import missing_decoder
from dicomnode.web.dicomweb.accepting import Wanted
from dicomnode.web.dicomweb.problems import NotAcceptable, NotHeld
from dicomnode.web.dicomweb.stored import Pixels, StoredFile, frame_extents

OCTETS = "application/octet-stream"
LITTLE = str(ExplicitVRLittleEndian)

_JPEG = "1.2.840.10008.1.2.4."
MEDIA_TYPES: Mapping[str, str] = {
    "1.2.840.10008.1.2.5": "image/dicom-rle",
    **{f"{_JPEG}{number}": "image/jpeg" for number in (*range(50, 67), 70)},
    **{f"{_JPEG}{number}": "image/jls" for number in (80, 81)},
    **{f"{_JPEG}{number}": "image/jp2" for number in (90, 91)},
    **{f"{_JPEG}{number}": "image/jpx" for number in (92, 93)},
    **{f"{_JPEG}{number}": "image/jphc" for number in (201, 202, 203)},
    **{f"{_JPEG}{number}": "video/mpeg" for number in ("100", "101")},
    **{f"{_JPEG}{number}": "video/mp4" for number in (102, 103, 104, 105, 106, 107, 108)},
}
"""Transfer syntax of compressed pixels -> what a frame of it is called (Table 8.7.3-5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameForm:
    """In what form frames are given."""

    media_type: str
    transfer_syntax: str
    decoded: bool

    @property
    def content_type(self) -> str:
        """Of one part."""
        return f"{self.media_type}; transfer-syntax={self.transfer_syntax}"


def can_decode(transfer_syntax: UID) -> bool:
    """True if something is installed that decodes it."""
    if not transfer_syntax.is_encapsulated:
        return True
    try:
        return get_decoder(transfer_syntax).is_available
    except NotImplementedError:
        return False


def choose_form(stored: StoredFile, wanted: Sequence[Wanted]) -> FrameForm:
    """The form the client wants most of those there are; uncompressed where it does not say.

    Raises:
        NotAcceptable: naming the form that there is.
    """
    syntax = stored.transfer_syntax
    media_type = MEDIA_TYPES.get(str(syntax), OCTETS)
    for one in wanted:
        asked = one.transfer_syntax
        is_octets, is_its_own = one.fits(OCTETS), one.fits(media_type)
        if is_octets and asked in (None, LITTLE) and can_decode(syntax):
            return FrameForm(media_type=OCTETS, transfer_syntax=LITTLE, decoded=True)
        if (is_octets or is_its_own) and (
            asked in ("*", str(syntax)) or (asked is None and is_its_own)
        ):
            # Big endian and bit-packed frames are always put into the common order.
            kept = syntax.is_encapsulated
            kind = OCTETS if one.type == OCTETS else media_type
            name = str(syntax) if kept else LITTLE
            return FrameForm(media_type=kind, transfer_syntax=name, decoded=not kept)
    raise NotAcceptable(f"frames are stored as {media_type} in transfer syntax {syntax}")


def frame_numbers(text: str, frames: int) -> tuple[int, ...]:
    """Indices from 0 of a list such as `1,2,7` as the address has it.

    Raises:
        NotHeld: one of them is not there.
    """
    numbers = text.split(",")
    if len(numbers) > max(frames, 1) or not all(
        one.isascii() and one.isdecimal() and len(one) < 10 and 1 <= int(one) <= frames
        for one in numbers
    ):
        raise NotHeld(f"the image has {frames} frames, numbered from 1")
    return tuple(int(one) - 1 for one in numbers)


def read_frame(stored: StoredFile, index: int, form: FrameForm) -> bytes:
    """Frame `index` (from 0) in `form`; no other frame is read.

    Raises:
        NotHeld: the file holds no pixels, or less than it says.
        NotAcceptable: it cannot be decoded.
    """
    pixels = stored.pixels
    if pixels is None or not form.decoded:
        return _raw(stored, index) if pixels is not None else _decoded(stored, index)
    if pixels.length is None or pixels.transfer_syntax == ExplicitVRBigEndian:
        return _decoded(stored, index)
    return _native(stored, pixels, index)


def _raw(stored: StoredFile, index: int) -> bytes:
    """The bytes of an encapsulated frame, its fragments put together."""
    with stored.path.open("rb") as file:
        found = bytearray()
        for offset, length in frame_extents(stored, index):
            file.seek(offset)
            found += file.read(length)
    return bytes(found)


def _native(stored: StoredFile, pixels: Pixels, index: int) -> bytes:
    first, last = index * pixels.frame_bits, (index + 1) * pixels.frame_bits
    start, end = first // 8, -(-last // 8)
    if pixels.length is None or end > pixels.length:
        raise NotHeld("the pixel data end before this frame")
    with stored.path.open("rb", buffering=0) as file:
        file.seek(pixels.start + start)
        found = file.read(end - start)
    if first % 8 == 0:
        return found
    # Frames of single bits follow one another without a gap (PS3.5 8.1.1).
    bits = np.unpackbits(np.frombuffer(found, dtype=np.uint8), bitorder="little")
    shift = first % 8
    return np.packbits(bits[shift : shift + pixels.frame_bits], bitorder="little").tobytes()


def _decoded(stored: StoredFile, index: int) -> bytes:
    array = decode(stored, index, as_rgb=True)
    if stored.pixels is not None and stored.pixels.bits_allocated == 1:
        return np.packbits(array.reshape(-1) != 0, bitorder="little").tobytes()
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def decode(stored: StoredFile, index: int, *, as_rgb: bool) -> npt.NDArray[np.generic]:
    """Stored values of one frame, (rows, columns) or (rows, columns, samples).

    Raises:
        NotAcceptable: nothing here decodes it, or the pixels are damaged.
        NotHeld: there is no such frame.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _arrays(stored, index, as_rgb)
    except (NotHeld, NotAcceptable):
        raise
    except Exception as exc:  # codecs raise whatever their C code was wrapped in
        name = stored.transfer_syntax.name
        hint = missing_decoder(stored.transfer_syntax) or type(exc).__name__
        raise NotAcceptable(f"the pixels cannot be decoded ({name}; {hint})") from exc


def _arrays(stored: StoredFile, index: int, as_rgb: bool) -> npt.NDArray[np.generic]:
    pixels = stored.pixels
    if stored.is_deflated:
        ds = dcmread(stored.path)
        if "PixelData" not in ds:
            raise NotHeld("this instance holds no pixels")
        found: npt.NDArray[np.generic] = pixel_array(ds, index=index, raw=not as_rgb)
        return found
    if pixels is None:
        raise NotHeld("this instance holds no pixels")
    if pixels.length is not None:
        return pixel_array(stored.path, index=index, raw=not as_rgb)
    # One frame by itself: pydicom would walk all fragments before it each time.
    options: dict[str, Any] = {
        "rows": pixels.rows,
        "columns": pixels.columns,
        "number_of_frames": 1,
        "samples_per_pixel": pixels.samples,
        "photometric_interpretation": pixels.photometric,
        "planar_configuration": pixels.planar,
        "bits_allocated": pixels.bits_allocated,
        "bits_stored": pixels.bits_stored,
        "pixel_representation": int(pixels.signed),
        "pixel_keyword": "PixelData",
    }
    frame = encapsulate([_raw(stored, index)], has_bot=False)
    decoder = get_decoder(pixels.transfer_syntax)
    return decoder.as_array(frame, index=0, raw=not as_rgb, **options)[0]


def frame_count(stored: StoredFile) -> int:
    """Frames of the image.

    Raises:
        NotHeld: it is none.
    """
    if stored.pixels is not None:
        return stored.pixels.frames
    if stored.is_deflated:
        ds = dcmread(stored.path, stop_before_pixels=True)
        if ds.get("Rows"):
            return max(1, int(ds.get("NumberOfFrames") or 1))
    raise NotHeld("this instance holds no pixels")
