"""A loss for labels known in part, as masks of real CT are: organs, not what lies between."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["NEUTRAL", "UNKNOWN", "PartialLoss"]

UNKNOWN = 255
"""Label of what nothing is said of: left out."""
NEUTRAL = 254
"""Label of what is none of the organs that have masks, and so one of `PartialLoss.unnamed`."""


class PartialLoss(nn.Module):
    """Cross entropy with a weight for each class, plus Dice of the classes in the batch.

    Where the label is `NEUTRAL`, any class of `unnamed` is right: all others are punished there.

    Args:
        weights: how much a voxel of each class counts, `(C,)`.
        unnamed: channels that masks leave out.
    """

    def __init__(self, weights: Sequence[float] | Tensor, unnamed: Sequence[int]) -> None:
        super().__init__()
        self.weights: Tensor
        self.allowed: Tensor
        self.register_buffer("weights", torch.as_tensor(weights, dtype=torch.float32))
        allowed = torch.zeros(len(weights), dtype=torch.bool)
        allowed[list(unnamed)] = True
        self.register_buffer("allowed", allowed)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return a scalar; logits `(N, C, *spatial)`, target `(N, *spatial)` or with a channel."""
        if target.dim() == logits.dim():
            target = target[:, 0]
        spread = (1, -1, *(1 for _ in range(target.dim() - 1)))
        neutral = target == NEUTRAL
        known = (target != UNKNOWN) & ~neutral
        safe = torch.where(known, target, 0)
        log_p = logits.log_softmax(1)
        picked = log_p.gather(1, safe[:, None])[:, 0]
        weight = self.weights[safe] * known
        any_of = log_p[:, self.allowed].logsumexp(1) * neutral
        cross = -((picked * weight).sum() + any_of.sum())
        cross = cross / (weight.sum() + neutral.sum()).clamp_min(1)
        counted = known[:, None] | (neutral[:, None] & ~self.allowed.view(spread))
        p = log_p.exp() * counted
        count = functional.one_hot(safe, logits.shape[1]).movedim(-1, 1) * known[:, None]
        axes = (0, *range(2, logits.dim()))
        total = p.sum(axes) + count.sum(axes)
        here = count.sum(axes) > 0
        here[0] = False
        dice = 1 - (2 * (p * count).sum(axes) + 5) / (total + 5)
        return cross + (dice * here).sum() / here.sum().clamp_min(1)
