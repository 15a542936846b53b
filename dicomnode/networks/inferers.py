"""Running a 2D network over a volume slice by slice, with its neighbours as channels (2.5D)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers.inferer import Inferer
from torch import Tensor
from torch.nn import functional

__all__ = ["SlabInferer"]


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
        mirrored: class order after a left-right mirror, or None.
        bfloat16: run the convolutions in bfloat16.
    """

    def __init__(
        self,
        offsets: Sequence[int] = (-4, -1, 0, 1, 4),
        *,
        multiple: int = 16,
        batch: int = 8,
        pad_value: float = -1.0,
        mirrored: Sequence[int] | None = None,
        bfloat16: bool = False,
    ) -> None:
        super().__init__()
        self.offsets = tuple(offsets)
        self.multiple = multiple
        self.batch = batch
        self.pad_value = pad_value
        self.mirrored = None if mirrored is None else list(mirrored)
        self.bfloat16 = bfloat16

    def __call__(
        self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return probabilities `(N, C, x, y, z)` for a volume `(N, 1, x, y, z)`."""
        volumes = inputs.as_subclass(Tensor)
        return torch.stack([self._volume(v[0], network, *args, **kwargs) for v in volumes])

    def _volume(
        self, volume: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        x, y, z = volume.shape
        # rows are y and columns x, as in training
        stack = volume.permute(2, 1, 0)
        pad = (0, -x % self.multiple, 0, -y % self.multiple)
        stack = functional.pad(stack, pad, value=self.pad_value)
        parts = []
        for first in range(0, z, self.batch):
            middle = torch.arange(first, min(first + self.batch, z))
            slabs = torch.stack([stack[(middle + o).clamp(0, z - 1)] for o in self.offsets], dim=1)
            p = self._probabilities(slabs, network, *args, **kwargs)
            if self.mirrored is not None:
                other = self._probabilities(slabs.flip(-1), network, *args, **kwargs)
                p = (p + other.flip(-1)[:, self.mirrored]) / 2
            parts.append(p[..., :y, :x])
        return torch.cat(parts).permute(1, 3, 2, 0).contiguous()

    def _probabilities(
        self, slabs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        slabs = slabs.contiguous(memory_format=torch.channels_last)
        with torch.autocast(slabs.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits = network(slabs, *args, **kwargs)
        return logits.float().softmax(1)
