"""Diffuse disease painted into a phantom: patterns of interstitial lung disease, colitis.

What lesions with a middle and a diameter are not: a pattern has a region, and its truth is a label
map. Densities are changed in place, before the scanner.
"""

from enum import IntEnum
from typing import Final

import numpy as np
from scipy import ndimage

from dicomnode.phantom.canvas import Bools, Bytes, Floats, Painting, Point, smooth_noise
from dicomnode.phantom.structures import LUNGS, Organ, Tissue


class Pattern(IntEnum):
    """What a voxel of the label map shows; 0 is none of them."""

    GROUND_GLASS = 1
    RETICULATION = 2
    HONEYCOMBING = 3
    CONSOLIDATION = 4
    EMPHYSEMA = 5
    COLITIS = 6


LUNG_PATTERNS: Final = tuple(one for one in Pattern if one is not Pattern.COLITIS)
_AT_THE_PLEURA: Final = (Pattern.RETICULATION, Pattern.HONEYCOMBING)
_RIND_MM: Final = (12.0, 35.0)
"""How deep what begins at the pleura reaches."""


class Painter(Painting):
    """Paints patterns; `painted` says where."""

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        hu: Floats,
        labels: Bytes,
        tissue: Bytes,
        spacing: Point,
    ) -> None:
        super().__init__(rng, hu=hu, labels=labels, tissue=tissue, spacing=spacing)
        self.painted: Bytes = np.zeros(labels.shape, np.uint8)

    def paint(self, pattern: Pattern) -> bool:
        """Paint one region of a pattern; False where the organ is not shown."""
        return self._colitis() if pattern is Pattern.COLITIS else self._lung(pattern)

    def _lung(self, pattern: Pattern) -> bool:
        lungs = np.isin(self.labels, LUNGS)
        region = self._region(lungs, pattern) & (self.painted == 0)
        if region.sum() < 60:
            return False
        soft = ndimage.gaussian_filter(region.astype(np.float32), 1.0) * lungs
        open_lung = self.tissue == Tissue.WALL
        new = self._lung_density(pattern)
        changed = np.where(open_lung, new, np.maximum(self.hu, new))
        self.hu += soft * (changed - self.hu)
        self.painted[region] = pattern
        return True

    def _region(self, lungs: Bools, pattern: Pattern) -> Bools:
        """An uneven ball somewhere in the lungs; along the pleura for what begins there."""
        rng = self.rng
        deep = ndimage.distance_transform_edt(lungs, sampling=self.spacing)
        may = lungs & (deep < 15) if pattern in _AT_THE_PLEURA else lungs
        found = np.flatnonzero(may)
        if not found.size:
            return may
        at = np.unravel_index(int(rng.choice(found)), lungs.shape)
        lines = [
            ((np.arange(n) - a) * s).reshape([-1 if axis == own else 1 for own in range(3)]) ** 2
            for axis, (n, a, s) in enumerate(zip(lungs.shape, at, self.spacing, strict=True))
        ]
        far = np.sqrt(lines[0] + lines[1] + lines[2])
        uneven = 1 + 0.35 * smooth_noise(rng, lungs.shape, tuple(self.spacing), 20.0)
        region = lungs & (far < rng.uniform(22, 60) * uneven)
        if pattern in _AT_THE_PLEURA:
            region &= deep < rng.uniform(*_RIND_MM)
        return np.asarray(region)

    def _lung_density(self, pattern: Pattern) -> Floats:
        """HU of the pattern on the whole grid."""
        rng, u = self.rng, self.rng.uniform
        if pattern is Pattern.GROUND_GLASS:
            return self.hu + np.float32(u(150, 420)) + 20 * self._noise(8.0)
        if pattern is Pattern.CONSOLIDATION:
            bronchi = np.abs(self._noise(14.0)) < (0.12 if rng.random() < 0.6 else 0.0)
            return np.where(
                bronchi, np.float32(-850), np.float32(u(-30, 90)) + 12 * self._noise(6.0)
            )
        if pattern is Pattern.RETICULATION:
            lines = np.minimum(np.abs(self._noise(u(7, 12))), np.abs(self._noise(u(7, 12)))) < 0.16
            base = self.hu + np.float32(u(0, 120))
            return np.where(lines, np.float32(u(-450, -100)), base)
        if pattern is Pattern.HONEYCOMBING:
            walls = self._cells(u(5, 10)) < u(1.2, 2.0)
            return np.where(walls, np.float32(u(-350, 0)), np.float32(u(-980, -900)))
        holes = self._noise(u(7, 16)) > u(-0.5, 0.3)
        return np.where(holes, np.float32(u(-1010, -960)), self.hu)

    def _noise(self, grain_mm: float) -> Floats:
        return smooth_noise(self.rng, self.labels.shape, tuple(self.spacing), grain_mm)

    def _cells(self, size_mm: float) -> Floats:
        """Millimetres to the wall between the cells of random points, about `size_mm` apart."""
        shape = np.array(self.labels.shape)
        extent = shape * self.spacing
        count = int(np.prod(extent) / size_mm**3)
        seeds = (self.rng.random((count, 3)) * shape).astype(int)
        free: Bools = np.ones(tuple(shape), bool)
        free[tuple(seeds.T)] = False
        index = ndimage.distance_transform_edt(
            free, sampling=self.spacing, return_distances=False, return_indices=True
        )
        own = np.ravel_multi_index(tuple(index), tuple(shape))
        edge = np.zeros(tuple(shape), bool)
        for axis in range(3):
            step = np.diff(own, axis=axis) != 0
            edge |= np.concatenate([step, np.zeros_like(np.take(step, [0], axis))], axis)
        away = ndimage.distance_transform_edt(~edge, sampling=self.spacing)
        return np.asarray(away, np.float32)

    def _colitis(self) -> bool:
        """A stretch of the colon with a thick wall that takes up contrast, and hazy fat around."""
        rng, u = self.rng, self.rng.uniform
        colon = self.labels == Organ.COLON
        found = np.flatnonzero(colon)
        if found.size < 500:
            return False
        at = np.array(np.unravel_index(int(rng.choice(found)), colon.shape))
        lines = [
            ((np.arange(n) - a) * s).reshape([-1 if axis == own else 1 for own in range(3)]) ** 2
            for axis, (n, a, s) in enumerate(zip(colon.shape, at, self.spacing, strict=True))
        ]
        near = np.sqrt(lines[0] + lines[1] + lines[2]) < u(35, 80)
        lumen = colon & (self.tissue == Tissue.INNER)
        narrow = ndimage.distance_transform_edt(lumen, sampling=self.spacing)
        outer = ndimage.distance_transform_edt(~colon, sampling=self.spacing)
        thick = u(4, 11)
        fat = np.isin(self.labels, (Organ.VISCERAL_FAT,))
        wall = near & ((colon & (narrow < 0.6 * thick)) | (fat & (outer < 0.5 * thick)))
        if wall.sum() < 200:
            return False
        haze = near & fat & ~wall & (outer < 0.5 * thick + u(5, 15))
        strands = np.float32(u(20, 70)) * np.clip(1 + self._noise(8.0), 0, 2)
        soft = ndimage.gaussian_filter(wall.astype(np.float32), 0.6)
        layered = np.where(
            (outer > 0) | (narrow < 2.5), np.float32(u(55, 120)), np.float32(u(15, 60))
        )
        self.hu += np.where(haze, strands, 0)
        self.hu += soft * (layered + 6 * self._noise(6.0) - self.hu)
        self.painted[wall] = Pattern.COLITIS
        return True
