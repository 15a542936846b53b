"""Coarse to fine: a network at low resolution says where an organ is, another draws it there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from monai.inferers.inferer import Inferer
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from dicomnode.domain.errors import InputRefused
from dicomnode.networks.likeliest import likeliest
from dicomnode.networks.organs import Least, refuse_without, scale_soft_tissue

__all__ = ["CoarseToFine", "GivenRegionInferer", "RegionInferer"]

Box = tuple[slice, slice, slice]


class CoarseToFine(nn.Module):
    """Two networks as one module with one file of weights; run by `RegionInferer`."""

    def __init__(self, coarse: nn.Module, fine: nn.Module) -> None:
        super().__init__()
        self.coarse, self.fine = coarse, fine

    def forward(self, x: Tensor) -> Tensor:
        """Return what the fine network says."""
        said: Tensor = self.fine(x)
        return said


class RegionInferer(Inferer):
    """Find an organ at low resolution, refuse what does not show it, and refine it in its region.

    The volume `(N, 1, x, y, z)` is upright, in HU, of even spacing. The result is probabilities
    `(N, classes, x, y, z)`; outside of the region class 0 is certain.

    Args:
        spacing_mm: of the volume.
        coarse_spacing_mm: of the grid the coarse network reads.
        organ: [channel or channels, name, least ml] of the coarse network: what is refined.
        region: such items that say the right part of the body is shown; a fourth entry of one is
            another item that says as much, for whom an organ was taken out of.
        coarse, fine: what runs the two networks and gives probabilities, such as `SlabInferer`,
            `ThreePlaneInferer`, `WholeInferer`; both read the scale of `scale_soft_tissue`.
        margin_mm: added around the organ on every side.
        coarse_flip: axes of the volume (0 x, 1 y) that the coarse network reads the other way.

    Raises:
        InputRefused: what the volume does not show.
    """

    def __init__(
        self,
        *,
        spacing_mm: float,
        coarse_spacing_mm: float,
        organ: Sequence[object],
        region: Sequence[Sequence[object]],
        coarse: Inferer,
        fine: Inferer,
        margin_mm: float = 24.0,
        coarse_flip: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.spacing, self.coarse_spacing = spacing_mm, coarse_spacing_mm
        self.organ, self.region = Least(*organ), tuple(Least(*one) for one in region)
        self.coarse, self.fine = coarse, fine
        self.margin = margin_mm
        self.flip = tuple(axis + 1 for axis in coarse_flip)

    def __call__(
        self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return probabilities; `network` is a `CoarseToFine`."""
        both = cast("CoarseToFine", network)
        volumes = inputs.as_subclass(Tensor)
        return torch.stack([self._volume(one, both, *args, **kwargs) for one in volumes])

    def _volume(self, volume: Tensor, network: CoarseToFine, *args: Any, **kwargs: Any) -> Tensor:
        box = self.region_of(volume, network, *args, **kwargs)
        part = scale_soft_tissue(volume[(slice(None), *box)])[None]
        refined: Tensor = self.fine(part, network.fine, *args, **kwargs)[0]
        result = refined.new_zeros((len(refined), *volume.shape[1:]))
        result[0] = 1.0
        result[(slice(None), *box)] = refined
        return result

    def region_of(self, volume: Tensor, network: CoarseToFine, *args: Any, **kwargs: Any) -> Box:
        """Where a volume `(1, x, y, z)` in HU is refined, in voxels.

        Raises:
            InputRefused: what the volume does not show.
        """
        factor = self.spacing / self.coarse_spacing
        size = [max(round(n * factor), 1) for n in volume.shape[1:]]
        small = functional.interpolate(volume[None], size=size, mode="trilinear")
        small = scale_soft_tissue(small[0].flip(self.flip))[None]
        said: Tensor = self.coarse(small, network.coarse, *args, **kwargs)[0].flip(self.flip)
        refuse_without(said, self.coarse_spacing**3 / 1000, self.organ, self.region)
        return self._box(said, volume.shape[1:])

    def _box(self, said: Tensor, shape: Sequence[int]) -> Box:
        """The organ's largest part and what lies near it, with the margin, in voxels."""
        there = np.isin(likeliest(said).numpy(), self.organ.channels)
        reach = round(15 / self.coarse_spacing)
        parts, count = ndimage.label(ndimage.binary_dilation(there, iterations=reach))
        if count == 0:
            raise InputRefused(f"no {self.organ.name} found")
        sizes = np.bincount(parts[there], minlength=count + 1)
        where = np.argwhere(there & (parts == sizes[1:].argmax() + 1))
        box = []
        for axis, n in enumerate(shape):
            scale = n / there.shape[axis]
            pad = self.margin / self.spacing
            low = max(int(where[:, axis].min() * scale - pad), 0)
            high = min(int((where[:, axis].max() + 1) * scale + pad) + 1, n)
            box.append(slice(low, high))
        return box[0], box[1], box[2]


class GivenRegionInferer(RegionInferer):
    """A `RegionInferer` that is told where to refine: how the fine network does by itself.

    For evaluations where the coarse network has seen what the fine one has not.

    Args:
        given: of x, y and z, where the organ begins and ends, as parts of the volume (0 to 1);
            `margin_mm` is added.
        others: as of `RegionInferer`.
    """

    def __init__(self, *, given: Sequence[Sequence[float]], **others: Any) -> None:
        super().__init__(**others)
        self.given = given

    def region_of(self, volume: Tensor, network: CoarseToFine, *args: Any, **kwargs: Any) -> Box:
        """The region given; the coarse network is not asked."""
        del network, args, kwargs
        pad = self.margin / self.spacing
        x, y, z = (
            slice(max(int(low * n - pad), 0), min(int(high * n + pad) + 1, n))
            for (low, high), n in zip(self.given, volume.shape[1:], strict=True)
        )
        return x, y, z
