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

OFFSETS_MM = (-12.0, -3.0, 0.0, 3.0, 12.0)
PIXEL_MM = 2.0
SIZE = 192
HU_LOW, HU_HIGH = -1024.0, 400.0


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


class Random:
    """Draws from one seeded generator."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * torch.rand(1, generator=self.generator).item()

    def chance(self, probability: float) -> bool:
        return self.uniform(0.0, 1.0) < probability

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)

    def integer(self, end: int) -> int:
        return int(torch.randint(end, (1,), generator=self.generator).item())

    def pick(self, weights: Tensor) -> int:
        return int(torch.multinomial(weights, 1, generator=self.generator).item())


def smooth_noise(random: Random, shape: tuple[int, int, int], grain: float, flat: float) -> Tensor:
    """Return `(z, y, x)` noise of about unit variance, with lumps of `grain` pixels in-plane.

    `flat`: lumps along z, in slices of the slab.
    """
    low = [max(2, round(shape[0] / flat) + 1)] + [max(2, round(n / grain) + 1) for n in shape[1:]]
    noise = random.normal(1, 1, *low)
    grown = F.interpolate(noise, size=shape, mode="trilinear", align_corners=True)[0, 0]
    return grown / grown.std().clamp_min(0.1)


def gaussian(image: Tensor, sigma: float) -> Tensor:
    """Return `(z, y, x)` blurred in-plane; sigma in pixels."""
    if sigma < 0.2:
        return image
    reach = max(1, int(3 * sigma + 0.5))
    at = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(image[:, None], (reach, reach, reach, reach), mode="replicate")
    padded = F.conv2d(padded, kernel.view(1, 1, 1, -1))
    return F.conv2d(padded, kernel.view(1, 1, -1, 1))[:, 0]


# --- shape --------------------------------------------------------------------------------------


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


# --- disease: changes HU inside the lungs, and the label only where lung is displaced ------------


def blend(hu: Tensor, alpha: Tensor, value: Tensor | float) -> Tensor:
    return hu + alpha * (value - hu)


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


# --- surroundings, contrast, scanner -------------------------------------------------------------


def contrast(random: Random, hu: Tensor, lung: Tensor) -> Tensor:
    """Brighten some soft tissue as contrast medium does, and vary bone and fat."""
    soft = torch.sigmoid((hu + 10) / 15) * (1 - lung)
    if random.chance(0.5):
        blob = smooth_noise(random, tuple(hu.shape), random.uniform(8, 40), 4.0).sigmoid()
        hu = hu + soft * blob * random.uniform(0, 250)
    if random.chance(0.4):
        vessels = lung * torch.sigmoid((hu + 300) / 60)
        hu = hu + vessels * random.uniform(0, 250)
    fat = ((hu > -250) & (hu < -20)).float() * (1 - lung)
    return hu + fat * random.uniform(-30, 40)


def gas(random: Random, hu: Tensor, lung: Tensor, body: Tensor) -> Tensor:
    """Gas in bowel, stomach or gullet: dark, and not lung."""
    y = torch.arange(SIZE, dtype=torch.float32)[:, None]
    x = torch.arange(SIZE, dtype=torch.float32)[None, :]
    away = (1 - gaussian(lung, 2.0) * 3).clamp(0, 1) * gaussian(body, 3.0).pow(6)
    bumps = smooth_noise(random, tuple(hu.shape), 15.0, 4.0)
    small = bool(lung.amax() > 0.5)
    for _ in range(1 + random.integer(4)):
        cy, cx = random.uniform(40, 152), random.uniform(40, 152)
        a = random.uniform(3, 8 if small else 28)
        b = random.uniform(3, 8 if small else 22)
        far = (((y - cy) / b) ** 2 + ((x - cx) / a) ** 2).sqrt() + 0.15 * bumps
        bubble = torch.sigmoid((1 - far) * 10) * away
        level = torch.sigmoid((y - cy + random.uniform(-a, a)) * 2)
        content = random.uniform(-30, 200)
        wall = torch.sigmoid((1.25 - far) * 10) * away
        hu = blend(hu, wall, random.uniform(10, 60))
        dark = random.uniform(-1000, -850)
        hu = blend(hu, bubble, dark * level + content * (1 - level))
    return hu


def surroundings(random: Random, hu: Tensor, body: Tensor) -> Tensor:
    """Put arms, table parts, blankets and air of other values around the patient."""
    outside = (1 - body).clamp(0, 1)
    y = torch.arange(SIZE, dtype=torch.float32)[:, None]
    x = torch.arange(SIZE, dtype=torch.float32)[None, :]
    if random.chance(0.5):
        hu = blend(hu, outside, -1000.0)
    for _ in range(random.integer(4)):
        ring = random.chance(0.6)
        cy, cx = random.uniform(-20, 212), random.uniform(-20, 212)
        a = random.uniform(8, 110 if ring else 35)
        b = random.uniform(3, 40 if ring else 25)
        far = (((y - cy) / b) ** 2 + ((x - cx) / a) ** 2).sqrt()
        if ring:
            width = random.uniform(0.03, 0.2)
            shell = torch.exp(-(((far - 1) / width) ** 2)) * outside
            filling = torch.sigmoid((1 - far) * 12) * outside
            hu = blend(hu, filling, random.uniform(-1000, -880))
            hu = blend(hu, shell, random.uniform(-700, 300))
        else:
            arm = torch.sigmoid((1 - far) * 12) * outside
            bone = torch.exp(-(((far - 0.35) / 0.12) ** 2)) * outside
            hu = blend(hu, arm, random.uniform(-120, 80))
            hu = blend(hu, bone, random.uniform(300, 1200))
    if random.chance(0.3):
        sheet = gaussian(body, random.uniform(3, 8))
        line = torch.exp(-(((sheet - random.uniform(0.05, 0.3)) / 0.03) ** 2)) * outside
        hu = blend(hu, line * random.uniform(0.1, 0.6), -150.0)
    return hu


def scanner(random: Random, hu: Tensor) -> Tensor:
    """Blur or sharpen as reconstruction kernels do, then add noise of 2 to 35 HU."""
    if random.chance(0.5):
        hu = gaussian(hu, random.uniform(0.2, 1.1))
    elif random.chance(0.5):
        hu = hu + random.uniform(0.2, 1.2) * (hu - gaussian(hu, random.uniform(0.5, 1.0)))
    noise = gaussian(random.normal(*hu.shape), random.uniform(0.0, 0.9))
    hu = hu + noise / noise.std() * (2.0 + 33.0 * random.uniform(0, 1) ** 2)
    if random.chance(0.08):
        streaks = random.normal(hu.shape[0], SIZE, 12)
        streaks = F.interpolate(streaks[:, None], size=(SIZE, SIZE), mode="bilinear")[:, 0]
        hu = hu + streaks * random.uniform(20, 90) * torch.sigmoid((hu + 900) / 50)
    return hu * random.uniform(0.97, 1.03) + random.uniform(-15, 15)


def field_of_view(random: Random, hu: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Cut off what the scan does not show; return HU and the pixels seen, `(SIZE, SIZE)`.

    A smaller circle or rectangle may cut through the lungs; slices beyond the first or the last
    one repeat it.
    """
    seen = torch.ones(SIZE, SIZE)
    if random.chance(0.25):
        line = torch.arange(SIZE, dtype=torch.float32)
        cy, cx = random.uniform(75, 117), random.uniform(75, 117)
        half = random.uniform(50, 110)
        if random.chance(0.5):
            seen = (((line[:, None] - cy) ** 2 + (line[None] - cx) ** 2) < half**2).float()
        else:
            high = half * random.uniform(0.6, 1.2)
            inside_y = (line[:, None] - cy).abs() < high
            seen = (inside_y & ((line[None] - cx).abs() < half)).float()
        hu = blend(hu, 1 - seen, HU_LOW)
    middle = len(offsets) // 2
    draw = random.uniform(0, 1)
    if draw < 0.12:
        keep = middle - random.integer(2)
        hu = torch.cat((hu[keep : keep + 1].expand(keep, -1, -1), hu[keep:]))
    elif draw < 0.24:
        keep = middle + random.integer(2)
        rest = len(offsets) - 1 - keep
        hu = torch.cat((hu[: keep + 1], hu[keep : keep + 1].expand(rest, -1, -1)))
    return hu, seen


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
