"""Training slabs: anatomy deformed, made ill and scanned again. Deterministic by seed.

One sample is what the network sees: slices at `OFFSETS_MM` around a central slice, on a 2 mm grid,
and the soft label of the central slice (the fraction of the pixel that is lung, so that p = 0.5
lies on the true border after interpolation).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from scripts.disease import disease
from scripts.draws import HU_HIGH, HU_LOW, OFFSETS_MM, PIXEL_MM, SIZE, Random
from scripts.surroundings import contrast, field_of_view, gas, scanner, surroundings


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """A CT in RAS ready to be sampled.

    `channels` is `(5, z, y, x)` float16: HU + 1024 (0 outside the volume), right lung, left lung,
    unknown, body, the last four between 0 and 1. `spacing` is in mm along x, y, z.
    """

    name: str
    channels: Tensor
    spacing: tuple[float, float, float]
    weight: float
    """How often it is drawn, relative to the others."""


def sampling_grid(random: Random, anatomy: Anatomy, offsets: Tensor) -> tuple[Tensor, bool]:
    """Return `(1, len(offsets), SIZE, SIZE, 3)` for grid_sample, and whether it is mirrored.

    Random place along z, habitus (scale along each axis), rotation, shift, mirroring, and a smooth
    elastic displacement of up to about 10 mm.
    """
    extent = torch.tensor(
        [n * s for n, s in zip(anatomy.channels.shape[:0:-1], anatomy.spacing, strict=True)]
    )
    line = (torch.arange(SIZE) - (SIZE - 1) / 2) * PIXEL_MM
    z, y, x = torch.meshgrid(offsets, line, line, indexing="ij")
    points = torch.stack((x, y, z), dim=-1)
    elastic = torch.zeros(1, 3, len(offsets), SIZE, SIZE)
    for knots, strength in ((7, random.uniform(0, 7.0)), (16, random.uniform(0, 2.0))):
        knot = random.normal(1, 3, 3, knots, knots) * strength
        elastic += F.interpolate(knot, elastic.shape[2:], mode="trilinear", align_corners=True)
    habitus = random.uniform(0.85, 1.2)
    scale = torch.tensor(
        [
            habitus * random.uniform(0.9, 1.1),
            habitus * random.uniform(0.85, 1.15),
            habitus * random.uniform(0.85, 1.2),
        ]
    )
    mirrored = random.chance(0.5)
    flip = torch.tensor([-1.0 if mirrored else 1.0, 1.0, 1.0])
    wide = 0.45 if random.chance(0.1) else 0.12
    a = random.uniform(-wide, wide)
    b, c = random.uniform(-0.15, 0.15), random.uniform(-0.1, 0.1)
    rotation = torch.tensor([[1.0, -a, -b], [a, 1.0, -c], [b, c, 1.0]])
    shift = torch.tensor([random.uniform(-45, 45), random.uniform(-45, 45), 0.0])
    points = ((points + shift) @ rotation.T + elastic[0].permute(1, 2, 3, 0)) / scale * flip
    half = extent[2].item() / 2
    points = points + torch.tensor([0.0, 0.0, random.uniform(-half, half)])
    return (points * 2 / extent)[None], mirrored


def read_slab(anatomy: Anatomy, grid: Tensor) -> Tensor:
    """Return the anatomy's channels `(5, slices, SIZE, SIZE)` at the grid's points.

    Only the slices that the grid touches are read; beyond the ends, the last one repeats.
    """
    count = anatomy.channels.shape[1]
    z = (((grid[..., 2] + 1) * count - 1) / 2).clamp(0, count - 1)
    first = min(max(int(z.min().floor()) - 1, 0), count - 2)
    last = max(min(int(z.max().ceil()) + 2, count), first + 2)
    part = anatomy.channels[:, first:last].float()[None]
    low = first - 0.5
    inner = grid.clone()
    inner[..., 2] = (z - low) * 2 / (last - first) - 1
    return F.grid_sample(part, inner, padding_mode="zeros", align_corners=False)[0]


def make_sample(anatomies: list[Anatomy], seed: int) -> dict[str, Tensor]:
    """Return one training sample.

    `image` `(5, SIZE, SIZE)` HU; `target` `(3, SIZE, SIZE)` fractions of background, right and
    left lung; `weight` `(1, SIZE, SIZE)`, 0 where the truth is unknown.
    """
    random = Random(seed)
    anatomy = anatomies[random.pick(torch.tensor([a.weight for a in anatomies]))]
    offsets = torch.tensor(OFFSETS_MM)
    grid, mirrored = sampling_grid(random, anatomy, offsets)
    slab = read_slab(anatomy, grid)
    if random.chance(0.3):
        thick = random.uniform(1.0, 4.0)
        z_step = 2 * thick / (anatomy.channels.shape[1] * anatomy.spacing[2])
        step = torch.tensor([0.0, 0.0, z_step / 2])
        slab = (slab + read_slab(anatomy, grid + step) + read_slab(anatomy, grid - step)) / 3
    hu, right, left, unknown, body = slab
    hu = hu - 1024
    if mirrored:
        right, left = left, right
    hu, right, left = disease(random, hu, right, left, offsets)
    hu = contrast(random, hu, (right + left).clamp(0, 1))
    if random.chance(0.3):
        hu = gas(random, hu, right + left + unknown, body)
    if random.chance(0.6):
        hu = surroundings(random, hu, body.clamp(0, 1))
    hu = scanner(random, hu)
    hu, seen = field_of_view(random, hu, offsets)
    middle = len(offsets) // 2
    right, left = (mask[middle].clamp(0, 1) for mask in (right, left))
    target = torch.stack(((1 - right - left).clamp(0, 1), right, left))
    known = 1 - unknown[middle].clamp(0, 1)
    weight = known * torch.where(seen > 0, 1.0, 0.0)
    return {
        "image": hu.clamp(HU_LOW, HU_HIGH),
        "target": target,
        "weight": weight[None],
    }
