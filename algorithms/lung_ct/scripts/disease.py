"""Disease: changes HU inside the lungs, and the label only where lung is displaced."""

from __future__ import annotations

import torch
from torch import Tensor

from scripts.draws import PIXEL_MM, SIZE, Random, blend, gaussian, smooth_noise


def soft_region(random: Random, lung: Tensor, grain: float, sharp: float) -> Tensor:
    """Return a random lumpy part of the lung, 0 to 1."""
    noise = smooth_noise(random, tuple(lung.shape), grain, 4.0)
    return torch.sigmoid((noise - random.uniform(-0.5, 1.2)) * sharp) * lung


def dependent(random: Random, lung: Tensor) -> Tensor:
    """Return the lung behind (or beneath) a wavy plane, of one or both sides, 0 to 1.

    Which side is lower is mostly the back (y falls); sometimes the front, for prone patients.
    """
    rows = torch.where(lung.amax(dim=(0, 2)) > 0.5)[0]
    if len(rows) < 8:
        return lung
    first, last = int(rows[0]), int(rows[-1])
    level = first + random.uniform(0.05, 0.75) * (last - first)
    y = torch.arange(lung.shape[1], dtype=torch.float32)[None, :, None]
    x = torch.arange(lung.shape[2], dtype=torch.float32)[None, None, :]
    middle = (x - lung.shape[2] / 2) / lung.shape[2]
    wave = random.uniform(0, 5.0) * smooth_noise(random, tuple(lung.shape), 40.0, 4.0)
    bowl = random.uniform(-60.0, 60.0) * middle.abs()
    behind = torch.sigmoid((level - y + wave + bowl) * 1.5)
    if random.chance(0.12):
        behind = torch.sigmoid((y - (first + last - level) + wave + bowl) * 1.5)
    return behind * lung


def one_side(random: Random, right: Tensor, left: Tensor) -> Tensor:
    """Return the mask that disease may touch: right, left or both."""
    draw = random.uniform(0, 1)
    return right if draw < 0.4 else left if draw < 0.8 else right + left


def consolidation(random: Random, hu: Tensor, lung: Tensor) -> Tensor:
    """Dense, with darker bronchi in it; the lung label stays."""
    draw = random.uniform(0, 1)
    if draw < 0.4:
        region = dependent(random, lung)
    elif draw < 0.9:
        region = soft_region(random, lung, random.uniform(8, 50), random.uniform(3, 12))
    else:
        region = lung
    dense = random.uniform(-50, 90) + 20 * smooth_noise(random, tuple(hu.shape), 3.0, 2.0)
    if random.chance(0.6):
        bronchi = smooth_noise(random, tuple(hu.shape), random.uniform(3, 7), 3.0)
        dense = dense - torch.sigmoid((bronchi - 1.7) * 8) * random.uniform(200, 900)
    return blend(hu, region * random.uniform(0.85, 1.0), dense)


def ground_glass(random: Random, hu: Tensor, lung: Tensor) -> Tensor:
    region = soft_region(random, lung, random.uniform(4, 50), random.uniform(1.5, 6))
    return hu + region * random.uniform(80, 450) * (hu < -300)


def emphysema(random: Random, hu: Tensor, lung: Tensor) -> Tensor:
    region = soft_region(random, lung, random.uniform(3, 20), random.uniform(3, 10))
    return blend(hu, region * (hu < -500), random.uniform(-1010, -950))


def fibrosis(random: Random, hu: Tensor, lung: Tensor) -> Tensor:
    """Network of lines and small cysts below the pleura."""
    inner = gaussian(lung, random.uniform(3, 9))
    rim = lung * torch.sigmoid((random.uniform(0.7, 0.95) - inner) * 15)
    lines = smooth_noise(random, tuple(hu.shape), random.uniform(2, 5), 2.0)
    net = torch.exp(-((lines / 0.35) ** 2)) * rim
    return blend(hu, net * random.uniform(0.4, 0.95), random.uniform(-300, 60))


def nodules(random: Random, hu: Tensor, lung: Tensor, offsets: Tensor) -> Tensor:
    """Solid balls of 3 to 35 mm radius with uneven surface, also against the pleura."""
    inside = torch.nonzero(lung[len(offsets) // 2] > 0.5)
    if not len(inside):
        return hu
    y = torch.arange(SIZE, dtype=torch.float32)[:, None] * PIXEL_MM
    x = torch.arange(SIZE, dtype=torch.float32)[None, :] * PIXEL_MM
    bumps = smooth_noise(random, tuple(hu.shape), random.uniform(4, 10), 3.0)
    for _ in range(1 + random.integer(5)):
        cy, cx = (inside[random.integer(len(inside))] * PIXEL_MM).tolist()
        radius = 3.0 * 12.0 ** (random.uniform(0, 1) ** 1.7)
        dz = (offsets + random.uniform(-radius, radius))[:, None, None] * random.uniform(0.7, 1.4)
        far = ((y - cy) ** 2 + ((x - cx) * random.uniform(0.7, 1.4)) ** 2 + dz**2).sqrt()
        ball = torch.sigmoid((radius * (1 + 0.1 * bumps) - far) / 0.7) * lung
        hu = blend(hu, ball, random.uniform(-20, 90) if random.chance(0.9) else 400.0)
    return hu


def effusion(
    random: Random, hu: Tensor, right: Tensor, left: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Homogeneous fluid that displaces lung: its place is not lung any more.

    Often with a rim of collapsed lung, which still is lung.
    """
    lung = one_side(random, right, left)
    fluid = dependent(random, lung)
    if random.chance(0.3):
        rind = lung * torch.sigmoid((random.uniform(0.7, 0.9) - gaussian(lung, 4.0)) * 20)
        fluid = torch.maximum(fluid, rind * (fluid.amax() > 0.5))
    if random.chance(0.5):
        near = gaussian(fluid, random.uniform(2, 6))
        collapsed = torch.sigmoid((near - random.uniform(0.1, 0.3)) * 25) * lung
        hu = blend(hu, collapsed, random.uniform(30, 100))
    hu = blend(hu, fluid, random.uniform(-5, 30))
    return hu, right * (1 - fluid), left * (1 - fluid)


def disease(
    random: Random, hu: Tensor, right: Tensor, left: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return HU and both lungs after none, one or several random changes."""
    airy = ((-500 - hu) / 50).sigmoid() * (right + left)
    gain = 0.3 * 7.0 ** random.uniform(0, 1) if random.chance(0.6) else random.uniform(0.85, 1.2)
    hu = blend(hu, airy, ((hu + 1000) * gain - 1000).clamp(max=-350))
    both = right + left
    if random.chance(0.25):
        hu = ground_glass(random, hu, both)
    if random.chance(0.15):
        hu = emphysema(random, hu, both)
    if random.chance(0.15):
        hu = fibrosis(random, hu, one_side(random, right, left))
    if random.chance(0.3):
        hu = nodules(random, hu, both, offsets)
    if random.chance(0.2):
        hu = consolidation(random, hu, one_side(random, right, left))
    if random.chance(0.17):
        hu, right, left = effusion(random, hu, right, left)
    return hu, right, left
