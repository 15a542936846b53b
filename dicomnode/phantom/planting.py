"""Lesions planted in a phantom before it is scanned: what detectors are trained on.

Nodes lie in fat, nodules in lung, sclerotic lesions in marrow, polyps on the colon's inner wall
where gas or contrast medium shows them, others in liver, kidney, muscle and fat under the skin.
What is no fat (lung, marrow ...) stays as it is, so that a lesion nestles against its neighbours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicomnode.phantom.canvas import Floats, Painting, smooth_noise
from dicomnode.phantom.distractors import Distractors
from dicomnode.phantom.structures import BONES, FATS, LUNGS, Organ, Tissue

Labels = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]


class Kind(IntEnum):
    """What a planted lesion is."""

    LYMPH_NODE = 0
    LUNG_NODULE = 1
    BONE = 2
    POLYP = 3
    LIVER = 4
    KIDNEY = 5
    SOFT_TISSUE = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesion:
    """One lesion as it was painted. Arrays are (slice, row, column)."""

    kind: Kind
    number: int
    """Its label in the instance map."""
    centre: tuple[float, float, float]
    """Of what was painted, in voxels."""
    diameter_mm: float
    """Of the ball of the same volume."""
    contrast_hu: float
    """Between its mean and the mean of a shell of 4 mm around it, before the scanner."""
    slice_mm2: float
    """Area of its largest slice."""

    def visibility(self, noise_hu: float, pixel_mm2: float) -> float:
        """Signal over noise of its largest slice.

        Below about 5 nobody finds it for certain (Rose, J Opt Soc Am 38, 1948).
        """
        return self.contrast_hu * float(np.sqrt(self.slice_mm2 / pixel_mm2)) / max(noise_hu, 1.0)


@dataclass(frozen=True, slots=True)
class _Recipe:
    organs: tuple[Organ, ...]
    tissues: tuple[Tissue, ...]
    radius_mm: tuple[float, float]
    stretch: float
    """Greatest ratio of two half axes."""
    lumps: float
    """Unevenness of the surface over the radius."""


_RECIPES: Final = {
    Kind.LYMPH_NODE: _Recipe(FATS, (Tissue.WALL,), (3.5, 14.0), 1.9, 0.10),
    Kind.LUNG_NODULE: _Recipe(LUNGS, (Tissue.WALL,), (2.5, 15.0), 1.5, 0.18),
    Kind.BONE: _Recipe(BONES, (Tissue.INNER,), (3.0, 12.0), 1.6, 0.2),
    Kind.POLYP: _Recipe((Organ.COLON,), (Tissue.INNER,), (3.0, 11.0), 1.4, 0.1),
    Kind.LIVER: _Recipe((Organ.LIVER,), (Tissue.WALL, Tissue.VESSEL), (4.0, 25.0), 1.5, 0.12),
    Kind.KIDNEY: _Recipe(
        (Organ.KIDNEY_RIGHT, Organ.KIDNEY_LEFT, Organ.VISCERAL_FAT),
        (Tissue.WALL, Tissue.INNER),
        (4.0, 22.0),
        1.3,
        0.06,
    ),
    Kind.SOFT_TISSUE: _Recipe(
        (Organ.SUBCUTANEOUS_FAT, Organ.MUSCLE, Organ.PARASPINAL_MUSCLE, Organ.PSOAS),
        (Tissue.WALL,),
        (4.0, 20.0),
        1.8,
        0.12,
    ),
}
_NODE_HU: Final = (38.0, 70.0, 90.0, 85.0)
"""By phase, as the nodes of the generator."""
_NODES_BESIDE: Final = (
    Organ.AIRWAY,
    Organ.ESOPHAGUS,
    Organ.AORTA,
    Organ.PULMONARY_ARTERY,
    Organ.SUPERIOR_VENA_CAVA,
    Organ.INFERIOR_VENA_CAVA,
    Organ.ARTERY,
    Organ.VEIN,
    Organ.PORTAL_VEIN,
)
_STATION_MM = 18.0
"""Half of the nodes lie this near to a great vessel, the airway or the gullet."""
_LEAST_SHARE = 0.45
"""Share of its ellipsoid that a lesion has to keep."""
_GAP_MM = 5.0
_TRIES = 12


class Planter(Painting):
    """Paints lesions; `phase` is that of contrast medium, 0 native to 3 late."""

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        hu: Floats,
        labels: Labels,
        tissue: Labels,
        spacing: tuple[float, float, float],
        phase: int,
    ) -> None:
        super().__init__(rng, hu=hu, labels=labels, tissue=tissue, spacing=spacing)
        self.phase = phase
        self.instances = np.zeros(labels.shape, np.uint8)
        self.lesions: list[Lesion] = []

    def plant(self, counts: Mapping[Kind, int]) -> tuple[Lesion, ...]:
        """Paint as many of each kind as find a place; returns all that were painted."""
        self._distract()
        for kind, count in counts.items():
            recipe = _RECIPES[kind]
            places = self._places(kind, recipe)
            if not len(places):
                continue
            for _ in range(count):
                self._try_to_paint(kind, recipe, places)
        return tuple(self.lesions)

    def _distract(self) -> None:
        rng = self.rng
        distractors = Distractors(
            rng, hu=self.hu, labels=self.labels, tissue=self.tissue, spacing=self.spacing
        )
        blood = (42.0, 250.0, 150.0, 120.0)[self.phase]
        distractors.add_vessels(int(rng.integers(2, 8)), blood)
        distractors.add_loops(int(rng.integers(0, 4)))
        distractors.add_fissures(int(rng.integers(0, 3)))

    def _places(self, kind: Kind, recipe: _Recipe) -> npt.NDArray[np.int_]:
        """Voxels that may become centres, thinned out."""
        wanted = (Organ.KIDNEY_RIGHT, Organ.KIDNEY_LEFT) if kind is Kind.KIDNEY else recipe.organs
        may = np.isin(self.labels, wanted) & np.isin(self.tissue, recipe.tissues)
        if kind is Kind.POLYP:
            # On the wall, and visible: the lumen around is gas or contrast medium.
            shown = may & ((self.hu < -300) | (self.hu > 180))
            may = shown & ~ndimage.binary_erosion(self.labels == Organ.COLON, iterations=2)
        flat = np.flatnonzero(may)
        if not flat.size:
            return np.empty((0, 3), int)
        drawn = self.rng.choice(flat, min(len(flat), 400))
        if kind is Kind.LYMPH_NODE:
            beside = np.flatnonzero(may & self._near(_NODES_BESIDE, _STATION_MM))
            if beside.size:
                drawn[: len(drawn) // 2] = self.rng.choice(beside, len(drawn) // 2)
        return np.stack(np.unravel_index(drawn, self.labels.shape), 1)

    def _near(self, organs: tuple[Organ, ...], reach_mm: float) -> Bools:
        """Voxels within so many millimetres of organs."""
        one = np.isin(self.labels, organs)
        if not one.any():
            return one
        away = ndimage.distance_transform_edt(~one, sampling=self.spacing)
        return np.asarray(away <= reach_mm)

    def _try_to_paint(self, kind: Kind, recipe: _Recipe, places: npt.NDArray[np.int_]) -> None:
        low, high = np.log(recipe.radius_mm)
        for _ in range(_TRIES):
            radius = float(np.exp(self.rng.uniform(low, high)))
            centre = places[int(self.rng.integers(len(places)))]
            if self._painted(kind, recipe, centre, radius):
                return

    def _painted(
        self, kind: Kind, recipe: _Recipe, centre: npt.NDArray[np.int_], radius: float
    ) -> bool:
        reach = np.ceil(radius * recipe.stretch * 1.3 / self.spacing).astype(int) + 2
        start = np.maximum(centre - reach, 0)
        stop = np.minimum(centre + reach + 1, self.labels.shape)
        part = (
            slice(start[0], stop[0]),
            slice(start[1], stop[1]),
            slice(start[2], stop[2]),
        )
        depth, whole = self._depth(recipe, centre - start, stop - start, radius)
        may = np.isin(self.labels[part], recipe.organs)
        if kind is not Kind.KIDNEY:
            may &= np.isin(self.tissue[part], (*recipe.tissues, Tissue.VESSEL))
        cover = np.clip(0.5 + depth / self.spacing.min(), 0, 1) * may
        inside = cover > 0.5
        if inside.sum() < max(_LEAST_SHARE * whole, 6):
            return False
        parts, _ = ndimage.label(inside)
        main = parts == np.bincount(parts.ravel())[1:].argmax() + 1
        near = ndimage.binary_dilation(main, iterations=max(1, round(_GAP_MM / self.spacing[0])))
        if self.instances[part][near].any() or main.sum() < _LEAST_SHARE * whole:
            return False
        cover = cover * ndimage.binary_dilation(main)
        own = self._density(kind, self.hu[part], main, depth, radius)
        shell = ndimage.binary_dilation(main, iterations=2) & ~main
        contrast = abs(float(own[main].mean()) - float(self.hu[part][shell].mean()))
        self.hu[part] = self.hu[part] * (1 - cover) + own * cover
        number = len(self.lesions) + 1
        self.instances[part][main] = number
        middle = np.argwhere(main).mean(0) + start
        volume = float(main.sum() * self.spacing.prod())
        self.lesions.append(
            Lesion(
                kind=kind,
                number=number,
                centre=(float(middle[0]), float(middle[1]), float(middle[2])),
                diameter_mm=float(2 * (volume * 3 / (4 * np.pi)) ** (1 / 3)),
                contrast_hu=contrast,
                slice_mm2=float(main.sum((1, 2)).max() * self.spacing[1] * self.spacing[2]),
            )
        )
        return True

    def _depth(
        self,
        recipe: _Recipe,
        centre: npt.NDArray[np.int_],
        shape: npt.NDArray[np.int_],
        radius: float,
    ) -> tuple[Floats, float]:
        """About the distance to the surface in mm, positive inside; and its voxels in all."""
        rng = self.rng
        halves = radius * np.sqrt(rng.uniform(1 / recipe.stretch, recipe.stretch, 3))
        turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        lines = [
            (np.arange(n) - c) * s for n, c, s in zip(shape, centre, self.spacing, strict=True)
        ]
        away = np.stack(np.meshgrid(*lines, indexing="ij"), -1) @ turn
        far = np.sqrt(((away / halves) ** 2).sum(-1))
        lumps = smooth_noise(rng, tuple(shape), tuple(self.spacing), max(radius * 0.8, 3.0))
        depth = (1 - far) * halves.min() + lumps * recipe.lumps * radius * rng.uniform(0, 1)
        whole = 4 / 3 * np.pi * halves.prod() / self.spacing.prod()
        return np.asarray(depth, np.float32), float(whole)

    def _density(self, kind: Kind, hu: Floats, main: Bools, depth: Floats, radius: float) -> Floats:
        """HU of the lesion on its part of the grid."""
        u, rng = self.rng.uniform, self.rng
        grain = smooth_noise(rng, hu.shape, tuple(self.spacing), 5.0)
        enhanced = _NODE_HU[self.phase] + rng.normal(0, 14)
        around = float(np.median(hu[main]))
        if kind is Kind.LYMPH_NODE:
            own = enhanced + u(3, 9) * grain
            if rng.random() < 0.15:  # fatty hilum, or necrosis
                own = np.where(depth > radius * 0.55, rng.choice([-60.0, 12.0]), own)
        elif kind is Kind.LUNG_NODULE:
            level = u(-60, 90) if rng.random() < 0.85 else u(-600, -300)
            own = level + u(5, 25) * grain
            if rng.random() < 0.1:
                own = np.where(depth > radius * 0.3, u(200, 700), own)
        elif kind is Kind.BONE:
            own = hu + u(220, 750) + u(10, 60) * grain
        elif kind is Kind.POLYP:
            own = u(25, 60) + (0, 20, 35, 25)[self.phase] * u(0.5, 1.2) + 5 * grain
        elif kind is Kind.LIVER:
            away = u(18, 65) * (1 if rng.random() < 0.25 else -1)
            own = around + away + u(2, 8) * grain
            if rng.random() < 0.2:  # a rim
                own = np.where(depth > radius * 0.3, own - u(10, 30), own + u(10, 30))
        elif kind is Kind.KIDNEY:
            # A cyst, or a mass that takes up less contrast medium than its kidney.
            level = u(-5, 25) if rng.random() < 0.5 else max(around - u(30, 80), u(-5, 20))
            own = level + u(2, 10) * grain
        else:
            contrast = u(30, 70) if around > 0 else 0.0
            own = (around - contrast if rng.random() < 0.5 else around + contrast) + 6 * grain
            if around < 0:
                own = u(15, 75) + u(3, 10) * grain
        return np.asarray(own, np.float32)


def counts_of(rng: np.random.Generator, most: Sequence[int]) -> dict[Kind, int]:
    """How many of each kind, in the order of `Kind`: 0 to `most`."""
    return {kind: int(rng.integers(0, top + 1)) for kind, top in zip(Kind, most, strict=True)}
