"""Seeded draws, smooth noise and blur: what all parts of the synthesis are made with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

OFFSETS_MM = (-12.0, -3.0, 0.0, 3.0, 12.0)
PIXEL_MM = 2.0
SIZE = 192
HU_LOW, HU_HIGH = -1024.0, 400.0


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


def blend(hu: Tensor, alpha: Tensor, value: Tensor | float) -> Tensor:
    """Return `hu` with `value` in the share `alpha`."""
    return hu + alpha * (value - hu)
