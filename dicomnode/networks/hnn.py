"""Holistically-nested network (HNN) that reads the interior of organs and their boundary.

Roth, Lu, Farag, Sohn, Summers: Spatial Aggregation of Holistically-Nested Networks for Automated
Pancreas Segmentation, MICCAI 2016 (arXiv:1606.07830), after Xie and Tu, ICCV 2015. There two
networks, one for the interior and one for the boundary; here one encoder with channels for both.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.losses.dice import DiceCELoss
from torch import Tensor, nn
from torch.nn import functional

from dicomnode.networks.nested import NestedEncoder

__all__ = ["HNN", "NestedLoss", "boundary_of", "soft_outputs"]


class HNN(NestedEncoder):
    """Side outputs at every stage and their weighted sum, all supervised.

    Channels: first `out_channels` classes of the interior (a softmax, background included), then
    `boundary_channels` (a sigmoid each; usually one a foreground class).

    The weights of the sum are learned, one a stage and channel, and begin as 1 / stages.

    Shapes: input `(N, in_channels, *spatial)`. In training mode a list: the side output of each
    stage, the weighted sum last. In evaluation mode the weighted sum alone. Each
    `(N, out_channels + boundary_channels, *spatial)`. Other arguments are those of
    `NestedEncoder`.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        boundary_channels: int = 0,
        features: Sequence[int] = (16, 32, 64, 96, 128),
        convolutions: Sequence[int] = (2, 2, 2, 2, 2),
        norm: str | tuple[str, dict[str, object]] = "batch",
        act: str | tuple[str, dict[str, object]] = "relu",
    ) -> None:
        channels = out_channels + boundary_channels
        super().__init__(
            spatial_dims,
            in_channels,
            channels,
            features=features,
            convolutions=convolutions,
            norm=norm,
            act=act,
        )
        self.fuse = nn.Parameter(torch.full((len(features), channels), 1 / len(features)))

    def fused(self, sides: Sequence[Tensor]) -> Tensor:
        """Return the weighted sum of side outputs, `(N, channels, *spatial)`."""
        shape = (1, -1, *(1 for _ in range(self.spatial_dims)))
        terms = [w.view(shape) * side for w, side in zip(self.fuse, sides, strict=True)]
        return torch.stack(terms).sum(0)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Return side outputs and their sum in training mode, the sum in evaluation mode."""
        sides = self.side_outputs(x)
        fused = self.fused(sides)
        return [*sides, fused] if self.training else fused


def boundary_of(labels: Tensor, classes: int) -> Tensor:
    """Return where each foreground class borders on anything else, one voxel to both sides.

    Args:
        labels: `(N, 1, *spatial)`, 0 the background.
        classes: number of classes, background included.

    Returns:
        `(N, classes - 1, *spatial)`, float 0 or 1; class 1 first. The edge of the image is none.
    """
    pool = {2: functional.max_pool2d, 3: functional.max_pool3d}[labels.dim() - 2]
    masks = torch.cat([(labels == c).float() for c in range(1, classes)], dim=1)
    return pool(masks, 3, 1, 1) + pool(-masks, 3, 1, 1)


def soft_outputs(logits: Tensor, classes: int) -> Tensor:
    """Return probabilities of logits as `HNN` gives them: softmax of the classes, sigmoid after."""
    interior = logits[:, :classes].softmax(1)
    return torch.cat((interior, logits[:, classes:].sigmoid()), dim=1)


class NestedLoss(nn.Module):
    """Deep supervision of nested networks: the same loss at every output, then their mean.

    Interior: Dice and cross entropy (`DiceCELoss`). Boundary: cross entropy in which the few
    boundary voxels weigh as much together as all others (Xie and Tu, equation 2).

    Args:
        classes: classes of the interior, background included; channels after them are boundaries.
        interior: loss of logits `(N, classes, ...)` and labels `(N, 1, ...)`; None: the above.
        boundary_weight: weight of the boundary's loss.
    """

    def __init__(
        self, classes: int, *, interior: nn.Module | None = None, boundary_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.classes = classes
        self.interior = interior or DiceCELoss(
            include_background=False, to_onehot_y=True, softmax=True
        )
        self.boundary_weight = boundary_weight

    def forward(self, outputs: Tensor | Sequence[Tensor], labels: Tensor) -> Tensor:
        """Return a scalar; `outputs` one tensor or several, labels `(N, 1, *spatial)`."""
        several = [outputs] if isinstance(outputs, Tensor) else list(outputs)
        edges = None
        if several[0].shape[1] > self.classes:
            edges = boundary_of(labels, several[0].shape[1] - self.classes + 1)
        return torch.stack([self._of_one(one.float(), labels, edges) for one in several]).mean()

    def _of_one(self, logits: Tensor, labels: Tensor, edges: Tensor | None) -> Tensor:
        loss: Tensor = self.interior(logits[:, : self.classes], labels)
        if edges is None:
            return loss
        share = edges.mean().clamp(1e-4, 1 - 1e-4)
        weights = torch.where(edges > 0.5, 1 - share, share) / (2 * share * (1 - share))
        boundary = functional.binary_cross_entropy_with_logits(
            logits[:, self.classes :], edges, weight=weights
        )
        return loss + self.boundary_weight * boundary
