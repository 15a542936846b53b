"""Crops of scenes for the candidate network: what they show, and what should be said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dicomnode.networks.candidates import CandidateNet
from scripts.appearance import as_scanned, dimmer, free_lung
from scripts.averaging import varied
from scripts.scenes import SPACING, Planted, Scene

CROP = (64, 64, 48)


@dataclass(frozen=True)
class Cut:
    """Which part of a scene a crop shows, and how much larger than it is."""

    scene: Scene
    corner: tuple[int, int, int]
    """Lowest voxel; a crop may reach beyond its scene."""
    zoom: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Voxels of the scene for one of the crop, along each axis."""
    shown: tuple[int, int] = (0, CROP[2])
    """Slices that were scanned, first and last (exclusive); the others are air."""

    def sized(self, one: Planted) -> Planted:
        """A lesion as large, and where, as the crop shows it."""
        centre = tuple(c / z for c, z in zip(one.centre, self.zoom, strict=True))
        return replace(
            one,
            centre=(centre[0], centre[1], centre[2]),
            diameter=one.diameter / float(np.prod(self.zoom)) ** (1 / 3),
        )


def draw_cut(rng: np.random.Generator, scene: Scene, corner: tuple[int, int, int]) -> Cut:
    """Some crops larger or smaller than they were, some cut off as short scans are."""
    zoom, shown = np.ones(3), (0, CROP[2])
    if rng.random() < 0.35:
        zoom = rng.uniform(0.82, 1.2) * rng.uniform(0.94, 1.06, 3)
        zoom = np.round(CROP * zoom) / CROP
    if rng.random() < 0.2:
        low = int(rng.integers(0, 20))
        shown = (low, min(CROP[2], low + int(rng.integers(18, 36))))
    # The middle stays the middle.
    low = np.round(np.asarray(corner) + np.asarray(CROP) * (1 - zoom) / 2).astype(int)
    return Cut(scene, (int(low[0]), int(low[1]), int(low[2])), tuple(zoom.tolist()), shown)


def cut(array: np.ndarray, corner: Sequence[int], shape: Sequence[int], beyond: float) -> Tensor:
    """A part of an array of a scene, `beyond` where it reaches beyond the scene."""
    out = np.full(shape, beyond, np.float32)
    start = [max(c, 0) for c in corner]
    stop = [min(c + n, s) for c, n, s in zip(corner, shape, array.shape, strict=True)]
    part = tuple(slice(a, max(b, a)) for a, b in zip(start, stop, strict=True))
    into = tuple(slice(p.start - c, p.stop - c) for p, c in zip(part, corner, strict=True))
    out[into] = array[part]
    return torch.from_numpy(out)


def image_of(rng: np.random.Generator, crop: Cut) -> Tensor:
    """HU of a crop, of shape `CROP`, as one scanner or another shows it."""
    shape = [max(2, round(n * z)) for n, z in zip(CROP, crop.zoom, strict=True)]
    scene = crop.scene
    hu = cut(scene.hu, crop.corner, shape, -1024)
    lesions = cut(scene.instances, crop.corner, shape, 0).numpy()
    if rng.random() < 0.4:
        hu = dimmer(rng, hu, lesions, scene.nodes)
    lung = None
    if scene.has_labels:
        lung = free_lung(cut(scene.labels, crop.corner, shape, 0).numpy(), lesions)
    hu = as_scanned(rng, hu, lung)
    if tuple(hu.shape) != CROP:
        hu = functional.interpolate(hu[None, None], CROP, mode="trilinear")[0, 0]
    hu = varied(rng, hu)
    hu[..., : crop.shown[0]] = -1024
    hu[..., crop.shown[1] :] = -1024
    return hu


def wanted_of(crop: Cut, kinds: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What the network should say of a crop, on its own coarse grid.

    Returns:
        heat `(kinds, x, y, z)`, 0 to 1; weight of a voxel as a lesion's middle, the same shape, of
        sum 1 for each lesion; where false heat counts, the same shape; log radius `(x, y, z)`.
    """
    stride, scene = CandidateNet.stride, crop.scene
    lines = [
        (np.arange(n // stride) * stride + (stride - 1) / 2 + c / z) * s
        for n, c, z, s in zip(CROP, crop.corner, crop.zoom, SPACING, strict=True)
    ]
    shape = tuple(len(line) for line in lines)
    heat = np.zeros((kinds, *shape), np.float32)
    middle, counts = np.zeros_like(heat), np.ones_like(heat)
    radius = np.zeros(shape, np.float32)
    counts[list(scene.unknown_kinds)] = 0
    for told in (*scene.clear, *scene.ignored):
        one = crop.sized(told)
        far2 = sum(
            ((line - c) ** 2).reshape([-1 if a == axis else 1 for a in range(3)])
            for axis, (line, c) in enumerate(zip(lines, one.centre, strict=True))
        )
        if far2.min() > (one.radius + 3.5) ** 2:
            continue
        if told in scene.ignored:
            counts[:, far2 <= (one.radius + 4) ** 2] = 0
            continue
        _add(one, far2, heat, middle, radius)
    first, last = (n // stride for n in crop.shown)
    middle[..., :first] = middle[..., last:] = 0
    return tuple(torch.from_numpy(a) for a in (heat, middle, counts, radius))  # type: ignore[return-value]


def _add(
    one: Planted, far2: np.ndarray, heat: np.ndarray, middle: np.ndarray, radius: np.ndarray
) -> None:
    width = max(0.4 * one.radius, 2.2)
    heat[one.kind] = np.maximum(heat[one.kind], np.exp(-far2 / (2 * width**2)))
    core = far2 <= width**2
    # A lesion whose middle lies outside of the crop has a rim, but no middle.
    if far2.min() > 12.0:
        return
    core[np.unravel_index(int(far2.argmin()), far2.shape)] = True
    middle[one.kind][core] = np.maximum(middle[one.kind][core], 1.0 / core.sum())
    radius[core] = np.log(max(one.radius, 1.0) / 8.0)
