"""What a slice-wise detector is trained by: boxes and RECIST ends of some lesions, not of all.

Radiologists mark a few lesions of a study. On a slice with a mark another lesion may have none, so
"no mark" is weak evidence: places that look surely like a lesion far from every mark are left out
of the loss instead of being called wrong, and neighbouring slices without a mark teach nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dicomnode.networks.slice_detector import STRIDES, SliceOutputs, boxes_of, places_of

__all__ = ["MarkedSlice", "detection_loss"]

_SIZES = (0.0, 24.0, 64.0, float("inf"))
"""Longer side of the boxes that each level is responsible for, in pixels."""
_CORE = 1.5
"""Places within so many strides of a box's middle have to find it."""
_ALPHA, _GAMMA = 0.25, 2.0
"""Of the focal loss (Lin et al. 2017)."""
UNKNOWN_TYPE = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedSlice:
    """The marks on one slice; m lesions."""

    boxes: Tensor
    """(m, 4): x1, y1, x2, y2 in pixels."""
    types: Tensor
    """(m,): from 0; `UNKNOWN_TYPE`: a lesion of any type."""
    ends: Tensor
    """(m, 4, 2): x, y of the ends of long and short axis; nan where nobody drew them."""
    complete: bool = False
    """Every lesion of the slice is marked: then all else is none."""

    def to(self, device: torch.device) -> MarkedSlice:
        """The same on a device."""
        return MarkedSlice(
            boxes=self.boxes.to(device),
            types=self.types.to(device),
            ends=self.ends.to(device),
            complete=self.complete,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What each place of one slice should say; p places."""

    row: Tensor
    """(p,): of the lesion that the place has to find, -1 for none."""
    counts: Tensor
    """(p,): False on the rim of a lesion, which is neither."""


def detection_loss(
    outputs: SliceOutputs,
    marks: Sequence[MarkedSlice],
    size: tuple[int, int],
    *,
    doubtful: float = 0.5,
) -> dict[str, Tensor]:
    """Losses `scores`, `boxes`, `ends`, each a scalar that can be added up.

    Args:
        outputs: of the network.
        marks: of each slice.
        size: height and width.
        doubtful: probability above which a place far from all marks is left out, unless the slice
            is marked completely.
    """
    points, strides = places_of(*size)
    points, strides = points.to(outputs.scores.device), strides.to(outputs.scores.device)
    parts: dict[str, list[Tensor]] = {"scores": [], "boxes": [], "ends": []}
    lesions = max(sum(len(one.boxes) for one in marks), 1)
    for number, mark in enumerate(marks):
        wanted = _assigned(points, strides, mark)
        scores = outputs.scores[number]
        parts["scores"].append(_focal(scores, wanted, mark, doubtful))
        hit = wanted.row >= 0
        if not hit.any():
            continue
        row = wanted.row[hit]
        # A lesion that many places have to find counts once.
        share = 1.0 / torch.bincount(row, minlength=len(mark.boxes))[row]
        boxes = boxes_of(points[hit], outputs.reaches[number][hit])
        parts["boxes"].append((share * _box_loss(boxes, mark.boxes[row])).sum())
        ends = points[hit][:, None] + outputs.ends[number][hit].unflatten(-1, (4, 2))
        scale = (mark.boxes[row][:, 2:] - mark.boxes[row][:, :2]).amax(-1).clamp(min=4.0)
        parts["ends"].append((share * _ends_loss(ends, mark.ends[row], scale)).sum())
    nothing = outputs.scores.sum() * 0 + outputs.reaches.sum() * 0 + outputs.ends.sum() * 0
    return {
        name: (torch.stack(values).sum() / lesions if values else nothing) + nothing
        for name, values in parts.items()
    }


def _assigned(points: Tensor, strides: Tensor, mark: MarkedSlice) -> _Wanted:
    """The smallest of the boxes that a place lies in the middle of, on the level of their size."""
    row = torch.full((len(points),), -1, dtype=torch.long, device=points.device)
    counts = torch.ones(len(points), dtype=torch.bool, device=points.device)
    if not len(mark.boxes):
        return _Wanted(row=row, counts=counts)
    sides = (mark.boxes[:, 2:] - mark.boxes[:, :2]).amax(-1)
    middle = (mark.boxes[:, :2] + mark.boxes[:, 2:]) / 2
    inside = (
        (points[:, None] > mark.boxes[None, :, :2]) & (points[:, None] < mark.boxes[None, :, 2:])
    ).all(-1)
    away = (points[:, None] - middle[None]).abs().amax(-1)
    for lesion in torch.argsort(sides, descending=True).tolist():
        level = next(n for n, top in enumerate(_SIZES[1:]) if sides[lesion] <= top)
        on_level = strides == STRIDES[level]
        core = on_level & (away[:, lesion] <= _CORE * strides) & inside[:, lesion]
        if not core.any():  # thinner than a stride: the nearest place
            near = torch.where(on_level, away[:, lesion], torch.inf)
            core = torch.zeros_like(core)
            core[near.argmin()] = True
        counts &= ~inside[:, lesion] | (row >= 0)
        row[core], counts[core] = lesion, True
    return _Wanted(row=row, counts=counts)


def _focal(scores: Tensor, wanted: _Wanted, mark: MarkedSlice, doubtful: float) -> Tensor:
    target = torch.zeros_like(scores)
    weight = wanted.counts[:, None].to(scores).expand_as(scores).clone()
    hit = torch.nonzero(wanted.row >= 0)[:, 0]
    types = mark.types[wanted.row[hit]] if len(hit) else mark.types[:0]
    known = types != UNKNOWN_TYPE
    target[hit[known], types[known]] = 1.0
    unknown = hit[~known]
    if len(unknown):
        # Any type will do: the one it says already is encouraged, the others are left alone.
        best = scores[unknown].detach().argmax(-1)
        weight[unknown] = 0.0
        weight[unknown, best] = 1.0
        target[unknown, best] = 1.0
    p = scores.sigmoid()
    if not mark.complete:
        far = wanted.row < 0
        weight[far[:, None] & (p.detach() > doubtful)] = 0.0
    cross = functional.binary_cross_entropy_with_logits(scores, target, reduction="none")
    off = torch.where(target > 0.5, 1 - p, p)
    balance = torch.where(target > 0.5, _ALPHA, 1 - _ALPHA)
    return (weight * balance * off**_GAMMA * cross).sum()


def _box_loss(boxes: Tensor, wanted: Tensor) -> Tensor:
    """1 - generalised IoU, row by row (Rezatofighi et al. 2019)."""
    low, high = (
        torch.maximum(boxes[:, :2], wanted[:, :2]),
        torch.minimum(boxes[:, 2:], wanted[:, 2:]),
    )
    common = (high - low).clamp(min=0).prod(-1)
    areas = [(each[:, 2:] - each[:, :2]).prod(-1) for each in (boxes, wanted)]
    union = (areas[0] + areas[1] - common).clamp(min=1e-6)
    around = (
        torch.maximum(boxes[:, 2:], wanted[:, 2:]) - torch.minimum(boxes[:, :2], wanted[:, :2])
    ).prod(-1)
    around = around.clamp(min=1e-6)
    return 1 - common / union + (around - union) / around


def _ends_loss(ends: Tensor, wanted: Tensor, scale: Tensor) -> Tensor:
    """Smooth L1 over the lesion's size; an axis may be drawn from either end."""
    losses = []
    for first in (0, 2):
        drawn = wanted[:, first : first + 2]
        has = ~torch.isnan(drawn).flatten(1).any(1)
        drawn = torch.nan_to_num(drawn)
        each = [
            functional.smooth_l1_loss(
                ends[:, first : first + 2] / scale[:, None, None],
                way / scale[:, None, None],
                reduction="none",
                beta=0.1,
            ).mean((1, 2))
            for way in (drawn, drawn.flip(1))
        ]
        losses.append(torch.where(has, torch.minimum(*each), 0.0))
    return losses[0] + losses[1]
