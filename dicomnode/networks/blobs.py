"""Blobs: what is brighter or darker than its surroundings at one of several scales.

Differences of Gaussians in a scale space (Lindeberg): a ball of radius r answers most at a
standard deviation of r / sqrt(3). Needs no training: the baseline that a detector has to beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from dicomnode.networks.detections import keep_apart, peaks

__all__ = ["RADII_MM", "Blobs", "Channel", "find_blobs"]

_RATIO = 1.6
"""Of one width to the next (Marr and Hildreth)."""
RADII_MM = tuple(round(3.0 * _RATIO**level, 1) for level in range(5))
"""3 to 20 mm."""
_FULL_LEVELS = 2
"""Levels smoothed at full resolution; wider ones lose nothing at half of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """What is looked for: HU clipped to a window, bright or dark."""

    low: float
    high: float
    sign: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Blobs:
    """Blobs of a volume, the strongest first."""

    points: npt.NDArray[np.float64]
    """(n, 3), millimetres from the centre of voxel 0."""
    strengths: npt.NDArray[np.float64]
    """(n,): how far the blob stands out, as a share of the window."""
    radii: npt.NDArray[np.float64]
    """(n,), millimetres."""


def _levels(window: Tensor, spacing: Sequence[float]) -> list[Tensor]:
    """The volume smoothed by each width, one more than there are radii."""
    widths = [RADII_MM[0] / np.sqrt(3.0) * _RATIO**level for level in range(len(RADII_MM) + 1)]
    full = window.numpy()
    half = functional.avg_pool3d(window[None, None], 2, ceil_mode=True)[0, 0].numpy()
    out = []
    for level, width in enumerate(widths):
        coarse = level >= _FULL_LEVELS
        steps = np.asarray(spacing, float) * (2 if coarse else 1)
        smooth = ndimage.gaussian_filter(
            half if coarse else full, width / steps, mode="nearest", truncate=3.0
        )
        told = torch.from_numpy(smooth)
        if coarse:
            size = [2 * n for n in half.shape]
            told = functional.interpolate(
                told[None, None], size=size, mode="trilinear", align_corners=False
            )[0, 0]
            told = told[: window.shape[0], : window.shape[1], : window.shape[2]]
        out.append(told)
    return out


def find_blobs(
    volume: Tensor,
    spacing: Sequence[float],
    channel: Channel,
    *,
    most: int,
    inside: Tensor | None = None,
    at_least: float = 0.02,
) -> Blobs:
    """The strongest blobs of a volume `(x, y, z)` in HU.

    Args:
        volume: HU.
        spacing: millimetres.
        channel: what to look for.
        most: blobs at most.
        inside: where their middles may lie; None: everywhere.
        at_least: strengths below this are noise.
    """
    window = (volume.clamp(channel.low, channel.high) - channel.low) / (channel.high - channel.low)
    best = torch.zeros_like(volume)
    scale = torch.zeros(volume.shape, dtype=torch.int64)
    levels = _levels(window, spacing)
    for number, (narrow, wide) in enumerate(pairwise(levels)):
        answer = channel.sign * (narrow - wide)
        larger = answer > best
        best = torch.where(larger, answer, best)
        scale[larger] = number
    if inside is not None:
        best = torch.where(inside, best, 0.0)
    where, strengths = peaks(best, at_least=at_least, most=4 * most)
    points = where.numpy() * np.asarray(spacing, float)
    found = np.asarray(RADII_MM)[scale[tuple(where.T)].numpy()]
    kept = keep_apart(points, strengths.numpy(), np.maximum(found * 0.8, 3.0))[:most]
    return Blobs(
        points=points[kept].reshape(-1, 3),
        strengths=strengths.numpy()[kept].astype(np.float64),
        radii=found[kept].astype(np.float64),
    )
