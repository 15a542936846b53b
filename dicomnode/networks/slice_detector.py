"""One pass over slices with their neighbours: lesions of several types with boxes and RECIST ends.

The universal detector of the literature on marks from a PACS (Yan et al., J Med Imaging 2018 and
MICCAI 2019), built anchor-free (Tian et al., "FCOS", ICCV 2019) so that no library of anchors or of
region pooling is needed: each place on three levels of a pyramid says whether a lesion of a type
lies here, how far its box reaches, and where the ends of its long and short axis are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from monai.networks.blocks.convolutions import Convolution
from torch import Tensor, nn
from torch.nn import functional

from dicomnode.networks.efficientnet import EfficientNetLite0
from dicomnode.networks.views import two_windows

__all__ = ["SliceDetections", "SliceDetector", "SliceOutputs", "decode", "places_of"]

STRIDES = (4, 8, 16)
ENDS = 8
"""Numbers that four ends take: long axis x, y, x, y, then short axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceOutputs:
    """What the network says of every place of all levels, joined; n slices, p places."""

    scores: Tensor
    """(n, p, types): logits."""
    reaches: Tensor
    """(n, p, 4): from the place to the left, upper, right, lower border of the box; pixels, > 0."""
    ends: Tensor
    """(n, p, 8): from the place to the ends of the axes, pixels."""

    def float(self) -> SliceOutputs:
        """The same in single precision, for losses."""
        return SliceOutputs(
            scores=self.scores.float(), reaches=self.reaches.float(), ends=self.ends.float()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceDetections:
    """Lesions on one slice, the surest first."""

    scores: Tensor
    """(m,): 0 to 1."""
    types: Tensor
    """(m,): from 0."""
    boxes: Tensor
    """(m, 4): x1, y1, x2, y2 in pixels; the centre of the first pixel lies at 0.5."""
    ends: Tensor
    """(m, 4, 2): x, y of the ends of the long and of the short axis."""


def _block(before: int, after: int, stride: int = 1) -> nn.Module:
    return Convolution(
        2,
        before,
        after,
        strides=stride,
        kernel_size=3,
        act="RELU",
        norm=("GROUP", {"num_groups": 4}),
        bias=False,
    )


class _PlainTrunk(nn.Module):
    """Maps at strides 4, 8 and 16 by plain convolutions, from a slab in two windows."""

    def __init__(self, slices: int, features: Sequence[int]) -> None:
        super().__init__()
        self.channels = tuple(features[2:])
        self.stem = _block(2 * slices, features[0])
        self.down = nn.ModuleList(
            nn.Sequential(_block(before, after, 2), _block(after, after))
            for before, after in pairwise(features)
        )

    def forward(self, windows: Tensor) -> list[Tensor]:
        x = self.stem(windows)
        levels = []
        for down in self.down:
            x = down(x)
            levels.append(x)
        return levels[1:]


class _ImageNetTrunk(nn.Module):
    """The same by EfficientNet-Lite0, whose three colours are mixed from the slab.

    Before training the colours are the neighbours in the soft tissue window, the slice itself in
    it, and the slice in the wide one. Batch norm stays as it is while the rest is trained:
    batches of a few slabs would only blur it.
    """

    def __init__(self, slices: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(2 * slices, 3, 1)
        self.encoder = EfficientNetLite0(trunk_only=True)
        self.channels = tuple(self.encoder.pyramid_channels[1:])
        middle = slices // 2
        with torch.no_grad():
            self.mix.weight.zero_()
            cast("Tensor", self.mix.bias).zero_()
            self.mix.weight[0, :slices] = 1 / slices
            self.mix.weight[1, middle] = self.mix.weight[2, slices + middle] = 1.0

    def train(self, mode: bool = True) -> _ImageNetTrunk:
        super().train(mode)
        for layer in self.encoder.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()
        return self

    def forward(self, windows: Tensor) -> list[Tensor]:
        colours = self.mix(windows).contiguous(memory_format=torch.channels_last)
        return self.encoder.pyramid(colours)[1:]


class SliceDetector(nn.Module):
    """A small pyramid over a slab of slices, with one head for all levels.

    Takes HU `(n, slices, y, x)`: the slice to be read in the middle of its neighbours, sides
    multiples of 16; gives `SliceOutputs`.

    Args:
        types: of lesions.
        slices: odd; neighbours and the slice itself.
        features: channels at strides 1, 2, 4, 8 and 16 of a trunk of plain convolutions; None:
            EfficientNet-Lite0, for which there are weights of ImageNet (`trunk.encoder`).
        width: channels of the pyramid and of the head.
    """

    def __init__(
        self,
        types: int = 8,
        *,
        slices: int = 5,
        features: Sequence[int] | None = None,
        width: int = 48,
    ) -> None:
        super().__init__()
        if slices % 2 == 0:
            raise ValueError("the slice to be read has as many neighbours on either side")
        self.types, self.slices = types, slices
        self.trunk = _ImageNetTrunk(slices) if features is None else _PlainTrunk(slices, features)
        self.side = nn.ModuleList(nn.Conv2d(each, width, 1) for each in self.trunk.channels)
        self.smooth = nn.ModuleList(_block(width, width) for _ in STRIDES)
        self.judge = nn.Sequential(_block(width, width), nn.Conv2d(width, types, 3, padding=1))
        self.locate = nn.Sequential(_block(width, width), nn.Conv2d(width, 4 + ENDS, 3, padding=1))
        nn.init.constant_(cast("Tensor", self.judge[-1].bias), -4.6)

    def forward(self, hu: Tensor) -> SliceOutputs:
        """Outputs of all places, see the class."""
        if hu.shape[1] != self.slices or hu.shape[2] % 16 or hu.shape[3] % 16:
            raise ValueError(f"{tuple(hu.shape)} is not (n, {self.slices}, 16 a, 16 b)")
        levels = self.trunk(two_windows(hu, 1))
        pyramid: list[Tensor] = []
        for side, level in zip(reversed(self.side), reversed(levels), strict=True):
            own = side(level)
            if pyramid:
                own = own + functional.interpolate(pyramid[0], scale_factor=2.0, mode="nearest")
            pyramid.insert(0, own)
        scores, located = [], []
        for stride, smooth, level in zip(STRIDES, self.smooth, pyramid, strict=True):
            told = smooth(level)
            scores.append(self.judge(told).flatten(2).transpose(1, 2))
            # In strides, so that one head serves all levels.
            located.append(self.locate(told).flatten(2).transpose(1, 2) * stride)
        joined = torch.cat(located, 1)
        return SliceOutputs(
            scores=torch.cat(scores, 1),
            reaches=functional.softplus(joined[..., :4]) + 0.5,
            ends=joined[..., 4:],
        )


def places_of(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Middles `(p, 2)` of all places as x, y in pixels, and the stride `(p,)` of each."""
    points, strides = [], []
    for stride in STRIDES:
        y, x = torch.meshgrid(
            (torch.arange(height // stride) + 0.5) * stride,
            (torch.arange(width // stride) + 0.5) * stride,
            indexing="ij",
        )
        points.append(torch.stack([x, y], -1).reshape(-1, 2))
        strides.append(torch.full((x.numel(),), float(stride)))
    return torch.cat(points), torch.cat(strides)


def boxes_of(points: Tensor, reaches: Tensor) -> Tensor:
    """Boxes `(..., 4)` of places and how far they reach."""
    return torch.cat([points - reaches[..., :2], points + reaches[..., 2:]], -1)


def overlap(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union `(a, b)` of boxes `(a, 4)` and `(b, 4)`."""
    low = torch.maximum(one[:, None, :2], other[None, :, :2])
    high = torch.minimum(one[:, None, 2:], other[None, :, 2:])
    common = (high - low).clamp(min=0).prod(-1)
    areas = [(each[:, 2:] - each[:, :2]).prod(-1) for each in (one, other)]
    union = areas[0][:, None] + areas[1][None] - common
    return common / union.clamp(min=1e-6)


def decode(
    outputs: SliceOutputs,
    size: tuple[int, int],
    *,
    least: float = 0.05,
    most: int = 50,
    apart: float = 0.3,
) -> list[SliceDetections]:
    """Detections of each slice, one for each lesion, whatever the type.

    Args:
        outputs: of the network.
        size: height and width of the slice.
        least: score below which there is none.
        most: detections a slice.
        apart: overlap (IoU) above which two are one lesion.
    """
    points, _ = places_of(*size)
    points = points.to(outputs.scores.device)
    found = []
    for scores, reaches, ends in zip(outputs.scores, outputs.reaches, outputs.ends, strict=True):
        best, types = scores.sigmoid().max(-1)
        rows = torch.nonzero(best >= least)[:, 0]
        rows = rows[torch.argsort(best[rows], descending=True, stable=True)][: 10 * most]
        boxes = boxes_of(points[rows], reaches[rows])
        kept = _kept(boxes, apart)[:most]
        rows, boxes = rows[kept], boxes[kept]
        found.append(
            SliceDetections(
                scores=best[rows],
                types=types[rows],
                boxes=boxes,
                ends=points[rows][:, None] + ends[rows].unflatten(-1, (4, 2)),
            )
        )
    return found


def _kept(boxes: Tensor, apart: float) -> Tensor:
    """Rows of sorted boxes that overlap none before them by more than `apart`."""
    overlaps = overlap(boxes, boxes)
    keep: list[int] = []
    for row in range(len(boxes)):
        if not keep or float(overlaps[row, keep].max()) <= apart:
            keep.append(row)
    return torch.tensor(keep, dtype=torch.long, device=boxes.device)
