"""Losses of labels that do not exclude each other: hinge, Euclidean, CEL and W-CEL.

As ChestX-ray8 compares them (Wang et al., CVPR 2017). All take logits `(N, C)` and targets
`(N, C)` of 0, 1 or NaN; NaN is "not known" and counts for nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["LOSSES", "MultiLabelLoss"]

LOSSES = ("hinge", "euclidean", "cel", "w-cel")


class MultiLabelLoss(nn.Module):
    """One of the four, as a mean over known labels.

    * `hinge`: max(0, 1 - s x), s = 1 or -1;
    * `euclidean`: (f(x) - y)^2 with the sigmoid f;
    * `cel`: cross entropy;
    * `w-cel`: cross entropy, with beta_P = (|P| + |N|) / |P| on every 1 and
      beta_N = (|P| + |N|) / |N| on every 0; |P| and |N| count the ones and zeros of the whole
      batch, as in the paper. A batch without ones, or without zeros, is weighted as if it had one.
      `per_class` counts them for each class instead.
    """

    def __init__(self, name: str, *, per_class: bool = False) -> None:
        super().__init__()
        if name not in LOSSES:
            raise ValueError(f"loss is one of {', '.join(LOSSES)}, not {name!r}")
        self.name = name
        self.per_class = per_class

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss, a scalar; 0 if nothing is known."""
        known = ~targets.isnan()
        truth = torch.where(known, targets, torch.zeros_like(targets))
        loss = self._of_each(logits, truth) * known
        if self.name == "w-cel":
            loss = loss * _balance(truth, known, per_class=self.per_class)
        return loss.sum() / known.sum().clamp(min=1)

    def _of_each(self, logits: Tensor, truth: Tensor) -> Tensor:
        if self.name == "hinge":
            return functional.relu(1 - (2 * truth - 1) * logits)
        if self.name == "euclidean":
            return (logits.sigmoid() - truth).square()
        return functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")


def _balance(truth: Tensor, known: Tensor, *, per_class: bool) -> Tensor:
    axis = (0,) if per_class else (0, 1)
    ones = (truth * known).sum(axis, keepdim=True)
    total = known.sum(axis, keepdim=True)
    zeros = total - ones
    return torch.where(truth > 0.5, total / ones.clamp(min=1), total / zeros.clamp(min=1))
