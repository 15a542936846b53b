"""Coarse to fine for some organs of many: what the coarse network says of them is drawn anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from monai.inferers.inferer import Inferer
from monai.networks.utils import pixelshuffle, pixelunshuffle
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from dicomnode.networks.likeliest import likeliest
from dicomnode.networks.regions import CoarseToFine

__all__ = ["RefinedInferer"]


class RefinedInferer(Inferer):
    """Label everything on the working grid, then draw some organs on halves of its voxels.

    The volume `(N, 9, x, y, z)` is upright, in a network's scale: what `ToWorkingGridd` gives with
    `halves`. The result is `(N, C + 8 * organs, x, y, z)`: the classes of the coarse network, those
    of the organs as the fine one sees them and the others fitted to them; then for each organ the
    eight halves of every voxel, in the order of `pixelunshuffle`, for `KeepOrgansd` and
    `OntoImageGridd`. Halves are 0 away from the organs.

    Args:
        coarse, fine: what runs the two networks of a `CoarseToFine` and gives probabilities. The
            fine one reads the halved grid and, beside it, what the coarse one says (`HalvedGrid`).
        organs: channels of the coarse network that are drawn anew.
        classes: of the fine network, in the order of `organs`; None: 1, 2, ...
        heard: channels of the coarse network that the fine one hears, each item summed.
        share: of the fine network in the mean of both; the rest is the coarse one's, by lines
            between its voxels.
        margin: voxels around the organs that are read.
        multiple: the sides of what is read are multiples of this.
        fraction: parts of an organ smaller than this part of its largest are not looked at.
        smallest: as are those of fewer voxels.
        coarse_flip: axes (0 x, 1 y) that the coarse network reads the other way.
        pad_value: of what lies beyond the volume, in the network's scale.
    """

    def __init__(
        self,
        *,
        coarse: Inferer,
        fine: Inferer,
        organs: Sequence[int],
        classes: Sequence[int] | None = None,
        heard: Sequence[Sequence[int]],
        share: float = 1.0,
        margin: int = 8,
        multiple: int = 8,
        fraction: float = 0.25,
        smallest: int = 75,
        coarse_flip: Sequence[int] = (),
        pad_value: float = -1.5,
    ) -> None:
        super().__init__()
        self.coarse, self.fine = coarse, fine
        self.organs, self.heard = list(organs), [list(channels) for channels in heard]
        self.classes = list(range(1, len(organs) + 1) if classes is None else classes)
        self.share = share
        self.margin, self.multiple, self.pad_value = margin, multiple, pad_value
        self.fraction, self.smallest = fraction, smallest
        self.flip = tuple(axis + 2 for axis in coarse_flip)

    def __call__(
        self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return probabilities; `network` is a `CoarseToFine`."""
        both = cast("CoarseToFine", network)
        volumes = inputs.as_subclass(Tensor)
        said = self.coarse(volumes[:, :1].flip(self.flip), both.coarse, *args, **kwargs)
        said = said.flip(self.flip)
        return torch.stack(
            [self._refined(*one, both, *args, **kwargs) for one in zip(volumes, said, strict=True)]
        )

    def _refined(
        self, volume: Tensor, said: Tensor, network: CoarseToFine, *args: Any, **kwargs: Any
    ) -> Tensor:
        result = said.new_zeros((len(said) + 8 * len(self.organs), *said.shape[1:]))
        result[: len(said)] = said
        low, size = self._box(likeliest(said).cpu().numpy())
        if not all(size):
            return result
        image = _cut(volume[1:], low, size, self.pad_value)
        beside = torch.stack([said[channels].sum(0) for channels in self.heard])
        beside = _cut(beside, low, size, 0.0)
        drawn: Tensor = self.fine(
            pixelshuffle(image[None], 3, 2), network.fine, beside[None], *args, **kwargs
        )
        known = _cut(said[self.organs], low, size, 0.0)
        coarse = functional.interpolate(known[None], scale_factor=2, mode="trilinear")
        halves = pixelunshuffle(coarse.lerp(drawn[:, self.classes], self.share), 3, 2)[0]
        inside = tuple(
            slice(min(side, n - at)) for at, side, n in zip(low, size, said.shape[1:], strict=True)
        )
        there = tuple(slice(at, at + part.stop) for at, part in zip(low, inside, strict=True))
        self._put(result[(slice(None), *there)], halves[(slice(None), *inside)], len(said))
        return result

    def _box(self, best: npt.NDArray[np.int64]) -> tuple[list[int], list[int]]:
        """First voxel and sides of what is read; it may end beyond the volume."""
        there = np.zeros(best.shape, np.bool_)
        for organ in self.organs:
            parts, count = ndimage.label(best == organ)
            sizes = np.bincount(parts.ravel())[1:] if count else np.zeros(0, int)
            least = max(self.smallest, self.fraction * sizes.max(initial=0))
            there |= np.concatenate(([False], sizes >= least))[parts]
        where = np.argwhere(there)
        if not len(where):
            return [0, 0, 0], [0, 0, 0]
        first, last = where.min(0) - self.margin, where.max(0) + 1 + self.margin
        low = np.maximum(first, 0)
        size = np.minimum(last, best.shape) - low
        return low.tolist(), (-(-size // self.multiple) * self.multiple).tolist()

    def _put(self, result: Tensor, halves: Tensor, classes: int) -> None:
        """Write what the fine network says into this part of the result."""
        said = result[:classes]
        means = halves.unflatten(0, (-1, 8)).mean(1)
        before = said[self.organs].sum(0)
        said *= (1 - means.sum(0)).clamp(min=0) / (1 - before).clamp(min=1e-3)
        said[self.organs] = means
        said[0] += (1 - said.sum(0)).clamp(min=0)
        result[classes:] = halves


def _cut(values: Tensor, low: list[int], size: list[int], fill: float) -> Tensor:
    """Return `(C, *size)` from `low` on; beyond the volume is `fill`."""
    shape = values.shape[1:]
    pad = [max(at + side - n, 0) for at, side, n in zip(low, size, shape, strict=True)]
    there = [slice(at, at + side) for at, side in zip(low, size, strict=True)]
    return functional.pad(
        values[(slice(None), *there)], [0, pad[2], 0, pad[1], 0, pad[0]], value=fill
    )
