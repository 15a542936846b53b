"""Running a 2D network over a volume slice by slice, with its neighbours as channels (2.5D)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from monai.inferers.inferer import Inferer
from torch import Tensor
from torch.nn import functional

from dicomnode.networks.hnn import soft_outputs
from dicomnode.networks.windows import body_box, in_bfloat16

__all__ = ["PLANES", "Plane", "SlabInferer"]

Plane = Literal["axial", "coronal", "sagittal"]

PLANES: dict[str, tuple[int, int, int]] = {
    "axial": (2, 1, 0),
    "coronal": (1, 2, 0),
    "sagittal": (0, 2, 1),
}
"""Axes of a volume `(x, y, z)` (right, front, head) as (slice, row, column) of each plane."""


class SlabInferer(Inferer):
    """Give a 2D network each slice with the slices at `offsets` as channels.

    Slices beyond the ends repeat the first or the last. The result is soft: with `mirrored`
    classes given, the network also reads the slice left-right mirrored, the classes are exchanged
    back, and the two are averaged.

    Args:
        offsets: slices relative to the one that is labelled, in slices of the working grid.
        multiple: in-plane size is padded at the end to a multiple of this.
        batch: slices a forward pass.
        pad_value: value of the padding, in the network's scale.
        mirrored: class order after a left-right mirror, or None. Not for sagittal slices.
        bfloat16: run the convolutions in bfloat16; None: where the device has instructions for it.
        plane: which slices of the upright working grid: `axial`, `coronal` or `sagittal`.
        classes: the first channels that exclude each other (softmax); those after them are
            boundaries (sigmoid). None: all exclude each other.
        body_above: values above this are body or table, in the network's scale; only the body's box
            is read then, and elsewhere class 0 is certain. None: everything is read.
        context: 0, or the slices that a network of consecutive slices (`WithContext`,
            `ThroughSlicesUNet`) is given on either side of a batch, so that it has heard of its
            neighbours where its result is kept.
    """

    def __init__(
        self,
        offsets: Sequence[int] = (-4, -1, 0, 1, 4),
        *,
        multiple: int = 16,
        batch: int = 8,
        pad_value: float = -1.0,
        mirrored: Sequence[int] | None = None,
        bfloat16: bool | None = False,
        plane: Plane = "axial",
        classes: int | None = None,
        context: int = 0,
        body_above: float | None = None,
    ) -> None:
        super().__init__()
        if plane not in PLANES:
            raise ValueError(f"plane is one of {', '.join(PLANES)}, not {plane!r}")
        if mirrored is not None and plane == "sagittal":
            raise ValueError("a sagittal slice has no left and right to mirror")
        self.offsets = tuple(offsets)
        self.multiple = multiple
        self.batch = batch
        self.pad_value = pad_value
        self.mirrored = None if mirrored is None else list(mirrored)
        self.bfloat16 = bfloat16
        self.axes = PLANES[plane]
        self.classes = classes
        self.context = context
        self.body_above = body_above

    def __call__(
        self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return probabilities `(N, C, x, y, z)` for a volume `(N, 1, x, y, z)`."""
        volumes = inputs.as_subclass(Tensor)
        return torch.stack([self._body(v[0], network, *args, **kwargs) for v in volumes])

    def _body(
        self, volume: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        """The whole volume, read where the body is."""
        box = None if self.body_above is None else body_box(volume, self.body_above)
        if box is None:
            return self._volume(volume, network, *args, **kwargs)
        inside = self._volume(volume[box], network, *args, **kwargs)
        result = inside.new_zeros((len(inside), *volume.shape))
        result[0] = 1.0
        result[(slice(None), *box)] = inside
        return result

    def _volume(
        self, volume: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        # slices, rows, columns, as in training
        stack = volume.permute(self.axes)
        count, rows, columns = stack.shape
        stack = functional.pad(
            stack, (0, -columns % self.multiple, 0, -rows % self.multiple), value=self.pad_value
        )
        parts = []
        for first in range(0, count, self.batch):
            last = min(first + self.batch, count)
            low, high = max(0, first - self.context), min(count, last + self.context)
            middle = torch.arange(low, high)
            slabs = torch.stack(
                [stack[(middle + o).clamp(0, count - 1)] for o in self.offsets], dim=1
            )
            p = self._probabilities(slabs, network, *args, **kwargs)
            if self.mirrored is not None:
                other = self._probabilities(slabs.flip(-1), network, *args, **kwargs)
                p = (p + other.flip(-1)[:, self.mirrored]) / 2
            parts.append(p[first - low : last - low, :, :rows, :columns])
        # (slice, channel, row, column) to (channel, x, y, z)
        back = [(0, 2, 3)[self.axes.index(axis)] for axis in range(3)]
        return torch.cat(parts).permute(1, *back).contiguous()

    def _probabilities(
        self, slabs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        slabs = slabs.contiguous(memory_format=torch.channels_last)
        with in_bfloat16(slabs.device, self.bfloat16):
            if self.context:
                logits = network(slabs[None], *args, **kwargs)[0]
            else:
                logits = network(slabs, *args, **kwargs)
        logits = logits.float()
        return soft_outputs(logits, logits.shape[1] if self.classes is None else self.classes)
