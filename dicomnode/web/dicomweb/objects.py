"""Whole instances as `application/dicom`: byte for byte, or as Explicit VR Little Endian."""

import struct
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from dicomnode.web.dicomweb.accepting import ANYTHING, Wanted
from dicomnode.web.dicomweb.frames import LITTLE, can_decode, decode
from dicomnode.web.dicomweb.parts import file_pieces
from dicomnode.web.dicomweb.problems import NotAcceptable
from dicomnode.web.dicomweb.stored import Pixels, StoredFile

DICOM = "application/dicom"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectForm:
    """What the client takes of an instance."""

    transfer_syntax: str
    """`*` as it is stored, or Explicit VR Little Endian."""
    multipart: bool
    must: bool
    """False: what cannot be decoded may come as it is stored."""

    def content_type(self, stored: StoredFile) -> str:
        """Of the part that holds it."""
        kept = self.keeps(stored)
        return f"{DICOM}; transfer-syntax={stored.transfer_syntax if kept else LITTLE}"

    def keeps(self, stored: StoredFile) -> bool:
        """True if the file goes out as it is.

        Raises:
            NotAcceptable: it must be decoded, and cannot be.
        """
        if self.transfer_syntax in ("*", str(stored.transfer_syntax)):
            return True
        if can_decode(stored.transfer_syntax):
            return False
        if self.must:
            raise NotAcceptable(f"nothing here decodes {stored.transfer_syntax}")
        return True


def choose_object_form(wanted: Sequence[Wanted], *, alone: bool) -> ObjectForm:
    """The form of instances that the client wants most.

    Without a transfer syntax that is Explicit VR Little Endian (PS3.18 8.7.3.5.2). `alone`: one
    instance, which may come without multipart around it.

    Raises:
        NotAcceptable: it wants something else.
    """
    for one in wanted:
        if one.type == ANYTHING and one.transfer_syntax is None:
            return ObjectForm(transfer_syntax="*", multipart=True, must=False)
        if not one.fits(DICOM) or not (one.multipart or alone or one.type.startswith("*")):
            continue
        if one.transfer_syntax in (None, "*", LITTLE):
            return ObjectForm(
                transfer_syntax=one.transfer_syntax or LITTLE,
                multipart=one.multipart or one.type == ANYTHING,
                must=one.transfer_syntax == LITTLE,
            )
    raise NotAcceptable(
        f'instances come as multipart/related; type="{DICOM}", with transfer-syntax * or {LITTLE}'
    )


def object_pieces(stored: StoredFile, form: ObjectForm) -> Iterator[bytes]:
    """The PS3.10 file in `form`, in pieces.

    Raises:
        NotAcceptable: the pixels cannot be decoded.
    """
    if form.keeps(stored):
        return file_pieces(stored.path)
    return _transcoded(stored)


def _transcoded(stored: StoredFile) -> Iterator[bytes]:
    """The header written anew, then one frame after the other.

    What follows the pixel data (padding, signatures over the old bytes) is left out.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = dcmread(stored.path, stop_before_pixels=not stored.is_deflated)
        pixels = stored.pixels
        if pixels is None:
            yield _file(ds)
            return
        if pixels.length is not None and pixels.transfer_syntax != ExplicitVRBigEndian:
            yield _file(ds)
            yield _pixel_head(pixels.tag, pixels.vr, pixels.length)
            yield from file_pieces(stored.path, pixels.start, pixels.length)
            return
        first = decode(stored, 0, as_rgb=True)
        _describe(ds, pixels, first)
        length = first.nbytes * pixels.frames
        yield _file(ds)
        yield _pixel_head(pixels.tag, "OB" if first.itemsize == 1 else "OW", length + length % 2)
        yield _little(first)
        for index in range(1, pixels.frames):
            yield _little(decode(stored, index, as_rgb=True))
        if length % 2:
            yield b"\0"


def _describe(ds: Dataset, pixels: Pixels, frame: npt.NDArray[np.generic]) -> None:
    """What decoding changed (PS3.3 C.7.6.3)."""
    if frame.ndim == 3:
        ds.PlanarConfiguration = 0
        ds.PhotometricInterpretation = "RGB"
    elif pixels.photometric.startswith("YBR"):
        ds.PhotometricInterpretation = "MONOCHROME2"
    bits = frame.itemsize * 8
    if pixels.tag == 0x7FE00010 and bits != pixels.bits_allocated:
        ds.BitsAllocated = bits
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if keyword in ds:
            delattr(ds, keyword)


def _file(ds: FileDataset | Dataset) -> bytes:
    """Preamble, meta information and data set in Explicit VR Little Endian."""
    buffer = BytesIO()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(buffer, ds, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def _pixel_head(tag: int, vr: str, length: int) -> bytes:
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode("ascii"), 0, length)


def _little(frame: npt.NDArray[np.generic]) -> bytes:
    return frame.astype(frame.dtype.newbyteorder("<"), copy=False).tobytes()
