"""Training images in other styles than they were made in, and coarse answers made worse.

For networks that learn from synthetic CT and refine what a coarser network says: on real CT
textures are others, and the coarser network errs more than where it was trained.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["disturb_answer", "restyle"]


def restyle(rng: np.random.Generator, image: Tensor) -> Tensor:
    """An image `(x, y, z)` in a network's scale (about -1.5..1.5) as another scanner may show it.

    Now and then each: another gradation of grey, a smooth change of brightness from place to
    place, blur, noise, and a random convolution (Xu et al., ICLR 2021, arXiv:2007.13003).
    """
    styled = image * rng.uniform(0.95, 1.05) + rng.normal(0, 0.03)
    if rng.random() < 0.25:
        bend = rng.uniform(-0.35, 0.35)
        styled = styled + bend * styled.abs().clamp(max=1) * (1 - styled.abs().clamp(max=1))
    if rng.random() < 0.25:
        styled = styled + rng.uniform(0.02, 0.12) * _field(rng, image.shape)
    if rng.random() < 0.2:
        styled = _convolved(styled, torch.full((3, 3, 3), 1 / 27)).lerp(styled, rng.uniform(0, 1))
    if rng.random() < 0.2:
        kernel = torch.from_numpy(rng.normal(0, 1, (3, 3, 3)).astype(np.float32))
        drawn = _convolved(styled, kernel)
        drawn = (drawn - drawn.mean()) / drawn.std().clamp(min=1e-3) * styled.std() + styled.mean()
        styled = styled.lerp(drawn, rng.uniform(0.1, 0.7))
    if rng.random() < 0.3:
        noise = torch.from_numpy(rng.standard_normal(image.shape, np.float32))
        styled = styled + rng.uniform(0, 0.12) * noise
    return styled.float()


def disturb_answer(rng: np.random.Generator, said: Tensor, organs: int) -> Tensor:
    """Probabilities `(C, x, y, z)` of which the first `organs` are made worse, each by itself.

    A part of an organ is missing, or another organ is taken for it in a ball somewhere, or it is
    drawn a voxel too large or too small.
    """
    worse = said.clone()
    shape = said.shape[1:]
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in shape), indexing="ij")
    for channel in range(organs):
        kind = rng.random()
        if kind > 0.6:
            continue
        there = torch.nonzero(worse[channel] > 0.5)
        if kind < 0.3 and len(there):
            middle = there[int(rng.integers(len(there)))]
            worse[channel][_ball(axes, middle, rng.uniform(3, 14))] = 0
        elif kind < 0.45:
            middle = torch.tensor([int(rng.integers(n)) for n in shape])
            ball = _ball(axes, middle, rng.uniform(2, 8))
            worse[:, ball] *= 0.3
            worse[channel][ball] = 0.7
        else:
            sign = 1 if rng.random() < 0.5 else -1
            moved = functional.max_pool3d(sign * worse[None, channel], 3, 1, 1)[0]
            worse[channel] = sign * moved
    return worse


def _ball(axes: tuple[Tensor, ...], middle: Tensor, radius: float) -> Tensor:
    far = sum((axis - float(at)) ** 2 for axis, at in zip(axes, middle, strict=True))
    return torch.as_tensor(far < radius**2)


def _field(rng: np.random.Generator, shape: torch.Size) -> Tensor:
    """Smooth noise of about unit variance."""
    few = torch.from_numpy(rng.normal(0, 1.5, (1, 1, 4, 4, 4)).astype(np.float32))
    return functional.interpolate(few, size=shape, mode="trilinear")[0, 0]


def _convolved(image: Tensor, kernel: Tensor) -> Tensor:
    padded = functional.pad(image[None, None], [1] * 6, mode="replicate")
    return functional.conv3d(padded, kernel[None, None])[0, 0]
