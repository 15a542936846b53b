"""The pancreas and the bowel beside it as they vary most on real CT: thin, lobulated, collapsed.

On CT the gland of adults measures 72 +- 26 ml, of which 45 +- 17 ml are parenchyma; it shrinks from
the age of 60 on, and its fat grows with age (Saisho et al., Clinical Anatomy 20, 2007). Of 204
people without disease of it the least was 19 ml (Abdominal Radiology 44, 2019, 958). Lobules
measure some millimetres.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from dicomnode.phantom.canvas import Bools, Bytes, smooth_noise
from dicomnode.phantom.structures import Organ, Tissue

__all__ = ["atrophy", "collapse"]

LOST = 0.6
"""Of the way from the surface to the middle of a gland: the most that fat takes the place of."""
FATTY = 0.45
"""Of what remains: the most that is fat between lobules."""
LUMEN = (Organ.DUODENUM, Organ.SMALL_BOWEL, Organ.STOMACH)


def atrophy(
    rng: np.random.Generator, labels: Bytes, tissue: Bytes, spacing: Sequence[float]
) -> None:
    """Make the pancreas `(slice, row, column)` thinner and lobulated; changes both arrays.

    Half of the glands lose little, so that young ones are met with too. Splinters, which painting
    leaves beyond other organs, become fat. `spacing`: mm.
    """
    found = ndimage.find_objects((labels == Organ.PANCREAS).view(np.uint8))
    if not found:
        return
    box = found[0]
    own, inside = labels[box], tissue[box]
    gland = _largest(own == Organ.PANCREAS)
    deep = ndimage.distance_transform_edt(np.pad(gland, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    near = [2 * round(12 / step) + 1 for step in spacing]
    deep = deep / np.maximum(ndimage.maximum_filter(deep, near), 1e-3)
    lost = LOST * rng.random() if rng.random() < 0.5 else 0.1 * rng.random()
    lobules = smooth_noise(rng, own.shape, spacing, float(rng.uniform(5, 11)))
    kept = gland & (deep >= lost + rng.uniform(0, 0.25) * lobules)
    gone = (own == Organ.PANCREAS) & ~kept
    own[gone], inside[gone] = Organ.VISCERAL_FAT, Tissue.WALL
    grain = smooth_noise(rng, own.shape, spacing, float(rng.uniform(4, 7)))
    if kept.any():
        if rng.random() < 0.7:
            inside[kept] = Tissue.WALL  # without the large pieces of fat that painting leaves
        share = FATTY * rng.random() * min(0.4 + lost, 1.0)
        fat = kept & (grain > np.quantile(grain[kept], 1 - share))
        inside[fat] = Tissue.FATTY


def collapse(
    rng: np.random.Generator, labels: Bytes, tissue: Bytes, spacing: Sequence[float]
) -> None:
    """Let stretches of bowel and stomach be empty, so that they look like solid; changes `tissue`.

    Without contrast medium in it, collapsed bowel is what a pancreas is mistaken for.
    """
    stretch = smooth_noise(rng, labels.shape, spacing, 45.0)
    empty = stretch > rng.uniform(-1.5, 1.0)
    empty &= np.isin(labels, LUMEN) & (tissue == Tissue.INNER)
    tissue[empty] = Tissue.WALL


def _largest(mask: Bools) -> Bools:
    """Its largest part, and others at least a third as large."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= sizes.max() / 3)[parts])
