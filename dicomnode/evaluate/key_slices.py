"""DeepLesion as published: key slices held against their marks, false positives an image.

    DL_info.csv                  File_name, Measurement_coordinates, Bounding_boxes,
                                 Coarse_lesion_type (-1: not known), Possibly_noisy, Spacing_mm_px_,
                                 Train_Val_Test
    Images_png/000001_01_01/109.png   16 bit, HU + 32768, numbers rising towards the feet

Radiologists marked slices, not volumes, so an image is what false positives are counted on. A
bundle reads the key slice with what is there of its neighbours; of its marks those count that
reach the key slice.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dicomnode.domain.errors import StudyError, UnsupportedImage
from dicomnode.domain.identifiers import derived_uid
from dicomnode.domain.volumes import Grid, Volume
from dicomnode.evaluate.lesion_images import Case
from dicomnode.evaluate.pairs import as_volume
from dicomnode.evaluation.froc import TrueLesion
from dicomnode.networks.deep_lesion import TYPES, KeySlice, Part, read_deep_lesion, slab_of
from dicomnode.networks.slice_losses import UNKNOWN_TYPE

TABLE = "DL_info.csv"
IMAGES = "Images_png"
_HALF = 5
"""Slices on either side of a key slice that a bundle is shown."""
_APART_MM = 2.5


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCase:
    """One key slice whose image is there."""

    case: Case
    key: KeySlice
    images: Path

    @property
    def height_mm(self) -> float:
        """Where the key slice lies in `volume`, along z."""
        return _HALF * _APART_MM

    def volume(self, modality: str) -> Volume:
        """The slice and its neighbours; slices rise to the head.

        Raises:
            UnsupportedImage: a picture cannot be read.
        """
        try:
            slab = slab_of(self.images, self.key, slices=2 * _HALF + 1, apart_mm=_APART_MM)
        except (OSError, ValueError, RuntimeError) as exc:
            raise UnsupportedImage(f"{self.case.name} cannot be read: {exc}") from exc
        array = np.ascontiguousarray(slab.numpy()[::-1])
        x_mm, y_mm, _ = self.key.spacing_mm
        grid = Grid(
            affine_lps_mm=np.diag([_APART_MM, y_mm, x_mm, 1.0])[[2, 1, 0, 3]],
            shape=(array.shape[0], array.shape[1], array.shape[2]),
            frame_of_reference_uid=derived_uid("evaluation", self.case.name, "frame"),
        )
        return as_volume(self.case.name, array, grid, modality)

    def lesions(self) -> list[TrueLesion]:
        """What is marked on it; `kind` is `bone lesion` and so on, empty where nobody said."""
        marks = self.key.marks
        step = torch.tensor(self.key.spacing_mm[:2])
        boxes = ((marks.boxes.reshape(-1, 2, 2) - 0.5) * step).tolist()
        lengths = ((marks.ends[:, 1] - marks.ends[:, 0]) * step).norm(dim=1).tolist()
        return [
            TrueLesion(
                volume=self.case.name,
                low_mm=(low[0], low[1], self.height_mm - _APART_MM / 2),
                high_mm=(high[0], high[1], self.height_mm + _APART_MM / 2),
                is_sphere=False,
                # Where no axis is drawn, the longer side of the box.
                size_mm=length if np.isfinite(length) else max(high[0] - low[0], high[1] - low[1]),
                kind="" if kind == UNKNOWN_TYPE else f"{TYPES[kind]} lesion",
            )
            for (low, high), length, kind in zip(boxes, lengths, marks.types.tolist(), strict=True)
        ]


def is_deep_lesion(folder: Path) -> bool:
    """Whether the folder is laid out as DeepLesion is."""
    return (folder / TABLE).is_file()


def read_key_cases(folder: Path, split: str = "") -> tuple[list[KeyCase], int]:
    """Key slices whose image is there, and the number of those whose image is not.

    Args:
        folder: the data set.
        split: `train`, `validation` or `test`: that part alone; empty: all of it.

    Raises:
        StudyError: the table cannot be read, or there is no such part.
    """
    parts = {part.name.lower(): part for part in Part}
    if split and split not in parts:
        raise StudyError(f"{split!r} is no part of DeepLesion: {', '.join(parts)}")
    try:
        told = read_deep_lesion(folder / TABLE)
    except ValueError as exc:
        raise StudyError(str(exc)) from exc
    wanted = [one for one in told if not split or one.part is parts[split]]
    images = folder / IMAGES
    found = [
        KeyCase(
            case=Case(
                name=f"{one.volume}_{one.number:03d}",
                patient=one.patient,
                path=images / one.volume / f"{one.number:03d}.png",
            ),
            key=one,
            images=images,
        )
        for one in wanted
    ]
    there = [one for one in found if one.case.path.is_file()]
    if not there:
        raise StudyError(f"{IMAGES} holds no picture of a slice that {TABLE} names")
    return there, len(found) - len(there)
