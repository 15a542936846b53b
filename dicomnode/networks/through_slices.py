"""A 2.5D UNet that hears, where its picture is small, what the slices around have to say."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets.basic_unet import BasicUNet
from torch import Tensor, nn

__all__ = ["ThroughSlices", "ThroughSlicesUNet"]


class ThroughSlices(nn.Module):
    """Add to each slice a linear mixture of its neighbours' features; begins as nothing added.

    Beyond the ends the first and the last slice repeat, as in `SlabInferer`.

    Shapes: `(N, S, channels, H, W)` to the same, S consecutive slices.
    """

    def __init__(self, channels: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        self.mix = nn.Conv2d((2 * reach + 1) * channels, channels, 1, bias=False)
        nn.init.zeros_(self.mix.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the slices with what their neighbours add."""
        count, slices = x.shape[:2]
        flat = x.flatten(0, 1)
        first = torch.arange(count, device=x.device)[:, None] * slices
        middle = torch.arange(slices, device=x.device)
        around = [
            flat[(first + (middle + step).clamp(0, slices - 1)).flatten()]
            for step in range(-self.reach, self.reach + 1)
        ]
        together = torch.cat(around, dim=1).contiguous(memory_format=torch.channels_last)
        return x + self.mix(together).unflatten(0, (count, slices))


class ThroughSlicesUNet(BasicUNet):
    """MONAI's 2D `BasicUNet` whose three lowest levels read consecutive slices together.

    A 1x1 convolution over slices at an eighth of the picture costs next to nothing and tells an
    organ that goes on from one that only looks alike. With mixtures of zero it is the
    `BasicUNet` of the same weights.

    Shapes: consecutive slices `(N, S, in_channels, H, W)` to logits `(N, S, out_channels, H, W)`;
    H and W multiples of 16. `SlabInferer` with `context` of the sum of `reach` gives it volumes,
    and how they are cut into batches then changes nothing.

    Args:
        reach: slices to either side that the third, fourth and fifth level read.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        features: Sequence[int],
        reach: Sequence[int] = (2, 3, 3),
    ) -> None:
        super().__init__(
            spatial_dims=2,
            in_channels=in_channels,
            out_channels=out_channels,
            features=features,
            norm="batch",
            act=("relu", {"inplace": True}),
        )
        self.across = nn.ModuleList(
            ThroughSlices(channels, slices)
            for channels, slices in zip(features[2:5], reach, strict=True)
        )

    def forward(self, x: Tensor, only: Tensor | None = None) -> Tensor:
        """Return logits, of the slices `only` (indices) if given: training needs no others."""
        slices = x.shape[:2]
        x0 = self.conv_0(x.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        levels = [x0, self.down_1(x0)]
        for down, across in zip((self.down_2, self.down_3, self.down_4), self.across, strict=True):
            mixed = across(down(levels[-1]).unflatten(0, slices))
            levels.append(mixed.flatten(0, 1))
        if only is not None:
            levels = [
                one.unflatten(0, slices)[:, only]
                .flatten(0, 1)
                .contiguous(memory_format=torch.channels_last)
                for one in levels
            ]
            slices = torch.Size((slices[0], len(only)))
        up = self.upcat_4(levels[4], levels[3])
        up = self.upcat_3(up, levels[2])
        up = self.upcat_2(up, levels[1])
        logits: Tensor = self.final_conv(self.upcat_1(up, levels[0]))
        return logits.unflatten(0, slices)
