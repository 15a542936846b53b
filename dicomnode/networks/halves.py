"""Probabilities on halves of the working grid's voxels, of the few organs that were refined."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.utils import pixelshuffle
from torch import Tensor

from dicomnode.networks.resampling import Upsampler, box_of

__all__ = ["HALF", "Halves", "without_halves"]

HALF = torch.tensor(
    [[0.5, 0, 0, -0.25], [0, 0.5, 0, -0.25], [0, 0, 0.5, -0.25], [0, 0, 0, 1]], dtype=torch.float64
)
"""From the index of a half to that of its voxel; both count centres."""


def without_halves(p: Tensor, organs: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the classes of `(C + 8 * organs, x, y, z)` and, by organ, its halves; both views."""
    classes = len(p) - 8 * len(organs)
    return p[:classes], p[classes:].unflatten(0, (len(organs), 8)) if organs else p[classes:]


class Halves:
    """Eight halves of each voxel for each of some labels, read at the voxels of an output grid.

    Args:
        values: `(labels, 8, x, y, z)`, in the order of `pixelunshuffle`.
        labels: counted from 1.
        to_index: maps output voxels to working voxels.
        shape: of the output.
    """

    def __init__(
        self, values: Tensor, labels: Sequence[int], to_index: Tensor, shape: Sequence[int]
    ) -> None:
        self.channels = [label - 1 for label in labels]
        self.box = None
        there = torch.nonzero((values > 0.01).flatten(0, -4).any(0))
        if not labels or not len(there):
            return
        low, high = there.amin(0), there.amax(0) + 1
        x, y, z = (slice(*ends) for ends in zip(low.tolist(), high.tolist(), strict=True))
        part = values[..., x, y, z]
        fine = pixelshuffle(part.flatten(0, 1)[None], 3, 2)[0]
        from_half = HALF.clone()
        from_half[:3, 3] += low
        to_half = torch.linalg.inv(from_half) @ to_index
        self.upsampler = Upsampler(fine, to_half)
        self.box = box_of((fine > 0.01).any(0), to_half, shape)

    def onto(self, own: Tensor, start: Sequence[int], stop: Sequence[int]) -> Tensor:
        """Return probabilities `(C, *stop - start)` with these labels' put in, the rest fitted."""
        if not self.channels:
            return own
        coarse = own[self.channels].sum(0)
        own[self.channels] = 0.0
        if self.box is None:
            return own
        low, high = (
            [pick(a, b) for a, b in zip(here, there, strict=True)]
            for pick, here, there in ((max, start, self.box[0]), (min, stop, self.box[1]))
        )
        if any(a >= b for a, b in zip(low, high, strict=True)):
            return own
        there = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
        fine = self.upsampler.read(low, high)
        part = own[(slice(None), *there)]
        part *= (1 - fine.sum(0)).clamp(min=0) / (1 - coarse[there]).clamp(min=1e-3)
        part[self.channels] = fine
        return own
