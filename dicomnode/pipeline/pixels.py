"""Stored pixels of a file, frame by frame, and their values in units."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, ExplicitVRBigEndian

from dicomnode.domain.disk import disk_fault, is_disk_fault
from dicomnode.domain.errors import UnsupportedImage
from dicomnode.pipeline.codecs import missing_decoder
from dicomnode.pipeline.frames import ImageFile, PixelLayout, Rescale

Stored = npt.NDArray[np.integer]


def read_stored(image: ImageFile, indices: Sequence[int]) -> Iterator[Stored]:
    """Stored values of the frames `indices` (0-based, rising), each (rows, columns).

    The array handed out may be overwritten by the next one.

    Raises:
        UnsupportedImage: pixels are cut short or cannot be decoded.
        DiskFault: the disk does not give them for now.
    """
    if image.layout.offset is not None and not image.layout.encapsulated:
        yield from _native(image, image.layout.offset, indices)
    else:
        yield from _decoded(image, indices)


def _native(image: ImageFile, offset: int, indices: Sequence[int]) -> Iterator[Stored]:
    layout = image.layout
    dtype = _native_dtype(layout)
    buffer = np.empty((layout.rows, layout.columns), dtype=dtype)
    raw = buffer.reshape(-1).view(np.uint8).data
    try:
        with image.path.open("rb", buffering=0) as file:
            for index in indices:
                file.seek(offset + index * layout.frame_bytes)
                if file.readinto(raw) != layout.frame_bytes:
                    raise UnsupportedImage(f"{image.label}: the pixel data is cut short")
                yield _without_unused_bits(buffer, layout)
    except OSError as exc:
        if is_disk_fault(exc):
            raise disk_fault(exc, f"{image.label} cannot be read") from exc
        raise UnsupportedImage(f"{image.label}: the file cannot be read") from exc


def _native_dtype(layout: PixelLayout) -> np.dtype[np.integer]:
    order = ">" if layout.transfer_syntax_uid == ExplicitVRBigEndian else "<"
    return np.dtype(f"{order}{'i' if layout.signed else 'u'}{layout.bits_allocated // 8}")


def _without_unused_bits(stored: Stored, layout: PixelLayout) -> Stored:
    """Only the bits that are stored, sign extended (PS3.5 8.1.1).

    Old files keep overlays in the others.
    """
    above = layout.bits_allocated - 1 - layout.high_bit
    unused = layout.bits_allocated - layout.bits_stored
    if unused == 0:
        return stored
    # Shifting up drops what lies above; shifting down brings zeros or, if signed, the sign.
    np.left_shift(stored, above, out=stored)
    np.right_shift(stored, unused, out=stored)
    return stored


def _decoded(image: ImageFile, indices: Sequence[int]) -> Iterator[Stored]:
    expected = (image.layout.rows, image.layout.columns)
    with ExitStack() as stack:
        decoder: Iterator[Stored] | None = None
        for _ in indices:
            try:
                with warnings.catch_warnings():
                    # Values of the header may stand in pydicom's warnings; nobody would see them.
                    warnings.simplefilter("ignore")
                    decoder = decoder or _decoder(image, indices, stack)
                    stored = next(decoder)
            except Exception as exc:  # codecs raise whatever their C code was wrapped in
                if isinstance(exc, OSError) and is_disk_fault(exc):
                    raise disk_fault(exc, f"{image.label} cannot be read") from exc
                name = UID(image.layout.transfer_syntax_uid).name
                hint = missing_decoder(image.layout.transfer_syntax_uid) or type(exc).__name__
                raise UnsupportedImage(
                    f"{image.label}: the pixels cannot be decoded ({name}; {hint})"
                ) from exc
            if stored.shape != expected:
                raise UnsupportedImage(
                    f"{image.label}: decoded to {stored.shape}, but the header says {expected}"
                )
            yield stored


def _decoder(image: ImageFile, indices: Sequence[int], stack: ExitStack) -> Iterator[Stored]:
    """Frames by pydicom's decoder, without reading the header once more where that can be."""
    layout = image.layout
    if layout.offset is None:
        return iter_pixels(dcmread(image.path), indices=indices, raw=True)
    file = stack.enter_context(image.path.open("rb"))
    file.seek(layout.offset)
    frames = get_decoder(layout.transfer_syntax_uid).iter_array(
        file,
        indices=indices,
        raw=True,
        rows=layout.rows,
        columns=layout.columns,
        number_of_frames=layout.frames,
        samples_per_pixel=1,
        photometric_interpretation=layout.photometric,
        bits_allocated=layout.bits_allocated,
        bits_stored=layout.bits_stored,
        pixel_representation=int(layout.signed),
        pixel_keyword="PixelData",
    )
    return (stored for stored, _ in frames)


def rescale_into(target: npt.NDArray[np.float32], stored: Stored, rescale: Rescale) -> None:
    """Write `stored` in units into `target`, both (rows, columns)."""
    if rescale.table is not None:
        target[...] = rescale.table.apply(stored)
        return
    np.multiply(stored, np.float32(rescale.slope), out=target)
    if rescale.intercept:
        target += np.float32(rescale.intercept)
