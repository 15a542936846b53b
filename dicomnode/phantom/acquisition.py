"""A CT as thicker slices and larger pixels would have shown it, on the grid it came on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

SLICES_MM = (1.0, 2.0, 3.0, 4.0, 5.0)
SLICES_OFTEN = (0.3, 0.15, 0.3, 0.05, 0.2)
"""Distances of slices as they are met with, and how often."""
LARGE_PIXELS_MM = 3.0
"""Pixels of a CT that comes on the working grid of a network, as research data do."""
LARGE_OFTEN = 0.35


def acquired(rng: np.random.Generator, hu: Floats, spacing_mm: Sequence[float]) -> Floats:
    """HU `(slice, row, column)` averaged over larger voxels and interpolated back.

    Where the voxels drawn are no larger than `spacing_mm`, HU come back as they are.
    """
    thickness = float(rng.choice(SLICES_MM, p=SLICES_OFTEN))
    pixel = LARGE_PIXELS_MM if rng.random() < LARGE_OFTEN else 0.0
    steps = [
        wanted / here for wanted, here in zip((thickness, pixel, pixel), spacing_mm, strict=True)
    ]
    means = [_means(rng, n, step) for n, step in zip(hu.shape, steps, strict=True)]
    seen = _along_each(hu, [mean for mean, _ in means])
    if seen.size < hu.size:
        seen += np.float32(rng.uniform(0, 15)) * rng.standard_normal(seen.shape, np.float32)
    return _along_each(seen, [back for _, back in means])


def _means(rng: np.random.Generator, length: int, step: float) -> tuple[Floats, Floats]:
    """Weights of voxels `step` as long as those of an axis, `(m, length)`, and back by lines."""
    if step <= 1.0:
        return np.eye(length, dtype=np.float32), np.eye(length, dtype=np.float32)
    edges = np.arange(rng.uniform(-step, 0), length + step, step)
    cells = np.arange(length)
    low = np.maximum(edges[:-1, None], cells)
    high = np.minimum(edges[1:, None], cells + 1)
    shared = np.clip(high - low, 0, None)
    kept = shared.sum(1) > 0.5
    shared, middles = shared[kept], ((edges[:-1] + edges[1:]) / 2)[kept]
    near = np.clip(np.interp(cells + 0.5, middles, np.arange(len(middles))), 0, len(middles) - 1)
    back = np.clip(1 - np.abs(near[:, None] - np.arange(len(middles))), 0, None)
    mean = shared / shared.sum(1, keepdims=True)
    return mean.astype(np.float32), back.astype(np.float32)


def _along_each(values: Floats, weights: Sequence[Floats]) -> Floats:
    for axis, weight in enumerate(weights):
        if weight.shape[0] != weight.shape[1]:
            values = np.moveaxis(np.tensordot(weight, values, (1, axis)), 0, axis)
    return np.ascontiguousarray(values, np.float32)
