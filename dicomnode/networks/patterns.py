"""Diffuse patterns by patches: every place of a lattice is classified from random 2.5D views.

The views, the CNN and their averaging are those of the detectors (`networks.views`); here the
points are no candidates but a lattice over the whole body, and the classes' probabilities are
interpolated between them, so that the answer has a place and an extent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.inferers.inferer import Inferer
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from dicomnode.networks.views import ViewNet, aggregate

__all__ = ["PatternInferer", "lattice_of"]

_BODY_HU = -950.0
"""Mean of a cell of the lattice; thinner ones that are not enclosed are air around the body."""


def lattice_of(volume: Tensor, every: int) -> tuple[npt.NDArray[np.int_], npt.NDArray[np.bool_]]:
    """Cells `(n, 3)` of `every` voxels a side that belong to the body, and the map of them.

    Lungs and bowel belong to it: what the body encloses in its slice.
    """
    pad = [p for n in reversed(volume.shape) for p in (0, -n % every)]
    cells = functional.avg_pool3d(
        functional.pad(volume[None, None], pad, value=-1024.0), every, every
    )[0, 0].numpy()
    dense = cells > _BODY_HU
    body = np.stack([ndimage.binary_fill_holes(dense[..., z]) for z in range(cells.shape[2])], -1)
    return np.argwhere(body), body


class PatternInferer(Inferer):
    """Run a `ViewNet` over a volume `(1, 1, x, y, z)` in HU; labels `(1, 1, x, y, z)`, 0: none.

    Args:
        spacing: of the volume, millimetres; alike along all axes.
        lattice_mm: between the places that are read.
        views: random views of each place.
        at_least: probability below which a place shows nothing; high, because training shows
            classes alike often and patients show mostly none.
        batch: places at a time.
    """

    def __init__(
        self,
        *,
        spacing: Sequence[float] = (2.0, 2.0, 2.0),
        lattice_mm: float = 12.0,
        views: int = 2,
        at_least: float = 0.8,
        batch: int = 2048,
    ) -> None:
        super().__init__()
        self.spacing, self.views, self.at_least = tuple(spacing), views, at_least
        self.every = max(1, round(lattice_mm / self.spacing[0]))
        self.batch = batch

    def __call__(
        self, inputs: Tensor, network: Callable[..., Any], *_args: Any, **_kwargs: Any
    ) -> Tensor:
        """Return the labels."""
        if not isinstance(network, ViewNet):
            raise TypeError("this inferer runs a ViewNet")
        volume = inputs.as_subclass(Tensor)[0, 0].float().cpu()
        told = self.probabilities(volume, network)
        size = [n * self.every for n in told.shape[1:]]
        labels = torch.zeros(size, dtype=torch.uint8)
        # Plane by plane: all classes of a whole CT at once would take gigabytes.
        at = (torch.arange(size[2], dtype=torch.float32) + 0.5) / self.every - 0.5
        low = at.floor().clamp(0, told.shape[3] - 1).long()
        high = (low + 1).clamp(max=told.shape[3] - 1)
        share = (at - low).clamp(0, 1)
        for z in range(size[2]):
            plane = torch.lerp(told[..., low[z]], told[..., high[z]], float(share[z]))
            fine = functional.interpolate(
                plane[None], size=size[:2], mode="bilinear", align_corners=False
            )[0]
            best, kind = fine[1:].max(0)
            labels[..., z] = torch.where(best >= self.at_least, kind + 1, 0).to(torch.uint8)
        x, y, z = volume.shape
        return labels[None, None, :x, :y, :z]

    def probabilities(self, volume: Tensor, network: ViewNet) -> Tensor:
        """Probabilities `(classes, x', y', z')` of the cells; of none outside of the body."""
        cells, body = lattice_of(volume, self.every)
        step = np.array(self.spacing) * self.every
        points = (cells + 0.5) * step - np.array(self.spacing) / 2
        parts = [
            aggregate(
                network,
                volume,
                self.spacing,
                points[first : first + self.batch],
                views=self.views,
            ).mean(1)
            for first in range(0, len(points), self.batch)
        ]
        classes = network.classes
        told = torch.zeros(classes, *body.shape)
        told[0] = 1.0
        if parts:
            told[:, *torch.from_numpy(cells.T)] = torch.cat(parts).cpu().T
        return told
