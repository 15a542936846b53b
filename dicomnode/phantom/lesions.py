"""Disease planted into an anatomy, with exact truth: every lesion has its own mask."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
import numpy.typing as npt

from dicomnode.domain.volumes import Grid
from dicomnode.phantom.anatomy import Anatomy
from dicomnode.phantom.canvas import Bools, Box, Floats
from dicomnode.phantom.structures import Organ, Tissue


class LesionKind(Enum):
    """What can be planted."""

    MEDIASTINAL_NODE = "mediastinal lymph node"
    AXILLARY_NODE = "axillary lymph node"
    ABDOMINAL_NODE = "abdominal lymph node"
    LUNG_NODULE = "lung nodule"
    LIVER_LESION = "liver lesion"
    BONE_LESION = "sclerotic bone lesion"
    COLON_POLYP = "colon polyp"
    KIDNEY_MASS = "kidney mass"
    ADRENAL_MASS = "adrenal mass"
    EFFUSION = "pleural effusion"
    CONSOLIDATION = "consolidation"
    EMPHYSEMA = "emphysema"
    CALCIFICATION = "calcification of the aorta"


NODES: Final = (
    LesionKind.MEDIASTINAL_NODE,
    LesionKind.AXILLARY_NODE,
    LesionKind.ABDOMINAL_NODE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesion:
    """The truth about one planted lesion. Lengths in mm, positions in LPS of the case's grid."""

    index: int
    """Its number in `Case.lesion_map`."""
    kind: LesionKind
    centre_lps_mm: tuple[float, float, float]
    """Mean of its voxels."""
    diameter_mm: float
    """Of a ball of the same volume."""
    volume_ml: float
    """Of its voxels in `Case.lesion_map`."""
    site: Organ
    """The organ it was planted in, or the vessel a node lies beside."""
    attribute: str
    """E.g. "spiculated", "ground glass", "hyperdense", "right"; may be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """Where a lesion lies and how it looks; painted into the image by `blend`."""

    box: Box
    share: Floats
    """0 to 1 on `box`: how much of a voxel it fills; the truth is where this is over 1/2."""
    hu: float
    """Its density, or what it adds to what is there."""
    adds: bool


def is_one(organs: Iterable[Organ], labels: npt.NDArray[np.uint8]) -> Bools:
    """Where `labels` is one of `organs`."""
    allowed = np.zeros(256, np.bool_)
    allowed[[int(o) for o in organs]] = True
    return np.asarray(allowed[labels])


class Garden:
    """An anatomy in which lesions are being planted. Labels and tissues change with them."""

    def __init__(self, anatomy: Anatomy, rng: np.random.Generator, contrast: bool) -> None:
        self.labels, self.tissue = anatomy.labels.copy(), anatomy.tissue.copy()
        self.grid: Grid = anatomy.grid
        self.fine = anatomy.fine
        self.spacing = anatomy.grid.spacing_mm
        self.rng, self.contrast = rng, contrast
        self.lesion_map: npt.NDArray[np.uint16] = np.zeros(anatomy.labels.shape, np.uint16)
        self.planted: list[Planted] = []
        self.lesions: list[Lesion] = []
        self._found: dict[tuple[Organ, ...], npt.NDArray[np.int64]] = {}

    def voxels(self, organs: Iterable[Organ]) -> npt.NDArray[np.int64]:
        """Flat indices of the voxels of `organs` before planting began (remembered)."""
        key = tuple(organs)
        if key not in self._found:
            self._found[key] = np.flatnonzero(is_one(key, self.labels))
        return self._found[key]

    def somewhere(self, organs: Iterable[Organ]) -> npt.NDArray[np.int64] | None:
        """A voxel (slice, row, column) of one of `organs`, or None."""
        found = self.voxels(organs)
        if not found.size:
            return None
        flat = found[self.rng.integers(found.size)]
        return np.asarray(np.unravel_index(int(flat), self.labels.shape), np.int64)

    def ball(
        self,
        at: npt.NDArray[np.int64],
        radius: float,
        within: Iterable[Organ],
        *,
        stretch: float = 1.0,
        lumps: float = 0.12,
        spikes: int = 0,
    ) -> tuple[Box, Floats] | None:
        """An uneven ball of `radius` mm around voxel `at`, cut to the organs `within`.

        None unless more than half of it lies there.
        """
        reach = radius * (1.7 if spikes else 1.25) * max(stretch, 1.0) + max(self.spacing)
        box, away = self.around(at, reach)
        way = self.rng.normal(0, 1, 3)
        way = way / np.linalg.norm(way)
        along = sum(np.float32(w) * d for w, d in zip(way, away, strict=True))
        far2 = sum(d * d for d in away) - along**2 * np.float32(1 - 1 / stretch**2)
        far = np.sqrt(np.maximum(far2, 1e-6))
        size = radius * (1 + lumps * self.fine[box])
        for _ in range(spikes):
            spike = self.rng.normal(0, 1, 3)
            spike = spike / np.linalg.norm(spike)
            cosine = sum(np.float32(w) * d for w, d in zip(spike, away, strict=True)) / far
            size = size + radius * 0.6 * np.clip(cosine, 0, 1) ** 60
        edge = max(0.35 * float(np.mean(self.spacing)), 0.4)
        share = np.clip((size - far) / (2 * edge) + 0.5, 0, 1)
        whole = float(share.sum())
        share = share * is_one(within, self.labels[box]) * (self.lesion_map[box] == 0)
        if float(share.sum()) < 0.5 * whole or not (share > 0.5).any():
            return None
        return box, np.asarray(share, np.float32)

    def around(self, at: npt.NDArray[np.int64], reach: float) -> tuple[Box, list[Floats]]:
        """The box within `reach` mm of voxel `at`, and the way from it along each axis in mm."""
        parts, lines = [], []
        for axis, (n, s) in enumerate(zip(self.labels.shape, self.spacing, strict=True)):
            first = max(int(at[axis] - reach // s - 1), 0)
            last = min(int(at[axis] + reach // s + 2), n)
            parts.append(slice(first, last))
            shape = [1, 1, 1]
            shape[axis] = last - first
            lines.append(
                ((np.arange(first, last) - at[axis]) * s).reshape(shape).astype(np.float32)
            )
        return (parts[0], parts[1], parts[2]), lines

    def keep(
        self,
        kind: LesionKind,
        shape: tuple[Box, Floats],
        hu: float,
        *,
        site: Organ,
        attribute: str = "",
        adds: bool = False,
        becomes: tuple[Organ, Tissue] | None = None,
    ) -> None:
        """Write the lesion down: its mask, its look, and the organ its voxels `become`."""
        box, share = shape
        index = len(self.lesions) + 1
        mask = share > 0.5
        self.lesion_map[box][mask] = index
        if becomes is not None:
            self.labels[box][mask] = becomes[0]
            self.tissue[box][mask] = becomes[1]
        self.planted.append(Planted(box=box, share=share, hu=hu, adds=adds))
        middle = [float(m.mean()) + b.start for m, b in zip(np.nonzero(mask), box, strict=True)]
        centre = (self.grid.affine_lps_mm @ [*middle, 1.0])[:3]
        mm3 = float(mask.sum()) * self.grid.voxel_mm3
        self.lesions.append(
            Lesion(
                index=index,
                kind=kind,
                centre_lps_mm=(float(centre[0]), float(centre[1]), float(centre[2])),
                diameter_mm=2 * (3 * mm3 / (4 * np.pi)) ** (1 / 3),
                volume_ml=mm3 / 1000,
                site=site,
                attribute=attribute,
            )
        )


def blend(garden: Garden, hu: Floats) -> None:
    """Paint what was planted into `hu`, in the order of planting."""
    for lesion in garden.planted:
        part = hu[lesion.box]
        goal = part + lesion.hu if lesion.adds else np.float32(lesion.hu)
        part += lesion.share * (goal - part)
