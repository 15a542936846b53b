"""A loss for labels known in part, as masks of real CT are: organs, not what lies between."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["NEUTRAL", "NOT_DRAWN", "UNKNOWN", "PartialLoss"]

UNKNOWN = 255
"""Label of what nothing is said of: left out."""
NEUTRAL = 254
"""Label of what is none of the organs that have masks, and so one of `PartialLoss.unnamed`."""


NOT_DRAWN = 253
"""Label of what is none of the organs that were drawn, and so one of `PartialLoss.undrawn`."""


class PartialLoss(nn.Module):
    """Cross entropy with a weight for each class, plus Dice of the classes in the batch.

    Where the label is `NEUTRAL`, any class of `unnamed` is right, where it is `NOT_DRAWN` any of
    `undrawn`: all others are punished there.

    Args:
        weights: how much a voxel of each class counts, `(C,)`.
        unnamed: channels that masks leave out.
        undrawn: channels that outlines of a few organs leave out.
    """

    def __init__(
        self,
        weights: Sequence[float] | Tensor,
        unnamed: Sequence[int],
        undrawn: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.weights: Tensor
        self.allowed: Tensor
        self.register_buffer("weights", torch.as_tensor(weights, dtype=torch.float32))
        allowed = torch.zeros(2, len(weights), dtype=torch.bool)
        allowed[0, list(unnamed)] = True
        allowed[1, list(undrawn)] = True
        self.register_buffer("allowed", allowed)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return a scalar; logits `(N, C, *spatial)`, target `(N, *spatial)` or with a channel."""
        if target.dim() == logits.dim():
            target = target[:, 0]
        spread = (1, -1, *(1 for _ in range(target.dim() - 1)))
        vague = [target == NEUTRAL, target == NOT_DRAWN]
        known = (target != UNKNOWN) & ~vague[0] & ~vague[1]
        safe = torch.where(known, target, 0)
        log_p = logits.log_softmax(1)
        picked = log_p.gather(1, safe[:, None])[:, 0]
        weight = self.weights[safe] * known
        cross, counted, count_all = (picked * weight).sum(), known[:, None], weight.sum()
        for allowed, here in zip(self.allowed, vague, strict=True):
            if here.any():
                any_of = log_p[:, allowed].logsumexp(1)
                cross = cross + torch.where(here, any_of, 0).sum()
                count_all = count_all + here.sum()
                counted = counted | (here[:, None] & ~allowed.view(spread))
        cross = -cross / count_all.clamp_min(1)
        p = log_p.exp() * counted
        count = functional.one_hot(safe, logits.shape[1]).movedim(-1, 1) * known[:, None]
        axes = (0, *range(2, logits.dim()))
        total = p.sum(axes) + count.sum(axes)
        here = count.sum(axes) > 0
        here[0] = False
        dice = 1 - (2 * (p * count).sum(axes) + 5) / (total + 5)
        return cross + (dice * here).sum() / here.sum().clamp_min(1)
