"""Global pooling of the ChestX-ray8 network: how activations of all places become one number."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["POOLINGS", "LogSumExpPool", "PyramidPool", "global_pooling"]

POOLINGS = ("lse", "max", "average", "pyramid")


class LogSumExpPool(nn.Module):
    """Log-sum-exp over all places: `(N, C, h, w)` to `(N, C)`.

    x_p = x* + (1 / r) log[(1 / S) sum exp(r (x_ij - x*))], x* the largest activation (by absolute
    value in the paper, by value here: the shift only guards against overflow), S the number of
    places. A small r comes near the average, a large one near the maximum. Wang et al. 2017, eq. 3.
    """

    def __init__(self, r: float) -> None:
        super().__init__()
        if not r > 0:
            raise ValueError(f"r must be above 0, not {r}")
        self.r = r

    def forward(self, activations: Tensor) -> Tensor:
        """Return the pooled activations."""
        flat = activations.flatten(2)
        return ((flat * self.r).logsumexp(2) - math.log(flat.shape[2])) / self.r


class _Max(nn.Module):
    def forward(self, activations: Tensor) -> Tensor:
        return activations.amax((2, 3))


class _Average(nn.Module):
    def forward(self, activations: Tensor) -> Tensor:
        return activations.mean((2, 3))


class PyramidPool(nn.Module):
    """Averages over the cells of several grids: `(N, C, h, w)` to `(N, C * sum of squares)`.

    Keeps where something lies, which fits pictures that were cut to the same anatomy: what is
    bright at the costophrenic angle means another thing than the same at the hilum. Order: grid
    after grid, in each channel after channel, in each row after row.

    Args:
        grids: cells along each side, e.g. (4, 5, 6).
    """

    def __init__(self, grids: Sequence[int]) -> None:
        super().__init__()
        if not grids or min(grids) < 1:
            raise ValueError("a pyramid needs grids of one cell or more")
        self.grids = tuple(grids)
        self.places = sum(cells * cells for cells in grids)

    def forward(self, activations: Tensor) -> Tensor:
        """Return the averages."""
        pooled = [functional.adaptive_avg_pool2d(activations, cells) for cells in self.grids]
        return torch.cat([grid.flatten(1) for grid in pooled], 1)

    def spread(self, weights: Tensor, activations: Tensor) -> Tensor:
        """Return `(N, K, h, w)`: activations weighted as in their cell.

        `weights` is `(K, C * places)`. The mean over all places is near what the weights make of
        the pooled activations (equal where the grids divide h and w).
        """
        channels = activations.shape[1]
        maps = torch.zeros(())
        first = 0
        for cells in self.grids:
            last = first + channels * cells * cells
            block = weights[:, first:last].reshape(len(weights), channels, cells, cells)
            maps = maps + cells**2 * _cell_by_cell(block, activations)
            first = last
        return maps


def _cell_by_cell(weights: Tensor, activations: Tensor) -> Tensor:
    """Return `(N, K, h, w)` for weights `(K, C, cells, cells)`, each place weighted as in its cell.

    Weights spread over all places would be as many times more numbers as a cell has places.
    """
    cells = weights.shape[2]
    rows, columns = (_lengths(n, cells) for n in activations.shape[2:])
    bands = []
    for row, band in enumerate(activations.split(rows, 2)):
        parts = [
            torch.einsum("kc,nchw->nkhw", weights[:, :, row, column], part)
            for column, part in enumerate(band.split(columns, 3))
        ]
        bands.append(torch.cat(parts, 3))
    return torch.cat(bands, 2)


def _lengths(places: int, cells: int) -> list[int]:
    """How many of the places lie in each cell, each in its nearest."""
    return torch.bincount(torch.arange(places) * cells // places, minlength=cells).tolist()


def global_pooling(name: str, r: float = 10.0, grids: Sequence[int] = (4, 5, 6)) -> nn.Module:
    """Return the pooling layer `lse` (with its `r`), `max`, `average`, or `pyramid` (its `grids`).

    The first three are the paper's.

    Raises:
        ValueError: it is none of them.
    """
    if name == "lse":
        return LogSumExpPool(r)
    if name == "max":
        return _Max()
    if name == "average":
        return _Average()
    if name == "pyramid":
        return PyramidPool(grids)
    raise ValueError(f"pooling is one of {', '.join(POOLINGS)}, not {name!r}")
