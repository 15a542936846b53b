"""The plain U-Net of nnU-Net, so that its weights can be loaded without nnU-Net.

Isensee et al., nnU-Net, Nature Methods 18, 2021. Parts carry the names that nnU-Net's weights have.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["PlainUNet", "own_weights"]

Size = Sequence[int]


def _three(size: Size) -> tuple[int, int, int]:
    first, second, third = size
    return first, second, third


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: Size, stride: Size) -> None:
        super().__init__()
        half = _three([(n - 1) // 2 for n in kernel])
        self.conv = nn.Conv3d(inputs, outputs, _three(kernel), _three(stride), half)
        self.norm = nn.InstanceNorm3d(outputs, eps=1e-5, affine=True)
        self.nonlin = nn.LeakyReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        done: Tensor = self.nonlin(self.norm(self.conv(x)))
        return done


class _Stack(nn.Module):
    def __init__(self, count: int, inputs: int, outputs: int, kernel: Size, stride: Size) -> None:
        super().__init__()
        blocks = [_Block(inputs, outputs, kernel, stride)]
        blocks += [_Block(outputs, outputs, kernel, (1, 1, 1)) for _ in range(count - 1)]
        self.convs = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        done: Tensor = self.convs(x)
        return done


class _Encoder(nn.Module):
    def __init__(self, stages: Sequence[_Stack]) -> None:
        super().__init__()
        self.stages = nn.Sequential(*(nn.Sequential(stage) for stage in stages))


class _Decoder(nn.Module):
    def __init__(
        self, stages: Sequence[_Stack], ups: Sequence[nn.Module], heads: Sequence[nn.Module]
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.transpconvs = nn.ModuleList(ups)
        self.seg_layers = nn.ModuleList(heads)


class PlainUNet(nn.Module):
    """Logits at the input's own grid, as nnU-Net's `PlainConvUNet` gives them.

    nnU-Net reads arrays as (z, y, x), perhaps with axes exchanged; here volumes are (x, y, z), so
    `axes` says which of them are the network's first, second and third.

    Args:
        in_channels, out_channels: of image and logits, background included.
        features: channels of each stage.
        kernels, strides: of each stage, along the network's axes.
        encoder_convs, decoder_convs: convolutions in each stage; the deepest has no decoder.
        axes: a permutation of (0, 1, 2).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        features: Sequence[int],
        kernels: Sequence[Size],
        strides: Sequence[Size],
        encoder_convs: Sequence[int],
        decoder_convs: Sequence[int],
        axes: Sequence[int] = (2, 1, 0),
    ) -> None:
        super().__init__()
        if sorted(axes) != [0, 1, 2]:
            raise ValueError(f"axes are a permutation of 0, 1, 2, not {list(axes)}")
        stages, channels = [], in_channels
        for width, kernel, stride, count in zip(
            features, kernels, strides, encoder_convs, strict=True
        ):
            stages.append(_Stack(count, channels, width, kernel, stride))
            channels = width
        self.encoder = _Encoder(stages)
        ups: list[nn.Module] = []
        back: list[_Stack] = []
        heads: list[nn.Module] = []
        for level, count in enumerate(decoder_convs, start=1):
            below, skip = features[-level], features[-level - 1]
            step = _three(strides[-level])
            ups.append(nn.ConvTranspose3d(below, skip, step, step))
            back.append(_Stack(count, 2 * skip, skip, kernels[-level - 1], (1, 1, 1)))
            heads.append(nn.Conv3d(skip, out_channels, 1))
        self.decoder = _Decoder(back, ups, heads)
        self.axes = tuple(axes)
        self.back = tuple(self.axes.index(n) for n in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `(N, out_channels, x, y, z)` of `(N, in_channels, x, y, z)`."""
        x = x.permute(0, 1, *(axis + 2 for axis in self.axes))
        skips = []
        for stage in self.encoder.stages:
            x = stage(x)
            skips.append(x)
        parts = zip(self.decoder.transpconvs, self.decoder.stages, skips[-2::-1], strict=True)
        for up, stack, skip in parts:
            x = stack(torch.cat((up(x), skip), 1))
        logits: Tensor = self.decoder.seg_layers[-1](x)
        return logits.permute(0, 1, *(axis + 2 for axis in self.back))


def own_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights without those that nnU-Net lists twice under other names."""
    return {
        name: value
        for name, value in weights.items()
        if ".all_modules." not in name and not name.startswith("decoder.encoder.")
    }
