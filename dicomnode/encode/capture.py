"""Findings -> a secondary capture (PS3.3 A.8.1, A.8.5.4) for stations that draw neither SEG nor SR.

One image for each finding set: a plain one where a single slice shows it, else a multi-frame one
with a frame for each key slice; before them, where several lesions are marked, one frame with a
tile for each. RGB, uncompressed, the findings burned in.
"""

from collections.abc import Sequence

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from dicomnode.domain.findings import Finding
from dicomnode.domain.results import ResultKind
from dicomnode.encode.burned_in import Pixels, Words, draw_frames, with_grid
from dicomnode.encode.concepts import SOURCE_IMAGE, concept
from dicomnode.encode.directions import edges_of
from dicomnode.encode.heading import finish, heading_of
from dicomnode.encode.key_images import key_slices
from dicomnode.encode.origin import Origin
from dicomnode.encode.wording import title_of

MOST_FRAMES = 24
"""About 30 MB for a CT; the findings that come first are shown."""


def build_capture(findings: Sequence[Finding], origin: Origin) -> Dataset:
    """A picture of `findings` on their key slices; without any, of the middle image."""
    found = key_slices(findings) or (len(origin.volume.frames) // 2,)
    shown = sorted(found[:MOST_FRAMES])
    frames = draw_frames(
        origin.volume,
        findings,
        shown,
        edges=edges_of(origin.volume.grid, origin.source.orientation),
        words=(words := Words(title=title_of(origin), notes=_notes(origin, len(found)))),
    )
    frames = with_grid(frames, findings, shown, origin.volume.grid.shape[1:], words)
    ds = _identified(origin, many=len(frames) > 1)
    _describe_image(ds, shown, origin)
    _put_pixels(ds, frames)
    finish(ds, origin.source.patient, heading_of(ResultKind.SECONDARY_CAPTURE, origin))
    return ds


def _notes(origin: Origin, found: int) -> list[str]:
    notes = []
    if found > MOST_FRAMES:
        notes.append(f"{MOST_FRAMES} of {found} slices with findings are shown here.")
    if not origin.derivation.complete:
        notes.append("The study may have been incomplete when it was read.")
    if edges_of(origin.volume.grid, origin.source.orientation).patient_orientation is None:
        notes.append("The image does not state which side is which.")
    return notes


def _identified(origin: Origin, *, many: bool) -> Dataset:
    """SOP common, series and equipment."""
    heading = heading_of(ResultKind.SECONDARY_CAPTURE, origin)
    ds = Dataset()
    ds.SOPClassUID = (
        MultiFrameTrueColorSecondaryCaptureImageStorage if many else SecondaryCaptureImageStorage
    )
    ds.SOPInstanceUID = origin.uids.instance(ResultKind.SECONDARY_CAPTURE)
    ds.SeriesInstanceUID = origin.uids.series(ResultKind.SECONDARY_CAPTURE)
    ds.SeriesNumber = heading.series_number
    ds.InstanceNumber = 1
    ds.Modality = "OT"
    ds.Laterality = ""
    ds.ConversionType = "WSD"
    ds.Manufacturer = origin.identity.manufacturer[:64]
    ds.ManufacturerModelName = origin.identity.name[:64]
    ds.DeviceSerialNumber = heading.device_serial_number
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = UID(ds.SOPClassUID)
    ds.file_meta.MediaStorageSOPInstanceUID = UID(ds.SOPInstanceUID)
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def _describe_image(ds: Dataset, shown: Sequence[int], origin: Origin) -> None:
    ds.ImageType = ["DERIVED", "SECONDARY"]
    edges = edges_of(origin.volume.grid, origin.source.orientation)
    ds.PatientOrientation = list(edges.patient_orientation or ())
    ds.DerivationDescription = "Findings of an algorithm drawn into copies of the images"
    # "NO" only where the source says so: whether a picture tells whose it is, a person has to see.
    ds.BurnedInAnnotation = origin.source.burned_in_annotation or "YES"
    ds.SourceImageSequence = [_source(index, origin) for index in shown]
    source = origin.source.images[0]
    if source.get("LossyImageCompression") == "01":
        for keyword in (
            "LossyImageCompression",
            "LossyImageCompressionRatio",
            "LossyImageCompressionMethod",
        ):
            if keyword in source:
                ds[keyword] = source[keyword]
    if origin.source.has_positions and origin.source.pixel_spacing:
        ds.PixelSpacing = list(origin.source.pixel_spacing)


def _source(index: int, origin: Origin) -> Dataset:
    frame = origin.volume.frames[index]
    item = Dataset()
    item.ReferencedSOPClassUID = frame.sop_class_uid
    item.ReferencedSOPInstanceUID = frame.sop_instance_uid
    if frame.frame_number is not None:
        item.ReferencedFrameNumber = frame.frame_number
    item.PurposeOfReferenceCodeSequence = [concept(SOURCE_IMAGE)]
    return item


def _put_pixels(ds: Dataset, frames: Pixels) -> None:
    count, ds.Rows, ds.Columns, ds.SamplesPerPixel = frames.shape
    ds.PhotometricInterpretation = "RGB"
    ds.PlanarConfiguration = 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    if count > 1:
        ds.NumberOfFrames = count
        ds.PageNumberVector = list(range(1, count + 1))
        ds.FrameIncrementPointer = Tag("PageNumberVector")
    content = frames.tobytes()
    ds.PixelData = content + b"\0" * (len(content) % 2)
