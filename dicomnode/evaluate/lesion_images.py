"""Volumes of a folder of marked lesions: DICOM, NIfTI, MetaImage (LUNA16), PNG slices (DeepLesion).

Below `images`:

    NAME/ with the files of one DICOM series
    NAME.nii.gz, NAME.nii, NAME.mhd   Hounsfield units
    NAME/NNN.png                      16 bit, Hounsfield units + 32768; NNN rises towards the feet;
                                      spacing.csv (volume,x_mm,y_mm,z_mm) says how far apart
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dicomnode.domain.errors import StudyError, UnsupportedImage
from dicomnode.domain.identifiers import derived_uid
from dicomnode.domain.volumes import Grid, Volume
from dicomnode.evaluate.pairs import Pair, as_volume, images_below, read_image, read_patients

_PNG_ZERO = 32768
_DATA_OF_METAIMAGE = frozenset({".raw", ".zraw"})

Spacing = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One volume of the folder, not yet read."""

    name: str
    patient: str
    path: Path
    spacing_mm: Spacing | None = None
    """x, y, z; of PNG slices alone."""

    @property
    def slices(self) -> Mapping[int, Path]:
        """Number -> PNG slice; empty if it is no folder of such."""
        found = self.path.glob("*.png") if self.path.is_dir() else ()
        return {int(path.stem): path for path in found if path.stem.isdigit()}


def read_cases(folder: Path) -> list[Case]:
    """All volumes of a folder, by name.

    Raises:
        StudyError: there is none, or `spacing.csv` cannot be read.
    """
    patients, spacings = read_patients(folder), _spacings(folder / "spacing.csv")
    images = {
        name.removesuffix(".mhd"): path
        for name, path in images_below(folder).items()
        if path.suffix not in _DATA_OF_METAIMAGE
    }
    return [
        Case(
            name=name,
            patient=patients.get(name, name),
            path=path,
            spacing_mm=spacings.get(name),
        )
        for name, path in images.items()
    ]


def _spacings(path: Path) -> dict[str, Spacing]:
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return {
                row["volume"]: (float(row["x_mm"]), float(row["y_mm"]), float(row["z_mm"]))
                for row in csv.DictReader(file)
            }
    except (KeyError, ValueError, TypeError) as exc:
        raise StudyError("spacing.csv is not of the columns volume, x_mm, y_mm, z_mm") from exc


def read_case(case: Case, modality: str) -> Volume:
    """The volume; what is no DICOM is taken to be of `modality`.

    Raises:
        VolumeError: it cannot be read.
        StudyError: a library is missing.
    """
    if case.slices:
        return _png_volume(case, modality)
    if case.path.suffix == ".mhd":
        return _metaimage(case, modality)
    return read_image(
        Pair(name=case.name, patient=case.patient, image=case.path, truth=case.path), modality
    )


def _png_volume(case: Case, modality: str) -> Volume:
    """Slices rise to the head, so the highest number comes first."""
    if case.spacing_mm is None:
        raise UnsupportedImage(
            f"spacing.csv does not say how far apart the pixels of {case.name} are"
        )
    numbers = sorted(case.slices, reverse=True)
    if numbers[0] - numbers[-1] != len(numbers) - 1:
        raise UnsupportedImage(f"slices of {case.name} are missing between its first and last")
    planes = [np.asarray(Image.open(case.slices[number])) for number in numbers]
    if {plane.shape for plane in planes} != {planes[0].shape} or planes[0].ndim != 2:
        raise UnsupportedImage(f"the slices of {case.name} are not of one size, or not grey")
    array = np.stack(planes).astype(np.float32) - _PNG_ZERO
    x_mm, y_mm, z_mm = case.spacing_mm
    grid = Grid(
        affine_lps_mm=np.diag([z_mm, y_mm, x_mm, 1.0])[[2, 1, 0, 3]],
        shape=(array.shape[0], array.shape[1], array.shape[2]),
        frame_of_reference_uid=derived_uid("evaluation", case.name, "frame"),
    )
    return as_volume(case.name, array, grid, modality)


def _metaimage(case: Case, modality: str) -> Volume:
    try:
        import SimpleITK
    except ImportError as exc:
        raise StudyError(
            "MetaImage needs SimpleITK: install dicomnode with its extra `train`"
        ) from exc
    try:
        image: Any = SimpleITK.ReadImage(str(case.path))
    except RuntimeError as exc:
        raise UnsupportedImage(f"{case.path.name} cannot be read") from exc
    array = SimpleITK.GetArrayFromImage(image)
    if array.ndim != 3:
        raise UnsupportedImage(f"{case.path.name} has {array.ndim} axes, not three")
    steps = np.asarray(image.GetDirection()).reshape(3, 3) * np.asarray(image.GetSpacing())
    affine = np.eye(4)
    affine[:3, :3] = steps[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    grid = Grid(
        affine_lps_mm=affine,
        shape=(array.shape[0], array.shape[1], array.shape[2]),
        frame_of_reference_uid=derived_uid("evaluation", case.name, "frame"),
    )
    return as_volume(case.name, array, grid, modality)
