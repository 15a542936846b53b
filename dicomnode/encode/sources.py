"""The headers of the images a volume was read from, reduced to what results refer to.

highdicom takes geometry and references from source data sets. It is given small ones of our making:
one for each slice of the volume, the position as the file states it, no patient attribute. Frames
of multi-frame files are given so too, since it would refuse a series that several of them make up.
What a source lacks or gets wrong is dealt with here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.tag import BaseTag, Tag

from dicomnode.domain.disk import disk_fault, is_disk_fault
from dicomnode.domain.errors import EncodeError
from dicomnode.domain.volumes import SourceFrame, Volume
from dicomnode.encode.patient import PATIENT_KEYWORDS, patient_and_study
from dicomnode.encode.texts import decimal_string, encodings_of, items_of, numbers_of, put, text_of

_GEOMETRY = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "SliceThickness",
    "Rows",
    "Columns",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
_IDENTITY = ("SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
_LOSSY = (
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
_SERIES = (
    "SeriesNumber",
    "SeriesDescription",
    "PositionReferenceIndicator",
    "PatientOrientation",
    "BodyPartExamined",
    "BurnedInAnnotation",
    *_LOSSY,
)
_OF_SLICE = tuple(Tag(keyword) for keyword in (*_GEOMETRY, *_IDENTITY))
_OF_FIRST = tuple(Tag(keyword) for keyword in (*PATIENT_KEYWORDS, *_SERIES, *_GEOMETRY, *_IDENTITY))
"""As tags: pydicom would look every keyword up for every file."""
_TOLERANCE = 0.002
"""Of direction cosines, and of spacings in mm: rounding differs within a series by so much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSeries:
    """What results take over from their source."""

    patient: Dataset
    """Patient and study attributes, in UTF-8."""
    images: tuple[Dataset, ...]
    """One a slice, in slice order; frames of one file share its SOPInstanceUID."""
    frame_numbers: tuple[int | None, ...]
    """1-based frame of the source file for each slice; None where the file has a single one."""
    number: int | None
    """SeriesNumber."""
    description: str
    """SeriesDescription, or empty."""
    orientation: tuple[str, str] | None
    """PatientOrientation, where rows and columns lead; None if it is not stated."""
    body_part: str
    """BodyPartExamined in capitals, or empty."""
    burned_in_annotation: str
    """YES, NO or empty."""
    pixel_spacing: tuple[str, ...] | None
    """Between (rows, columns) in mm, for radiographs at the detector; None if it is not known."""

    @property
    def instances(self) -> tuple[Dataset, ...]:
        """The image of the first slice of each source file."""
        first: dict[str, Dataset] = {}
        for image in self.images:
            first.setdefault(str(image.SOPInstanceUID), image)
        return tuple(first.values())

    @property
    def has_positions(self) -> bool:
        """False for projection radiographs, which lie in no frame of reference."""
        return "FrameOfReferenceUID" in self.images[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plane:
    """Geometry of one slice, decimals as the file has them."""

    position: tuple[str, ...] | None
    orientation: tuple[str, ...] | None
    spacing: tuple[str, ...] | None
    thickness: str | None


def read_source_series(volume: Volume) -> SourceSeries:
    """Read the headers behind `volume`; pixels are not touched.

    Raises:
        EncodeError: a file is gone, is not the instance the volume says, or lacks its position.
    """
    first = _read(volume.frames[0], _OF_FIRST)
    _check_study(first, volume)
    patient = patient_and_study(first)
    headers = {volume.frames[0].sop_instance_uid: first}
    planes = []
    for frame in volume.frames:
        if frame.sop_instance_uid not in headers:
            headers[frame.sop_instance_uid] = _read(frame, _OF_SLICE)
        planes.append(_plane_of_frame(headers[frame.sop_instance_uid], frame.frame_number or 1))
    series_number = text_of(first, "SeriesNumber", ["ascii"]) or ""
    return SourceSeries(
        patient=patient,
        images=tuple(_images(volume, planes, _common(first, volume, planes))),
        frame_numbers=tuple(frame.frame_number for frame in volume.frames),
        number=int(series_number) if series_number.isdigit() else None,
        description=text_of(first, "SeriesDescription", encodings_of(first)) or "",
        orientation=_orientation_stated(first),
        body_part=(text_of(first, "BodyPartExamined", ["ascii"]) or "").upper(),
        burned_in_annotation=_yes_or_no(text_of(first, "BurnedInAnnotation", ["ascii"])),
        pixel_spacing=_spacing(first, planes[0]) if volume.grid.calibrated else None,
    )


def _orientation_stated(first: Dataset) -> tuple[str, str] | None:
    parts = (text_of(first, "PatientOrientation", ["ascii"]) or "").split("\\")
    return (parts[0], parts[1]) if len(parts) == 2 and all(parts) else None


def _yes_or_no(text: str | None) -> str:
    return text if text in ("YES", "NO") else ""


def _read(frame: SourceFrame, tags: Iterable[BaseTag]) -> Dataset:
    try:
        ds = dcmread(frame.path, stop_before_pixels=True, specific_tags=list(tags), force=True)
    except (OSError, InvalidDicomError) as exc:
        if isinstance(exc, OSError) and is_disk_fault(exc):
            raise disk_fault(exc, "a source image cannot be read") from exc
        raise EncodeError(f"source image {frame.sop_instance_uid} cannot be read again") from exc
    if text_of(ds, "SOPInstanceUID", ["ascii"]) != frame.sop_instance_uid:
        raise EncodeError(f"the file of source image {frame.sop_instance_uid} holds another one")
    return ds


def _check_study(first: Dataset, volume: Volume) -> None:
    for keyword, wanted in (
        ("StudyInstanceUID", volume.study_uid),
        ("SeriesInstanceUID", volume.series_uid),
    ):
        if text_of(first, keyword, ["ascii"]) != wanted:
            raise EncodeError(f"{keyword} of the source file is not {wanted}")


def _plane_of_frame(ds: Dataset, frame_number: int) -> _Plane:
    """Geometry of one frame: functional groups (PS3.3 C.7.6.16), else the top level.

    Classic images have the top level only; a file of a single enhanced frame has groups.
    """
    shared = items_of(ds, "SharedFunctionalGroupsSequence")
    per_frame = items_of(ds, "PerFrameFunctionalGroupsSequence")[frame_number - 1 : frame_number]

    def numbers(group: str, keyword: str, count: int) -> tuple[str, ...] | None:
        for place in (*per_frame, *shared):
            for item in items_of(place, group):
                found = numbers_of(item, keyword, count)
                if found:
                    return found
        return numbers_of(ds, keyword, count)

    thickness = numbers("PixelMeasuresSequence", "SliceThickness", 1)
    return _Plane(
        position=numbers("PlanePositionSequence", "ImagePositionPatient", 3),
        orientation=numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6),
        spacing=numbers("PixelMeasuresSequence", "PixelSpacing", 2),
        thickness=thickness[0] if thickness else None,
    )


def _common(first: Dataset, volume: Volume, planes: Sequence[_Plane]) -> Dataset:
    """What all images of the series share."""
    ds = Dataset()
    ds.StudyInstanceUID = volume.study_uid
    ds.SeriesInstanceUID = volume.series_uid
    ds.SOPClassUID = volume.frames[0].sop_class_uid
    ds.Modality = volume.modality
    ds.Rows, ds.Columns = volume.grid.shape[1:]
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        put(ds, keyword, "")
    for keyword in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
        put(ds, keyword, "")
    for keyword in _LOSSY:
        text = text_of(first, keyword, ["ascii"])
        if text:
            put(ds, keyword, text)
    if volume.grid.frame_of_reference_uid is not None:
        _check_planes(planes)
        ds.FrameOfReferenceUID = volume.grid.frame_of_reference_uid
        indicator = text_of(first, "PositionReferenceIndicator", ["ascii"])
        put(ds, "PositionReferenceIndicator", indicator or "")
    return ds


def _spacing(first: Dataset, plane: _Plane) -> tuple[str, ...] | None:
    for stated in (plane.spacing, numbers_of(first, "ImagerPixelSpacing", 2)):
        if stated and all(float(value) > 0 for value in stated):
            return stated
    return None


def _check_planes(planes: Sequence[_Plane]) -> None:
    for index, plane in enumerate(planes):
        if not (plane.position and plane.orientation and plane.spacing):
            raise EncodeError(
                f"source image of slice {index} lacks position, orientation or spacing"
            )
        if not _agree(plane.orientation, planes[0].orientation):
            raise EncodeError(f"source image of slice {index} is oriented differently")
        if not _agree(plane.spacing, planes[0].spacing):
            raise EncodeError(f"source image of slice {index} has another pixel spacing")


def _agree(one: Sequence[str] | None, other: Sequence[str] | None) -> bool:
    difference = np.asarray(one, dtype=float) - np.asarray(other, dtype=float)
    return bool(np.abs(difference).max() <= _TOLERANCE)


def _images(volume: Volume, planes: Sequence[_Plane], common: Dataset) -> Iterable[Dataset]:
    last: dict[str, int] = {}
    for frame in volume.frames:
        known = last.get(frame.sop_instance_uid, 1)
        last[frame.sop_instance_uid] = max(known, frame.frame_number or 1)
    for frame, plane in zip(volume.frames, planes, strict=True):
        ds = Dataset()
        ds.update({element.tag: element for element in common if element.keyword != "SOPClassUID"})
        ds.SOPClassUID = frame.sop_class_uid
        ds.SOPInstanceUID = frame.sop_instance_uid
        if frame.frame_number is not None:
            ds.NumberOfFrames = last[frame.sop_instance_uid]
        if "FrameOfReferenceUID" in ds:
            ds.ImagePositionPatient = list(plane.position or ())
            ds.update(_orientation(planes[0]))
            ds.update(_measures(planes[0], volume))
        yield ds


def _orientation(plane: _Plane) -> Dataset:
    ds = Dataset()
    ds.ImageOrientationPatient = list(plane.orientation or ())
    return ds


def _measures(plane: _Plane, volume: Volume) -> Dataset:
    """PixelMeasures; the distance between slices is the measured one, whatever a header claims."""
    ds = Dataset()
    between = decimal_string(round(volume.grid.spacing_mm[0], 6))
    if plane.spacing:
        ds.PixelSpacing = list(plane.spacing)
    ds.SliceThickness = plane.thickness or between
    if volume.grid.shape[0] > 1:
        ds.SpacingBetweenSlices = between
    return ds
