"""Headers of image files as values: what is read of a DICOM file before any pixel is."""

import os
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from dicomnode.domain.disk import disk_fault, is_disk_fault
from dicomnode.domain.errors import InvalidUid, UnsupportedImage
from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid, checked_uid
from dicomnode.pipeline.elements import integer, items, numbers, text, value_of
from dicomnode.pipeline.frames import ImageFile, LookupTable, PixelLayout, Plane, Rescale

_COMMON = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "SOPClassUID",
    "PatientID",
    "Modality",
    "InstanceNumber",
    "ImageType",
    "FrameOfReferenceUID",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "ModalityLUTSequence",
)
SLICE_KEYWORDS = (
    *_COMMON,
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "AcquisitionNumber",
    "AcquisitionTime",
    "ContentTime",
    "EchoNumbers",
    "TemporalPositionIdentifier",
    "TriggerTime",
    "DiffusionBValue",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
RADIOGRAPH_KEYWORDS = (
    *_COMMON,
    "ImagePositionPatient",
    "PixelSpacing",
    "PixelSpacingCalibrationType",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    "EstimatedRadiographicMagnificationFactor",
    "PixelAspectRatio",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    "PresentationIntentType",
    "PatientOrientation",
    "ViewPosition",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
)
_PHASE_KEYWORDS = (
    "AcquisitionNumber",
    "AcquisitionTime",
    "EchoNumbers",
    "TemporalPositionIdentifier",
    "TriggerTime",
    "DiffusionBValue",
)
_PIXEL_DATA = 0x7FE00010
_LONG_VRS = (b"OB", b"OW", b"UN")
_GRAY = ("MONOCHROME1", "MONOCHROME2")


def read_header(path: Path, keywords: Sequence[str]) -> tuple[Dataset, ImageFile]:
    """The attributes `keywords` of a file, and its image; no pixel is read.

    Raises:
        UnsupportedImage: not a DICOM file, no pixels, colour, or attributes that cannot be read.
        DiskFault: the disk does not give the file for now.
    """
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            # Values of the header may stand in pydicom's warnings, and nobody would see them.
            warnings.simplefilter("ignore")
            return _read(path, file, keywords)
    except UnsupportedImage:
        raise
    except Exception as exc:  # damage makes pydicom raise almost anything
        if isinstance(exc, OSError) and is_disk_fault(exc):
            raise disk_fault(exc, "an image cannot be read") from exc
        raise UnsupportedImage(
            f"the header of one image cannot be read ({type(exc).__name__})"
        ) from exc


def _read(path: Path, file: BinaryIO, keywords: Sequence[str]) -> tuple[Dataset, ImageFile]:
    ds = dcmread(file, stop_before_pixels=True, specific_tags=list(keywords))
    transfer_syntax = UID(ds.file_meta.get("TransferSyntaxUID", ""))
    offset = _pixel_offset(file, transfer_syntax)
    image = _image_file(path, ds, transfer_syntax, offset)
    layout = image.layout
    if layout.offset is not None and not layout.encapsulated:
        end = layout.offset + layout.frames * layout.frame_bytes
        # Before memory is taken for what the file cannot hold.
        if end > os.fstat(file.fileno()).st_size:
            raise UnsupportedImage(f"{image.label}: the pixel data is cut short")
    return ds, image


def _pixel_offset(file: BinaryIO, transfer_syntax: UID) -> int | None:
    """Where the value of Pixel Data starts; `file` stands before the element."""
    if transfer_syntax == DeflatedExplicitVRLittleEndian:
        return None
    order = ">" if transfer_syntax == ExplicitVRBigEndian else "<"
    start = file.read(12)
    if len(start) < 12:
        raise UnsupportedImage("an object without pixels is in the series")
    group, element = struct.unpack(order + "HH", start[:4])
    if group << 16 | element != _PIXEL_DATA:
        raise UnsupportedImage("an image holds floating point pixels, which this node cannot read")
    if transfer_syntax.is_implicit_VR:
        return file.tell() - 4
    return file.tell() if start[4:6] in _LONG_VRS else None


def _image_file(path: Path, ds: Dataset, transfer_syntax: UID, offset: int | None) -> ImageFile:
    rows, columns = integer(ds, "Rows"), integer(ds, "Columns")
    bits = integer(ds, "BitsAllocated")
    if rows is None or columns is None or bits is None:
        raise UnsupportedImage("an object without pixels is in the series")
    number = integer(ds, "InstanceNumber")
    label = "one image" if number is None else f"image {number}"
    photometric = text(ds, "PhotometricInterpretation")
    if photometric not in _GRAY or integer(ds, "SamplesPerPixel") not in (None, 1):
        raise UnsupportedImage(f"{label} is not gray but {photometric[:16]}")
    stored = integer(ds, "BitsStored") or bits
    high_bit = integer(ds, "HighBit") or stored - 1
    if bits not in (8, 16, 32) or not 0 < stored <= high_bit + 1 <= bits:
        raise UnsupportedImage(
            f"{label}: {stored} bits stored (high bit {high_bit}) of {bits} cannot be read"
        )
    # Bytes of big-endian OW are swapped in pairs (PS3.5 A.3), which only the decoder undoes.
    swapped = transfer_syntax == ExplicitVRBigEndian and bits == 8
    return ImageFile(
        path=path,
        study_uid=StudyUid(_uid(ds, "StudyInstanceUID")),
        series_uid=SeriesUid(_uid(ds, "SeriesInstanceUID")),
        sop_instance_uid=InstanceUid(_uid(ds, "SOPInstanceUID")),
        sop_class_uid=_uid(ds, "SOPClassUID"),
        modality=text(ds, "Modality"),
        instance_number=number,
        patient_id=text(ds, "PatientID").strip(),
        layout=PixelLayout(
            rows=rows,
            columns=columns,
            frames=integer(ds, "NumberOfFrames") or 1,
            bits_allocated=bits,
            bits_stored=stored,
            high_bit=high_bit,
            signed=integer(ds, "PixelRepresentation") == 1,
            photometric=photometric,
            transfer_syntax_uid=str(transfer_syntax),
            encapsulated=transfer_syntax.is_encapsulated,
            offset=None if swapped else offset,
        ),
    )


def read_plane(ds: Dataset, label: str) -> Plane:
    """Where a classic, single-frame image lies.

    Raises:
        UnsupportedImage: the header does not say, or says it wrongly.
    """
    position = numbers(ds, "ImagePositionPatient", 3)
    orientation = numbers(ds, "ImageOrientationPatient", 6)
    spacing = numbers(ds, "PixelSpacing", 2)
    return plane_from(
        label=label,
        position=position,
        orientation=orientation,
        spacing=spacing,
        thickness=numbers(ds, "SpacingBetweenSlices", 1) or numbers(ds, "SliceThickness", 1),
        localizer="LOCALIZER" in (value_of(ds, "ImageType") or ()),
        phase="/".join(text(ds, keyword) for keyword in _PHASE_KEYWORDS),
    )


def plane_from(
    *,
    label: str,
    position: tuple[float, ...] | None,
    orientation: tuple[float, ...] | None,
    spacing: tuple[float, ...] | None,
    thickness: tuple[float, ...] | None,
    localizer: bool,
    phase: str,
) -> Plane:
    """A plane, once every attribute is there.

    Raises:
        UnsupportedImage: naming the first that is not.
    """
    if position is None or orientation is None:
        raise UnsupportedImage(f"{label} does not say where it lies in the patient")
    if spacing is None or min(spacing) <= 0:
        raise UnsupportedImage(f"{label} has no usable PixelSpacing")
    x, y, z = position
    r0, r1, r2, c0, c1, c2 = orientation
    return Plane(
        label=label,
        position=(x, y, z),
        orientation=(r0, r1, r2, c0, c1, c2),
        spacing=(spacing[0], spacing[1]),
        thickness=abs(thickness[0]) if thickness and thickness[0] else None,
        localizer=localizer,
        phase=phase,
    )


def read_rescale(ds: Dataset) -> Rescale:
    """The Modality LUT module (PS3.3 C.11.1), or a Pixel Value Transformation item."""
    tables = items(ds, "ModalityLUTSequence")
    if tables:
        item = tables[0]
        return Rescale(
            kind=text(item, "ModalityLUTType") or None,
            stated=True,
            table=read_table(item, signed_input=integer(ds, "PixelRepresentation") == 1),
        )
    slope, intercept = numbers(ds, "RescaleSlope", 1), numbers(ds, "RescaleIntercept", 1)
    return Rescale(
        slope=slope[0] if slope else 1.0,
        intercept=intercept[0] if intercept else 0.0,
        kind=text(ds, "RescaleType") or None,
        stated=slope is not None or intercept is not None,
    )


def read_table(item: Dataset, *, signed_input: bool) -> LookupTable:
    """A LUT item (PS3.3 C.11.1.1.1): number of entries, first mapped value, bits."""
    entries, first, bits = (int(value) for value in item.LUTDescriptor)
    entries = entries % 65536 or 65536
    if signed_input and first > 32767:
        first -= 65536
    elif not signed_input and first < 0:
        first += 65536
    data = item["LUTData"].value
    if isinstance(data, bytes):
        values = np.frombuffer(data, dtype="<u2")
        if bits == 8 and len(data) <= entries + 1 < 2 * entries:
            values = np.frombuffer(data, dtype="u1")
    else:
        values = np.atleast_1d(np.asarray(data, dtype=np.int64)) % 65536
    if len(values) < entries:
        raise UnsupportedImage("a lookup table holds fewer entries than it says")
    return LookupTable(first=first, values=values[:entries].astype(np.float32), bits=bits)


def _uid(ds: Dataset, keyword: str) -> str:
    try:
        return checked_uid(text(ds, keyword))
    except InvalidUid as exc:
        raise UnsupportedImage(f"an image has no usable {keyword}") from exc
