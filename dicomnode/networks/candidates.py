"""Candidates of high recall: a 3D network that gives a heatmap of centres for each lesion type."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets.segresnet import SegResNet
from torch import Tensor, nn
from torch.nn import functional

from dicomnode.networks.views import two_windows

__all__ = ["CandidateNet", "centre_targets", "focal_loss", "heat_of"]

AIR = -1024.0


class CandidateNet(nn.Module):
    """A first layer at full resolution, then MONAI's SegResNet at half of it.

    Takes HU `(n, 1, x, y, z)`, sides multiples of `multiple`; gives logits `(n, kinds + 1, x / 2,
    y / 2, z / 2)`: a heatmap of centres for each type, and last the logarithm of the radius in
    millimetres over 8 mm.
    """

    stride = 2

    def __init__(self, kinds: int, filters: int = 16, blocks: Sequence[int] = (1, 1, 2)) -> None:
        super().__init__()
        self.kinds = kinds
        self.multiple = self.stride * 2 ** (len(blocks) - 1)
        self.stem = nn.Sequential(
            nn.Conv3d(2, 8, 3, padding=1, bias=False),
            nn.BatchNorm3d(8),
            nn.ReLU(inplace=True),
            nn.Conv3d(8, filters, 2, stride=2),
        )
        self.body = SegResNet(
            spatial_dims=3,
            init_filters=filters,
            in_channels=filters,
            out_channels=kinds + 1,
            blocks_down=tuple(blocks),
            blocks_up=(1,) * (len(blocks) - 1),
            norm=("BATCH", {}),
        )
        last = self.body.conv_final[-1].conv
        with torch.no_grad():
            # Begin with "nowhere": centres are one voxel in many thousands.
            last.bias[:kinds] = -4.0
            last.bias[kinds:] = 0.0

    def forward(self, hu: Tensor) -> Tensor:
        """Logits, see the class."""
        logits: Tensor = self.body(self.stem(two_windows(hu, 1)))
        return logits


def heat_of(network: CandidateNet, hu: Tensor, *, slab: int = 96, margin: int = 24) -> Tensor:
    """Heatmaps (0 to 1) and log radius `(kinds + 1, x', y', z')` of a volume `(x, y, z)` in HU.

    Each value stands for `stride` voxels along each axis. Works through z slab by slab, each with
    a margin of its neighbours, so that long CTs fit.
    """
    many, stride = network.multiple, network.stride
    slab, margin = -(-slab // many) * many, -(-margin // many) * many
    size = [-(-n // stride) for n in hu.shape]
    pad = [p for n in reversed(hu.shape) for p in (0, -n % many)]
    padded = functional.pad(hu[None, None], pad, value=AIR)
    parts = []
    for first in range(0, hu.shape[2], slab):
        begin = max(0, first - margin)
        end = min(padded.shape[-1], first + slab + margin)
        logits = network(padded[..., begin:end])[0, :, : size[0], : size[1]].float()
        start = (first - begin) // stride
        parts.append(logits[..., start : start + slab // stride])
    joined = torch.cat(parts, -1)[..., : size[2]]
    return torch.cat([joined[:-1].sigmoid(), joined[-1:]])


def centre_targets(
    shape: Sequence[int],
    spacing: Sequence[float],
    lesions: Sequence[tuple[int, Sequence[float], float]],
    kinds: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Heatmaps `(kinds, x, y, z)`, log radius and its weight `(1, x, y, z)` of a patch.

    Args:
        shape: of the patch.
        spacing: millimetres.
        lesions: type from 0, centre in millimetres from the centre of voxel 0, radius in mm.
        kinds: types in all.
    """
    heat = torch.zeros(kinds, *shape)
    size, weight = torch.zeros(1, *shape), torch.zeros(1, *shape)
    lines = [torch.arange(n, dtype=torch.float32) * s for n, s in zip(shape, spacing, strict=True)]
    for kind, centre, radius in lesions:
        squares = [(line - float(c)) ** 2 for line, c in zip(lines, centre, strict=True)]
        away = squares[0][:, None, None] + squares[1][:, None] + squares[2]
        sigma = max(radius * 0.5, float(max(spacing)) * 0.8)
        bell = torch.exp(-away / (2 * sigma**2))
        nearest = tuple(round(float(c) / s) for c, s in zip(centre, spacing, strict=True))
        if all(0 <= i < n for i, n in zip(nearest, shape, strict=True)):
            bell[nearest] = 1.0
        heat[kind] = torch.maximum(heat[kind], bell)
        near = bell > 0.5
        size[0][near] = float(torch.log(torch.tensor(max(radius, 1.0) / 8.0)))
        weight[0][near] = 1.0
    return heat, size, weight


def focal_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """Penalty-reduced focal loss of CenterNet (Zhou et al. 2019), a centre's share each."""
    logits = logits.float()
    p = logits.sigmoid()
    centre = heat >= 1.0
    hit = functional.logsigmoid(logits) * (1 - p) ** 2 * centre
    miss = functional.logsigmoid(-logits) * p**2 * (1 - heat) ** 4 * ~centre
    return -(hit.sum() + miss.sum()) / centre.sum().clamp_min(1)
