"""Masks -> one DICOM Segmentation on the source's grid, uncompressed: BINARY or LABELMAP.

PS3.3 A.51 and C.8.20.2; LABELMAP is Supplement 243.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from highdicom.seg import Segmentation as SegmentationObject
from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from dicomnode.domain.errors import EncodeError
from dicomnode.domain.results import ResultKind
from dicomnode.encode.concepts import (
    PRIVATE_SCHEME,
    algorithm_sequence,
    concept,
    display_color,
    private_scheme,
)
from dicomnode.encode.heading import finish, heading_of
from dicomnode.encode.origin import Origin
from dicomnode.encode.segments import Segment
from dicomnode.encode.sources import SourceSeries

_STAND_IN = "2.25"
"""Root of the UIDs under which highdicom is given the slices: their indices follow."""
BACKGROUND = 0
"""Pixel value and SegmentNumber of what is no segment, in a LABELMAP."""


def build_segmentation(
    segments: Sequence[Segment], origin: Origin, kind: ResultKind = ResultKind.SEG
) -> Dataset:
    """A Segmentation of `segments`, which lie on the slices of the source.

    `kind` is SEG (a bit plane for each segment) or LABELMAP, whose segments must not overlap.

    Frames without a voxel are left out; all source images are referred to nevertheless.

    Raises:
        EncodeError: highdicom cannot refer to this source.
    """
    used = _used_slices(segments)
    seg = _construct(segments, origin, used, kind)
    _refer_to_all_images(seg, origin.source)
    _name_source_frames(seg, origin.source)
    _fix_dimension_uid(seg, origin, kind)
    if kind is ResultKind.LABELMAP:
        _put_background_last(seg)
    if not origin.source.has_positions:
        _add_projection_groups(seg, origin.source)
    if any(segment.type.scheme == PRIVATE_SCHEME for segment in segments):
        seg.CodingSchemeIdentificationSequence = [private_scheme()]
    finish(seg, origin.source.patient, heading_of(kind, origin))
    return seg


def overlap(segments: Sequence[Segment]) -> bool:
    """True if a voxel belongs to two segments, so that no LABELMAP can hold them."""
    seen = np.zeros(segments[0].mask.shape, dtype=bool)
    for segment in segments:
        if (seen & segment.mask).any():
            return True
        seen |= segment.mask
    return False


def _construct(
    segments: Sequence[Segment], origin: Origin, used: npt.NDArray[np.intp], kind: ResultKind
) -> Dataset:
    heading = heading_of(kind, origin)
    is_labelmap = kind is ResultKind.LABELMAP
    segmentation_type = (
        SegmentationTypeValues.LABELMAP if is_labelmap else SegmentationTypeValues.BINARY
    )
    try:
        return SegmentationObject(
            source_images=[_stand_in(origin.source, index) for index in used],
            pixel_array=_label_map_or_stack(segments, used),
            segmentation_type=segmentation_type,
            segment_descriptions=[_describe(segment, origin) for segment in segments],
            series_instance_uid=origin.uids.series(kind),
            series_number=heading.series_number,
            sop_instance_uid=origin.uids.instance(kind),
            instance_number=1,
            manufacturer=origin.identity.manufacturer[:64],
            manufacturer_model_name=origin.identity.name[:64],
            software_versions=heading.software_versions[0],
            device_serial_number=heading.device_serial_number,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            omit_empty_frames=True,
            content_label="SEGMENTATION",
            content_description=f"Revision {origin.derivation.revision}. Research use only.",
        )
    except (ValueError, TypeError, AttributeError, KeyError) as exc:
        reason = type(exc).__name__
        raise EncodeError(f"no segmentation could be made of this source: {reason}") from exc


def _label_map_or_stack(
    segments: Sequence[Segment], used: npt.NDArray[np.intp]
) -> npt.NDArray[np.uint16 | np.uint8]:
    """Segments that do not overlap as one label map, which takes a fraction of a stack's memory."""
    shape = (len(used), *segments[0].mask.shape[1:])
    labels = np.zeros(shape, dtype=np.uint8 if len(segments) < 256 else np.uint16)
    for segment in segments:
        mask = segment.mask[used]
        if labels[mask].any():
            return np.stack([each.mask[used] for each in segments], axis=-1).view(np.uint8)
        labels[mask] = segment.number
    return labels


def _used_slices(segments: Sequence[Segment]) -> npt.NDArray[np.intp]:
    anywhere = np.zeros(segments[0].mask.shape[0], dtype=bool)
    for segment in segments:
        anywhere |= segment.mask.any(axis=(1, 2))
    return np.flatnonzero(anywhere)


def _stand_in(source: SourceSeries, index: int) -> Dataset:
    """The image of a slice under a UID of its own, as a classic one if its class is multi-frame.

    highdicom takes no more than one image of such a class, and a series may be split over several,
    even of a single frame each. `_name_source_frames` puts the true identity in again. Elements are
    shared with the source's, which must not change.
    """
    image = source.images[index]
    ds = Dataset()
    ds.update({element.tag: element for element in image if element.keyword != "NumberOfFrames"})
    new: dict[str, object] = {"SOPInstanceUID": UID(f"{_STAND_IN}.{index}")}
    if source.frame_numbers[index] is not None or "Enhanced" in UID(image.SOPClassUID).name:
        new["SOPClassUID"] = CTImageStorage
    for keyword, value in new.items():
        ds.add_new(keyword, "UI", value)
    return ds


def _name_source_frames(seg: Dataset, source: SourceSeries) -> None:
    """Put the source's files and frames in the place of the stand-ins."""
    # Frames of several segments may share one item, which must not be renamed twice.
    items = {
        id(item): item
        for group in seg.PerFrameFunctionalGroupsSequence
        for derivation in group.get("DerivationImageSequence", [])
        for item in derivation.SourceImageSequence
    }
    for item in items.values():
        index = int(str(item.ReferencedSOPInstanceUID).removeprefix(f"{_STAND_IN}."))
        item.ReferencedSOPClassUID = source.images[index].SOPClassUID
        item.ReferencedSOPInstanceUID = source.images[index].SOPInstanceUID
        if (number := source.frame_numbers[index]) is not None:
            item.ReferencedFrameNumber = number


def _describe(segment: Segment, origin: Origin) -> SegmentDescription:
    description = SegmentDescription(
        segment_number=segment.number,
        segment_label=segment.label,
        segmented_property_category=concept(segment.category),
        segmented_property_type=concept(segment.type),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm_sequence(origin.identity),
        tracking_uid=origin.tracking_uid(segment.name),
        tracking_id=segment.label,
        anatomic_regions=[concept(segment.site)] if segment.site else None,
        display_color=display_color(segment.color),
    )
    if segment.laterality:
        modifier = [concept(segment.laterality)]
        if segment.site:
            description.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = modifier
        else:
            # PS3.3 C.8.20.2: laterality of an organ is a modifier of its property type.
            kind = description.SegmentedPropertyTypeCodeSequence[0]
            kind.SegmentedPropertyTypeModifierCodeSequence = modifier
    return description


def _refer_to_all_images(seg: Dataset, source: SourceSeries) -> None:
    """The algorithm read every image of the series, also those on which it marked nothing."""
    references = []
    for image in source.instances:
        item = Dataset()
        item.ReferencedSOPClassUID = image.SOPClassUID
        item.ReferencedSOPInstanceUID = image.SOPInstanceUID
        references.append(item)
    seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence = references
    seg.SourceImageSequence = references


def _put_background_last(seg: Dataset) -> None:
    """Every pixel value has to be described, 0 too, in any order (PS3.3 C.8.20.2).

    OHIF 3.13 counts items instead of reading SegmentNumber, and would shift all colours by one if
    the background stood first, where highdicom puts it.
    """
    items = sorted(seg.SegmentSequence, key=lambda item: int(item.SegmentNumber) == BACKGROUND)
    seg.SegmentSequence = items


def _fix_dimension_uid(seg: Dataset, origin: Origin, kind: ResultKind) -> None:
    """highdicom draws this UID at random; a rerun has to give the same file."""
    uid = origin.uids.dimensions(kind)
    for item in (*seg.DimensionOrganizationSequence, *seg.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid


def _add_projection_groups(seg: Dataset, source: SourceSeries) -> None:
    """Placeholders for images without a frame of reference, which OHIF fails to draw without them.

    They state no anatomy: the thickness is 1 and the orientation is the one viewers assume anyway.
    PixelSpacing is written only where the source states a spacing: a made-up one would be measured
    with.
    """
    measures, orientation = Dataset(), Dataset()
    measures.SliceThickness = "1.0"
    if source.pixel_spacing:
        measures.PixelSpacing = list(source.pixel_spacing)
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared = seg.SharedFunctionalGroupsSequence[0]
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [orientation]
