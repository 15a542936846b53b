"""Geometry that detection bundles share: peaks, and their suppression in 3D."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

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
    values = heat.cpu().numpy()
    # Not by `argwhere`, which takes eight times as long where little is found.
    warm = np.flatnonzero(values >= at_least)
    where = np.stack(np.unravel_index(warm, values.shape), axis=1)
    own = values[tuple(where.T)]
    last = np.array(values.shape) - 1
    # Few voxels are warm: only their neighbours are looked at, those beyond the edge not at all.
    highest = np.ones(len(where), bool)
    for offset in product(range(-reach, reach + 1), repeat=3):
        x, y, z = np.clip(where + offset, 0, last).T
        highest &= own >= values[x, y, z]
    where, own = where[highest], own[highest]
    # Stable, so that equal values come in the order of the voxels on every machine.
    order = np.argsort(-own, kind="stable")[:most]
    return torch.from_numpy(where[order]), torch.from_numpy(own[order])


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
