"""Running a 3D network over a volume in one piece, for volumes that are small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from monai.inferers.inferer import Inferer
from torch import Tensor
from torch.nn import functional

from dicomnode.networks.windows import in_bfloat16

__all__ = ["WholeInferer"]


class WholeInferer(Inferer):
    """Probabilities of a 3D network that is shown the whole volume at once.

    For a region found before (`RegionInferer`): a window that ends within it would be read as if
    an organ that lies outside of the window were to be found inside.

    Args:
        multiple: each side is padded at its end to a multiple of this.
        pad_value: value of the padding, in the network's scale.
        bfloat16: run the network in bfloat16; None: where the device has instructions for it.
    """

    def __init__(
        self, *, multiple: int = 16, pad_value: float = -1.5, bfloat16: bool | None = None
    ) -> None:
        super().__init__()
        self.multiple, self.pad_value, self.bfloat16 = multiple, pad_value, bfloat16

    def __call__(
        self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return probabilities `(N, classes, x, y, z)` for a volume `(N, C, x, y, z)`."""
        volume = inputs.as_subclass(Tensor)
        shape = volume.shape[2:]
        pad = [side for n in reversed(shape) for side in (0, -n % self.multiple)]
        padded = functional.pad(volume, pad, value=self.pad_value)
        with in_bfloat16(volume.device, self.bfloat16):
            logits = network(padded, *args, **kwargs)
        x, y, z = shape
        return logits[..., :x, :y, :z].float().softmax(1)
