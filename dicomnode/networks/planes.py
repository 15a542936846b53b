"""2.5D in three planes: axial, coronal and sagittal probabilities fused by a learned combiner.

Roth et al., MICCAI 2016 (arXiv:1606.07830) aggregate the three directions' probabilities; there by
maximum and a random forest, here by a small network that begins as their geometric mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from monai.inferers.inferer import Inferer
from torch import Tensor, nn

from dicomnode.networks.inferers import PLANES, Plane, SlabInferer

__all__ = ["PlaneCombiner", "ThreePlaneInferer", "ThreePlaneNetwork"]

_LEAST = 1e-4


class PlaneCombiner(nn.Module):
    """Logits of the interior from the probabilities of several planes.

    The weighted sum of log probabilities, a weight a plane and class (together the geometric mean
    before training), plus what a small 3D network reads from all planes' channels, boundaries
    included, in the neighbourhood (nothing before training).

    Shapes: `(N, planes * channels, x, y, z)`, plane by plane, to `(N, classes, x, y, z)`.

    Args:
        planes: how many.
        classes: of the interior, background included; they come first among the channels.
        channels: channels of a plane; None: as many as classes.
        hidden: width of the small network.
    """

    def __init__(
        self, planes: int, classes: int, *, channels: int | None = None, hidden: int = 8
    ) -> None:
        super().__init__()
        self.planes, self.classes = planes, classes
        self.channels = channels or classes
        self.weights = nn.Parameter(torch.full((planes, classes), 1 / planes))
        last = nn.Conv3d(hidden, classes, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.around = nn.Sequential(
            nn.Conv3d(planes * self.channels, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv3d(hidden, hidden, 3, padding=1),
            nn.ReLU(),
            last,
        )

    def forward(self, probabilities: Tensor) -> Tensor:
        """Return the fused logits."""
        each = probabilities.unflatten(1, (self.planes, self.channels))
        logs = each[:, :, : self.classes].clamp(min=_LEAST).log()
        mean = (logs * self.weights[None, :, :, None, None, None]).sum(1)
        correction: Tensor = self.around(probabilities)
        return mean + correction


class ThreePlaneNetwork(nn.Module):
    """One 2D network a plane and what fuses them, as one module with one file of weights.

    It is run by `ThreePlaneInferer`; the planes are trained one by one, then the combiner on
    what they say of volumes they were not trained on.
    """

    def __init__(
        self, axial: nn.Module, coronal: nn.Module, sagittal: nn.Module, combiner: nn.Module
    ) -> None:
        super().__init__()
        self.planes = nn.ModuleDict({"axial": axial, "coronal": coronal, "sagittal": sagittal})
        self.combiner = combiner

    def forward(self, probabilities: Tensor) -> Tensor:
        """Return the fused logits of the three planes' probabilities; see `PlaneCombiner`."""
        fused: Tensor = self.combiner(probabilities)
        return fused


class ThreePlaneInferer(Inferer):
    """Read an upright volume in three planes and fuse what they say.

    Args:
        classes: of the interior, background included.
        slabs: how the planes are read: arguments of `SlabInferer`, but `plane` and `classes`.
        slab: voxels along z that are fused at a time: bounds the memory.
        margin: voxels the combiner sees on either side of that.
    """

    def __init__(
        self,
        classes: int,
        *,
        slabs: dict[str, Any] | None = None,
        slab: int = 32,
        margin: int = 2,
    ) -> None:
        super().__init__()
        self.inferers = {
            name: SlabInferer(plane=cast("Plane", name), classes=classes, **(slabs or {}))
            for name in PLANES
        }
        self.classes = classes
        self.slab, self.margin = slab, margin

    def planes(self, inputs: Tensor, networks: Any) -> Tensor:
        """Return the planes' probabilities, `(N, 3 * channels, x, y, z)`, axial first."""
        return torch.cat(
            [inferer(inputs, networks[name]) for name, inferer in self.inferers.items()], dim=1
        )

    def __call__(
        self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return fused probabilities `(N, classes, x, y, z)` for a volume `(N, 1, x, y, z)`.

        `network` is a `ThreePlaneNetwork`.
        """
        said = self.planes(inputs, cast("ThreePlaneNetwork", network).planes)
        depth = said.shape[-1]
        parts: list[Tensor] = []
        for first in range(0, depth, self.slab):
            low, high = max(0, first - self.margin), min(depth, first + self.slab + self.margin)
            fused = network(said[..., low:high], *args, **kwargs).float().softmax(1)
            parts.append(fused[..., first - low : min(first + self.slab, depth) - low])
        return torch.cat(parts, dim=-1)
