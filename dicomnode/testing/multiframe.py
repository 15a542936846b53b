"""Synthetic enhanced multi-frame series, made from classic ones with the same geometry."""

import copy
from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage, EnhancedMRImageStorage

from dicomnode.domain.identifiers import derived_uid

_PER_SLICE = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "WindowCenter",
    "WindowWidth",
    "KVP",
)


def enhanced(
    slices: Sequence[Dataset], *, order: Sequence[int] | None = None, modality: str = "CT"
) -> Dataset:
    """One enhanced CT or MR image with the classic `slices` as frames, in `order`.

    Orientation, pixel measures and rescale are shared functional groups, positions per frame.
    """
    order = range(len(slices)) if order is None else order
    ds = copy.deepcopy(slices[0])
    for keyword in _PER_SLICE:
        del ds[keyword]
    ds.Modality = modality
    ds.SOPClassUID = EnhancedMRImageStorage if modality == "MR" else EnhancedCTImageStorage
    ds.SOPInstanceUID = derived_uid(ds.SOPInstanceUID, "enhanced", *map(str, order))
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.NumberOfFrames = len(order)
    ds.SharedFunctionalGroupsSequence = [_shared_groups(slices[0])]
    ds.PerFrameFunctionalGroupsSequence = [
        _frame_groups(slices[source], frame) for frame, source in enumerate(order)
    ]
    ds.PixelData = b"".join(slices[source].PixelData for source in order)
    return ds


def _shared_groups(source: Dataset) -> Dataset:
    measures, orientation, transformation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = source.PixelSpacing
    measures.SliceThickness = source.SliceThickness
    orientation.ImageOrientationPatient = source.ImageOrientationPatient
    transformation.RescaleIntercept = source.RescaleIntercept
    transformation.RescaleSlope = source.RescaleSlope
    transformation.RescaleType = source.RescaleType
    groups = Dataset()
    groups.PixelMeasuresSequence = [measures]
    groups.PlaneOrientationSequence = [orientation]
    groups.PixelValueTransformationSequence = [transformation]
    return groups


def _frame_groups(source: Dataset, frame: int) -> Dataset:
    content, position = Dataset(), Dataset()
    content.StackID = "1"
    content.InStackPositionNumber = frame + 1
    content.DimensionIndexValues = [1, frame + 1]
    position.ImagePositionPatient = source.ImagePositionPatient
    groups = Dataset()
    groups.FrameContentSequence = [content]
    groups.PlanePositionSequence = [position]
    return groups
