"""Geometry that detection bundles share: peaks, and their suppression in 3D."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["keep_apart", "peaks"]

Points = npt.NDArray[np.float64]


def peaks(heat: Tensor, *, at_least: float, most: int, reach: int = 1) -> tuple[Tensor, Tensor]:
    """Local maxima of a heatmap `(x, y, z)`: indices `(n, 3)` and values `(n,)`, highest first.

    Args:
        heat: values.
        at_least: lower values are none.
        most: maxima at most.
        reach: voxels to each side within which there is one maximum at most.
    """
    where = torch.nonzero(heat >= at_least)
    values = heat[tuple(where.T)]
    around = functional.pad(heat[None, None], (reach,) * 6, value=-torch.inf)[0, 0]
    # Few voxels are warm: only their neighbours are looked at.
    highest = torch.ones(len(where), dtype=torch.bool, device=heat.device)
    for offset in product(range(2 * reach + 1), repeat=3):
        x, y, z = (where + torch.tensor(offset, device=heat.device)).T
        highest &= values >= around[x, y, z]
    where, values = where[highest], values[highest]
    # Stable, so that equal values come in the order of the voxels on every machine.
    order = torch.argsort(values, descending=True, stable=True)[:most]
    return where[order], values[order]


def keep_apart(points: Points, scores: Points, distances: Points) -> list[int]:
    """Non-maximum suppression in 3D: rows to keep, the highest score first.

    Args:
        points: (n, 3) millimetres.
        scores: (n,).
        distances: (n,) millimetres; a point within this of one that was kept goes, the larger of
            the two distances counts.
    """
    kept: list[int] = []
    for row in np.argsort(-scores, kind="stable"):
        apart = np.linalg.norm(points[kept] - points[row], axis=1) if kept else np.empty(0)
        if (apart > np.maximum(distances[kept], distances[row])).all():
            kept.append(int(row))
    return kept
