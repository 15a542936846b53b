"""Lesions planted in a phantom before it is scanned: what detectors are trained on.

Nodes lie in fat, nodules in lung, sclerotic lesions in marrow, polyps on the colon's inner wall
where gas or contrast medium shows them, others in liver, kidney, muscle and fat under the skin.
What is no fat (lung, marrow ...) stays as it is, so that a lesion nestles against its neighbours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicomnode.phantom.canvas import Floats, smooth_noise
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
_LEAST_SHARE = 0.45
"""Share of its ellipsoid that a lesion has to keep."""
_GAP_MM = 5.0
_TRIES = 12


class Planter:
    """Paints lesions into HU `(slice, row, column)` of a phantom, in place.

    Args:
        rng: what is drawn.
        hu: before the scanner.
        labels: `Organ` of every voxel.
        tissue: `Tissue` of every voxel.
        spacing: mm, (slice, row, column).
        phase: of contrast medium, 0 native to 3 late.
    """

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
        self.rng, self.hu, self.labels, self.tissue = rng, hu, labels, tissue
        self.spacing = np.array(spacing)
        self.phase = phase
        self.instances = np.zeros(labels.shape, np.uint8)
        self.lesions: list[Lesion] = []

    def plant(self, counts: Mapping[Kind, int]) -> tuple[Lesion, ...]:
        """Paint as many of each kind as find a place; returns all that were painted."""
        self._add_vessels(int(self.rng.integers(2, 8)))
        for kind, count in counts.items():
            recipe = _RECIPES[kind]
            places = self._places(kind, recipe)
            if not len(places):
                continue
            for _ in range(count):
                self._try_to_paint(kind, recipe, places)
        return tuple(self.lesions)

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
        return np.stack(np.unravel_index(drawn, self.labels.shape), 1)

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
            own = (u(-5, 25) if rng.random() < 0.5 else around - u(30, 80)) + u(2, 10) * grain
        else:
            contrast = u(30, 70) if around > 0 else 0.0
            own = (around - contrast if rng.random() < 0.5 else around + contrast) + 6 * grain
            if around < 0:
                own = u(15, 75) + u(3, 10) * grain
        return np.asarray(own, np.float32)

    def _add_vessels(self, count: int) -> None:
        """Distractors: small curved vessels through fat that no label names."""
        fat = np.flatnonzero(np.isin(self.labels, FATS))
        if not fat.size:
            return
        for start in self.rng.choice(fat, count):
            at = np.array(np.unravel_index(start, self.labels.shape), float) * self.spacing
            way = self.rng.standard_normal(3)
            way /= np.linalg.norm(way)
            points = []
            for _ in range(int(self.rng.integers(15, 45))):
                points.append(at.copy())
                way += 0.25 * self.rng.standard_normal(3)
                way /= np.linalg.norm(way)
                at = at + 2.0 * way
            blood = (42.0, 250.0, 150.0, 120.0)[self.phase] * self.rng.uniform(0.7, 1.1)
            self._paint_tube(np.array(points), float(self.rng.uniform(1.5, 4.5)), blood)

    def _paint_tube(self, points: Floats, radius: float, value: float) -> None:
        index = points / self.spacing
        reach = np.ceil(radius / self.spacing).astype(int) + 2
        start = np.maximum(np.floor(index.min(0)).astype(int) - reach, 0)
        stop = np.minimum(np.ceil(index.max(0)).astype(int) + reach + 1, self.labels.shape)
        if (start >= stop).any():
            return
        part = (slice(start[0], stop[0]), slice(start[1], stop[1]), slice(start[2], stop[2]))
        line = np.ones(tuple(stop - start), bool)
        fine = np.concatenate([np.linspace(a, b, 4) for a, b in pairwise(index)])
        on = np.round(fine - start).astype(int)
        on = on[((on >= 0) & (on < stop - start)).all(1)]
        line[tuple(on.T)] = False
        away = ndimage.distance_transform_edt(line, sampling=self.spacing)
        cover = np.clip(0.5 + (radius - away) / self.spacing.min(), 0, 1)
        cover = cover * np.isin(self.labels[part], FATS)
        self.hu[part] = self.hu[part] * (1 - cover) + value * cover


def counts_of(rng: np.random.Generator, most: Sequence[int]) -> dict[Kind, int]:
    """How many of each kind, in the order of `Kind`: 0 to `most`."""
    return {kind: int(rng.integers(0, top + 1)) for kind, top in zip(Kind, most, strict=True)}
