"""A 3D network that works on half of its input's grid and answers on the whole of it."""

from __future__ import annotations

import torch
from monai.networks.utils import pixelshuffle, pixelunshuffle
from torch import Tensor, nn

__all__ = ["HalvedGrid"]


class HalvedGrid(nn.Module):
    """Every 2 x 2 x 2 voxels become eight channels of one, and the answer is spread out again.

    Nothing of the image is lost, and the full grid, where a 3D network spends most of its time,
    is left out (Shi et al., arXiv:1609.05158, at both ends).

    Shapes: `(N, C, x, y, z)`, each side even, to `(N, classes, x, y, z)`; what is known `beside`
    the image on the half grid, such as a coarser network's answer, is `(N, D, x/2, y/2, z/2)`.

    Args:
        network: takes `8 * C + D` channels on the half grid, gives `8 * classes` there.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        """Return what the network says, on the grid of `x`."""
        halved = pixelunshuffle(x, 3, 2)
        if beside is not None:
            halved = torch.cat((halved, beside), 1)
        return pixelshuffle(self.network(halved), 3, 2)
