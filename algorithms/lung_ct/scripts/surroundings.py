"""What is around the lungs and behind the picture: contrast medium, gas, arms, table, scanner."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from scripts.draws import HU_LOW, SIZE, Random, blend, gaussian, smooth_noise


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
