"""Volumes straight from data sets of known geometry, for tests of what comes after reading."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid
from dicomnode.domain.volumes import Grid, SourceFrame, Volume


def written_volume(images: Sequence[Dataset], folder: Path) -> Volume:
    """Write classic images to `folder` as they come and return them as a volume.

    CT: Hounsfield units, slices in order along the normal, whatever the order of `images`.
    Images without a position: one radiograph, 0 to 1.
    """
    paths = {}
    for number, ds in enumerate(images):
        paths[str(ds.SOPInstanceUID)] = folder / f"{number:04d}.dcm"
        ds.save_as(paths[str(ds.SOPInstanceUID)], enforce_file_format=True)
    has_position = "ImagePositionPatient" in images[0]
    ordered = sorted(images, key=_height) if has_position else list(images)
    array = np.stack([_values(ds) for ds in ordered])
    return Volume(
        study_uid=StudyUid(ordered[0].StudyInstanceUID),
        series_uid=SeriesUid(ordered[0].SeriesInstanceUID),
        modality=ordered[0].Modality,
        array=array if has_position else array / max(float(array.max()), 1.0),
        grid=_grid(ordered) if has_position else _projection_grid(ordered[0]),
        frames=tuple(
            SourceFrame(
                path=paths[str(ds.SOPInstanceUID)],
                sop_instance_uid=InstanceUid(ds.SOPInstanceUID),
                sop_class_uid=str(ds.SOPClassUID),
                frame_number=None,
            )
            for ds in ordered
        ),
    )


def _normal(ds: Dataset) -> npt.NDArray[np.float64]:
    cosines = np.asarray(ds.ImageOrientationPatient, dtype=np.float64)
    return np.cross(cosines[:3], cosines[3:])


def _height(ds: Dataset) -> float:
    return float(np.dot(_normal(ds), np.asarray(ds.ImagePositionPatient, dtype=np.float64)))


def _values(ds: Dataset) -> npt.NDArray[np.float32]:
    stored = ds.pixel_array.astype(np.float32)
    scaled = stored * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0))
    return np.asarray(scaled, dtype=np.float32)


def _grid(ordered: Sequence[Dataset]) -> Grid:
    first = ordered[0]
    cosines = np.asarray(first.ImageOrientationPatient, dtype=np.float64)
    step = (_height(ordered[-1]) - _height(first)) / max(len(ordered) - 1, 1)
    affine = np.eye(4)
    affine[:3, 0] = _normal(first) * (step or float(first.get("SliceThickness") or 1))
    affine[:3, 1] = cosines[3:] * float(first.PixelSpacing[0])
    affine[:3, 2] = cosines[:3] * float(first.PixelSpacing[1])
    affine[:3, 3] = np.asarray(first.ImagePositionPatient, dtype=np.float64)
    return Grid(
        affine_lps_mm=affine,
        shape=(len(ordered), first.Rows, first.Columns),
        frame_of_reference_uid=str(first.FrameOfReferenceUID),
    )


def _projection_grid(ds: Dataset) -> Grid:
    spacing = ds.get("PixelSpacing") or ds.get("ImagerPixelSpacing")
    row, column = (float(value) for value in spacing) if spacing else (1.0, 1.0)
    return Grid(
        affine_lps_mm=np.diag([1.0, row, column, 1.0]),
        shape=(1, ds.Rows, ds.Columns),
        frame_of_reference_uid=None,
        calibrated=bool(spacing),
    )
