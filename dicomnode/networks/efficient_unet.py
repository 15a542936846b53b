"""Outlines of organs on a radiograph: EfficientNet-Lite0 with the decoder of a U-Net.

Ronneberger, Fischer, Brox: U-Net: Convolutional Networks for Biomedical Image Segmentation,
MICCAI 2015 (arXiv:1505.04597); the encoder is Tan and Le's (see `efficientnet`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dicomnode.networks.efficientnet import EfficientNetLite0

__all__ = ["EfficientUNet"]


class EfficientUNet(nn.Module):
    """Logits `(N, segments, w, h)` of radiographs `(N, 1, w, h)` from 0 to 1.

    Axes are (column, row), as MONAI's; inside the network rows come first, because that is how
    the encoder's ImageNet weights know pictures. Both sides must be multiples of 32.

    Args:
        segments: sigmoid channels, which may overlap.
        decoder: channels after each step up, from 1/16 to 1/2 of the resolution.
        fused: batch norm is part of the convolutions, for inference only; see `fuse`.
    """

    def __init__(
        self,
        segments: int,
        *,
        decoder: Sequence[int] = (96, 64, 40, 32),
        fused: bool = False,
    ) -> None:
        super().__init__()
        self.segments, self.widths = segments, tuple(decoder)
        self.encoder = EfficientNetLite0(stages=6, fused=fused)
        *across, below = self.encoder.pyramid_channels
        steps: list[nn.Module] = []
        for beside, width in zip(reversed(across), decoder, strict=True):
            steps.append(_StepUp(below + beside, width, fused=fused))
            below = width
        self.decoder = nn.ModuleList(steps)
        # Each place at half the resolution answers for its four pixels.
        self.answer = nn.Sequential(
            nn.Conv2d(below, 4 * segments, 3, padding=1), nn.PixelShuffle(2)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        upright = ((image.transpose(2, 3) * 255 - 127) / 128).expand(-1, 3, -1, -1)
        *across, deep = self.encoder.pyramid(upright.contiguous(memory_format=torch.channels_last))
        for step, beside in zip(self.decoder, reversed(across), strict=True):
            deep = step(deep, beside)
        logits: Tensor = self.answer(deep)
        return logits.transpose(2, 3)

    def fuse(self) -> EfficientUNet:
        """Return the same network with each batch norm taken into its convolution."""
        fused = EfficientUNet(self.segments, decoder=self.widths, fused=True)
        fused.encoder.load_state_dict(self.encoder.fuse().state_dict())
        fused.answer.load_state_dict(self.answer.state_dict())
        weights: dict[str, Tensor] = {}
        for name, step in self.decoder.named_children():
            if isinstance(step, _StepUp):
                weights |= {f"{name}.{part}": value for part, value in step.fused().items()}
        fused.decoder.load_state_dict(weights)
        return fused.eval()


class _StepUp(nn.Module):
    """Doubles the resolution, joins what the encoder saw there, convolves twice."""

    def __init__(self, inputs: int, outputs: int, *, fused: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers += [
                nn.Conv2d(channels, outputs, 3, padding=1, bias=fused),
                nn.Identity() if fused else nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, deep: Tensor, beside: Tensor) -> Tensor:
        wide = functional.interpolate(deep, scale_factor=2.0, mode="nearest")
        joined: Tensor = self.layers(torch.cat([wide, beside], 1))
        return joined

    def fused(self) -> dict[str, Tensor]:
        """Return the weights with each batch norm taken into its convolution."""
        weights: dict[str, Tensor] = {}
        for at, (convolution, norm) in enumerate(pairwise(self.layers)):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                joined = fuse_conv_bn_eval(convolution.eval(), norm.eval())
                for part, value in joined.state_dict().items():
                    weights[f"layers.{at}.{part}"] = value
        return weights
