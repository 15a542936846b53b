"""Candidates of high recall by a dense 3D network: a heatmap of middles for each type of lesion.

A stem at full resolution, because a node of 6 mm is three voxels wide; four halvings for the
surroundings, because what tells a node from a vessel or a loop of bowel is where it leads; decoded
to half the resolution, where heat and radius are read (Zhou, Wang and Kraehenbuehl, "Objects as
Points", 2019, in 3D).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from monai.networks.blocks.convolutions import Convolution
from torch import Tensor, nn
from torch.nn import functional

from dicomnode.networks.views import in_window, two_windows

__all__ = ["CandidateNet", "Heat", "heat_of", "mirrored_heat_of"]

AIR = -1024.0
_EMPTY_HU = -400.0
"""What is thinner lies outside of the body, or in the lung within it."""
_MOST_VOXELS = 9_000_000
"""Of a slab with its margins: about 2 GB in float32."""
_LEAST = 1e-4
"""Heat that counts as none where heats are averaged."""
_ORGANS = (-20.0, 160.0)
"""Window in which a lesion of 20 HU within the liver stands out."""


def _block(before: int, after: int, stride: int = 1) -> nn.Module:
    return Convolution(
        3,
        before,
        after,
        strides=stride,
        kernel_size=3,
        act=("RELU", {"inplace": True}),
        norm="BATCH",
        bias=False,
    )


def _windows(hu: Tensor) -> Tensor:
    """The channels `(n, 3, x, y, z)` of HU `(n, 1, x, y, z)`, each -1 to 1.

    Soft tissue, wide, and the mean over 27 voxels in a narrow window: what differs from the organ
    around it by less than the noise of a voxel is seen by its mean only.
    """
    calm = functional.avg_pool3d(hu, 3, 1, 1, count_include_pad=False)
    return torch.cat([two_windows(hu, 1), in_window(calm, *_ORGANS)], 1)


class CandidateNet(nn.Module):
    """Heatmaps of the middles of lesions.

    Takes HU `(n, 1, x, y, z)`, sides multiples of 16; gives logits `(n, kinds + 1, x/2, y/2, z/2)`:
    a heatmap for each type, and last the logarithm of the radius in millimetres over 8 mm.

    Args:
        kinds: types of lesions.
        features: channels at full resolution and after each halving.
    """

    stride = 2
    multiple = 16

    def __init__(self, kinds: int, features: Sequence[int] = (16, 32, 48, 64, 64)) -> None:
        super().__init__()
        self.kinds = kinds
        self.stem = nn.Sequential(_block(3, features[0]), _block(features[0], features[0]))
        self.down = nn.ModuleList(
            nn.Sequential(_block(before, after, 2), _block(after, after))
            for before, after in pairwise(features)
        )
        self.up = nn.ModuleList(
            _block(fine + coarse, fine) for fine, coarse in pairwise(features[1:])
        )
        self.decide = nn.Conv3d(features[1], kinds + 1, 1)
        # Lesions are rare: without this the first steps unlearn everything.
        nn.init.constant_(cast("Tensor", self.decide.bias)[:kinds], -4.6)
        nn.init.zeros_(cast("Tensor", self.decide.bias)[kinds:])
        # A fifth quicker on a CPU.
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def forward(self, hu: Tensor) -> Tensor:
        """Logits, see the class."""
        x = self.stem(_windows(hu))
        levels = []
        for down in self.down:
            x = down(x)
            levels.append(x)
        for number in reversed(range(len(self.up))):
            wider = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.up[number](torch.cat([wider, levels[number]], 1))
        logits: Tensor = self.decide(x)
        return logits


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """Heatmaps of a CT's body; outside of it there is none. A value for two voxels each way."""

    maps: Tensor
    """(kinds + 1, x', y', z'): heat of each type, 0 to 1, and the logarithm of the radius."""
    corner: tuple[int, int, int]
    """Where the first value lies among those that all of the CT would have."""


def heat_of(
    network: Callable[[Tensor], Tensor],
    hu: Tensor,
    *,
    slab: int | None = None,
    margin: int = 80,
) -> Heat:
    """What the network says of a volume `(x, y, z)` in HU.

    Works through z slab by slab, each with a margin of its neighbours, so that long CTs fit; air
    around the body is left out: nothing is found there.

    Args:
        network: a `CandidateNet`.
        hu: the volume.
        slab: slices at a time, a multiple of 16; None: as many as `_MOST_VOXELS` allow.
        margin: slices of its neighbours on both sides, a multiple of 16; 80 are as far as the
            network looks, so that slabs and the whole give the same.
    """
    stride = CandidateNet.stride
    (left, right), (front, back) = _body_within(hu)
    body = hu[left:right, front:back]
    cut = _padded(body)
    slab = slab or _slab_of(cut, margin)
    x, y, z = (-(-n // stride) for n in body.shape)
    maps = hu.new_empty(0)
    for first in range(0, cut.shape[2], slab):
        begin, end = max(0, first - margin), min(cut.shape[2], first + slab + margin)
        logits = network(cut[None, None, ..., begin:end])[0]
        if not maps.numel():
            maps = hu.new_empty((len(logits), x, y, z), dtype=torch.float32)
        start, done = (first - begin) // stride, first // stride
        # In one step from the network's own type and order: both are slow to read.
        read = maps[..., done : done + slab // stride]
        read.copy_(logits[:, :x, :y, start : start + read.shape[3]])
    maps[:-1].sigmoid_()
    return Heat(maps=maps, corner=(left // stride, front // stride, 0))


def mirrored_heat_of(network: Callable[[Tensor], Tensor], hu: Tensor) -> Heat:
    """The mean of what the network says of a volume and of its mirror image, left for right.

    What it says by chance of noise and of where its grid falls is halved; it costs twice as much.
    Heats are averaged as logits, radii as logarithms. Arguments as those of `heat_of`.
    """
    heat = heat_of(network, hu)
    even = functional.pad(hu, (0, 0, 0, 0, 0, hu.shape[0] % CandidateNet.stride), value=AIR)
    other = heat_of(network, even.flip(0))
    # Both cut off air; in x by a value more or less.
    end = even.shape[0] // CandidateNet.stride - other.corner[0]
    first = end - other.maps.shape[1] - heat.corner[0]
    low, high = max(0, first), min(heat.maps.shape[1], end - heat.corner[0])
    turned = other.maps.flip(1)[:, low - first : high - first]
    own = heat.maps[:, low:high]
    own[:-1] = ((own[:-1].logit(_LEAST) + turned[:-1].logit(_LEAST)) / 2).sigmoid_()
    own[-1] = (own[-1] + turned[-1]) / 2
    return heat


def _slab_of(cut: Tensor, margin: int) -> int:
    """Slices at a time: all of them if they fit, for every margin is computed twice."""
    room = _MOST_VOXELS // (cut.shape[0] * cut.shape[1])
    if cut.shape[2] <= room:
        return cut.shape[2]
    many = CandidateNet.multiple
    return max(many, (room - 2 * margin) // many * many)


def _body_within(hu: Tensor) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last (exclusive) column and row of the body, with a margin; even numbers."""
    dense = hu.amax(2) > _EMPTY_HU
    found = []
    for axis in (0, 1):
        along = torch.nonzero(dense.any(1 - axis))
        low, high = (int(along.min()), int(along.max()) + 1) if len(along) else (0, 1)
        margin = CandidateNet.multiple // 2
        found.append((max(0, low - margin) // 2 * 2, min(hu.shape[axis], high + margin)))
    return found[0], found[1]


def _padded(hu: Tensor) -> Tensor:
    """With air, to sides that are multiples of 16."""
    many = CandidateNet.multiple
    pad = [p for n in reversed(hu.shape) for p in (0, -n % many)]
    return functional.pad(hu, pad, value=AIR)
