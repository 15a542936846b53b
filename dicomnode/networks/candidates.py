"""Candidates of high recall: 3D scale space features and a small network at every point.

Training is a matter of seconds: the filters are fixed, Gaussians and their derivatives at several
scales, whose eigenvalues tell balls from tubes and plates (Sato et al. 1998, Frangi et al. 1998);
the network of 1 x 1 x 1 convolutions behind them is learned.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers.convutils import gaussian_1d
from torch import Tensor, nn
from torch.nn import functional

from dicomnode.networks.views import two_windows

__all__ = ["CandidateNet", "ScaleSpace", "heat_of"]

AIR = -1024.0
_WIDTHS = (0.6, 1.0, 1.6, 2.6, 4.2)
"""Standard deviations, in voxels of the coarse grid."""
_SHAPED = 4
"""Levels whose derivatives are taken."""


class ScaleSpace(nn.Module):
    """Fixed features of HU `(n, 1, x, y, z)` at every second voxel: `(n, count, x/2, y/2, z/2)`.

    In two windows each: least and greatest of the voxels that are pooled; the value at every scale;
    at the finer ones also the gradient's length and the three eigenvalues of the Hessian matrix,
    times the scale's width.
    """

    stride = 2
    count = 2 * (2 + len(_WIDTHS) + 4 * _SHAPED)

    def forward(self, hu: Tensor) -> Tensor:
        """Features, see the class."""
        fine = two_windows(hu, 1)
        told = [-functional.max_pool3d(-fine, 2), functional.max_pool3d(fine, 2)]
        base = functional.avg_pool3d(fine, 2)
        for level, width in enumerate(_WIDTHS):
            smooth = _smoothed(base, width)
            told.append(smooth)
            if level < _SHAPED:
                told += _shape_of(smooth, width)
        return torch.cat(told, 1)


def _smoothed(image: Tensor, width: float) -> Tensor:
    kernel = gaussian_1d(torch.tensor(width), truncated=3.0).to(image)
    reach = len(kernel) // 2
    n, c = image.shape[:2]
    out = image.reshape(n * c, 1, *image.shape[2:])
    for axis in range(3):
        shape, pad = [1, 1, 1, 1, 1], [0] * 6
        shape[2 + axis] = len(kernel)
        pad[2 * (2 - axis)] = pad[2 * (2 - axis) + 1] = reach
        out = functional.conv3d(functional.pad(out, pad, mode="replicate"), kernel.reshape(shape))
    return out.reshape(image.shape)


def _shape_of(image: Tensor, width: float) -> list[Tensor]:
    """Length of the gradient, then the Hessian's eigenvalues from the greatest to the least."""
    first = torch.gradient(image, dim=(2, 3, 4))
    slope = width * torch.stack(list(first)).norm(dim=0)
    second = {}
    for i in range(3):
        for j, part in enumerate(torch.gradient(first[i], dim=(2, 3, 4))):
            if j >= i:
                second[i, j] = part * width**2
    return [slope, *_eigenvalues(second)]


def _eigenvalues(m: dict[tuple[int, int], Tensor]) -> list[Tensor]:
    """Of symmetric 3 x 3 matrices, in closed form (Smith 1961)."""
    mean = (m[0, 0] + m[1, 1] + m[2, 2]) / 3
    a, b, c = m[0, 0] - mean, m[1, 1] - mean, m[2, 2] - mean
    d, e, f = m[0, 1], m[0, 2], m[1, 2]
    spread = torch.sqrt((a * a + b * b + c * c + 2 * (d * d + e * e + f * f)) / 6 + 1e-12)
    determinant = a * (b * c - f * f) - d * (d * c - f * e) + e * (d * f - b * e)
    angle = torch.acos((determinant / (2 * spread**3)).clamp(-1, 1)) / 3
    greatest = mean + 2 * spread * torch.cos(angle)
    least = mean + 2 * spread * torch.cos(angle + 2 * torch.pi / 3)
    return [greatest, 3 * mean - greatest - least, least]


class CandidateNet(nn.Module):
    """Scale space features, then a small network at every point.

    Takes HU `(n, 1, x, y, z)`, sides multiples of 2; gives logits `(n, kinds + 1, x/2, y/2, z/2)`:
    a heatmap for each type, and last the logarithm of the radius in millimetres over 8 mm.
    """

    stride = ScaleSpace.stride
    multiple = ScaleSpace.stride

    def __init__(self, kinds: int, hidden: Sequence[int] = (64, 32)) -> None:
        super().__init__()
        self.kinds = kinds
        self.features = ScaleSpace()
        self.register_buffer("mean", torch.zeros(ScaleSpace.count))
        self.register_buffer("spread", torch.ones(ScaleSpace.count))
        layers: list[nn.Module] = []
        before = ScaleSpace.count
        for width in hidden:
            layers += [nn.Conv3d(before, width, 1), nn.ReLU(inplace=True)]
            before = width
        self.decide = nn.Sequential(*layers, nn.Conv3d(before, kinds + 1, 1))

    def forward(self, hu: Tensor) -> Tensor:
        """Logits, see the class."""
        return self.judged(self.features(hu))

    def judged(self, features: Tensor) -> Tensor:
        """Logits of features `(n, count, x, y, z)`."""
        shape = (1, -1, 1, 1, 1)
        mean, spread = self.get_buffer("mean"), self.get_buffer("spread")
        logits: Tensor = self.decide((features - mean.reshape(shape)) / spread.reshape(shape))
        return logits


def heat_of(network: CandidateNet, hu: Tensor, *, slab: int = 96, margin: int = 36) -> Tensor:
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
