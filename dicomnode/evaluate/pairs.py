"""Images with outlined truth: NIfTI or DICOM images, or radiographs, beside label maps.

Layout, below one folder:

    images/NAME.nii.gz (or .nii), or images/NAME/ with the files of one DICOM series
    labels/NAME.nii.gz            whole numbers, 0 where there is nothing
    images/NAME.png (.jpg)        a radiograph; its labels/NAME.png has the same size
    labels.json                   {"1": "right lung", ...}; without it the numbers are dicom.json's
    patients.csv                  image,patient; without it every image is a patient of its own
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomnode.domain.errors import StudyError, UnsupportedImage
from dicomnode.domain.identifiers import SeriesUid, StudyUid, derived_uid
from dicomnode.domain.volumes import Grid, Volume
from dicomnode.evaluate.pictures import PICTURES, is_picture, read_picture, read_picture_labels
from dicomnode.pipeline.tensors import Affine, grid_of_ras, to_grid
from dicomnode.pipeline.volume import read_series

_ENDINGS = (".nii.gz", ".nii", *PICTURES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One image and its truth, not yet read."""

    name: str
    patient: str
    image: Path
    """A NIfTI file, a picture, or the folder of a DICOM series."""
    truth: Path


def read_pairs(folder: Path) -> tuple[list[Pair], Mapping[int, str]]:
    """The pairs of a folder by name, and what their labels mean (empty: as in `dicom.json`).

    Raises:
        StudyError: the folder holds no pair, or an image without a truth, or an odd `labels.json`.
    """
    images = images_below(folder)
    truths = {_stem(path): path for path in sorted((folder / "labels").glob("*"))}
    alone = sorted(set(images) ^ set(truths))
    if alone:
        raise StudyError(f"{alone[0]} is in one of images and labels only")
    patients = read_patients(folder)
    pairs = [
        Pair(name=name, patient=patients.get(name, name), image=images[name], truth=truths[name])
        for name in images
    ]
    return pairs, read_labels(folder)


def images_below(folder: Path) -> dict[str, Path]:
    """Name -> image, of what lies in `images`.

    Raises:
        StudyError: nothing lies there.
    """
    images = {_stem(path): path for path in sorted((folder / "images").glob("*"))}
    if not images:
        raise StudyError(f"{folder} has no images: see docs/evaluation.md for its layout")
    return images


def _stem(path: Path) -> str:
    for ending in _ENDINGS:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return path.name


def read_patients(folder: Path) -> dict[str, str]:
    """Image -> patient, as `patients.csv` has it; empty if there is none."""
    path = folder / "patients.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row["image"]: row["patient"] for row in csv.DictReader(file)}


def read_labels(folder: Path) -> dict[int, str]:
    """Number in a label map -> name, as `labels.json` has it; empty if there is none.

    Raises:
        StudyError: it is not of that form.
    """
    path = folder / "labels.json"
    if not path.is_file():
        return {}
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        labels = {int(label): str(name) for label, name in raw.items()}
    except (ValueError, AttributeError) as exc:
        raise StudyError(f"{path.name} is not of the form {{'1': 'name', ...}}") from exc
    if not labels:
        raise StudyError(f"{path.name} names no label")
    return labels


def read_image(pair: Pair, modality: str) -> Volume:
    """The image; a NIfTI file or picture is taken to be of `modality`, CT in Hounsfield units.

    Raises:
        VolumeError: it cannot be read.
    """
    if pair.image.is_dir():
        return read_series([path for path in sorted(pair.image.rglob("*")) if path.is_file()])
    if is_picture(pair.image):
        array, grid = read_picture(pair.image)
        return as_volume(pair.name, array, grid, modality)
    values, affine = _nifti(pair.image)
    grid = grid_of_ras(affine, values.T.shape, derived_uid("evaluation", pair.name, "frame"))
    return as_volume(pair.name, values.T, grid, modality)


def as_volume(name: str, array: npt.NDArray[np.float32], grid: Grid, modality: str) -> Volume:
    """An image that is no DICOM as a volume with UIDs of its own; `array` (slice, row, column)."""
    kept = np.ascontiguousarray(array, dtype=np.float32)
    kept.flags.writeable = False
    return Volume(
        study_uid=StudyUid(derived_uid("evaluation", name, "study")),
        series_uid=SeriesUid(derived_uid("evaluation", name, "series")),
        modality=modality,
        array=kept,
        grid=grid,
        frames=(),
    )


def read_truth(truth: Path, grid: Grid) -> npt.NDArray[np.int32]:
    """Labels (slice, row, column) on the grid of the image; another grid is read to the nearest.

    Raises:
        UnsupportedImage: it cannot be read, or holds values that are no labels.
    """
    if is_picture(truth):
        return read_picture_labels(truth, grid)
    values, affine = _nifti(truth)
    labels = np.round(values).astype(np.int32)
    if not np.array_equal(labels, values) or labels.min() < 0:
        raise UnsupportedImage(f"{truth.name} holds values that are no labels")
    return np.asarray(to_grid(labels, affine, grid))


def _nifti(path: Path) -> tuple[npt.NDArray[np.float32], Affine]:
    """Values (i, j, k) and the affine to RAS mm."""
    try:
        import nibabel
    except ImportError as exc:
        raise StudyError("NIfTI needs nibabel: install dicomnode with its extra `train`") from exc
    try:
        file: Any = nibabel.load(path)
        values = np.asarray(file.dataobj, dtype=np.float32)
    except Exception as exc:  # nibabel's own errors share no base
        raise UnsupportedImage(f"{path.name} cannot be read: {type(exc).__name__}") from exc
    if values.ndim != 3:
        raise UnsupportedImage(f"{path.name} has {values.ndim} axes, not three")
    return values, np.asarray(file.affine, dtype=np.float64)


def patients_of(pairs: Sequence[Pair]) -> int:
    """How many there are."""
    return len({pair.patient for pair in pairs})
