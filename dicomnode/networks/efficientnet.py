"""EfficientNet-Lite0 as a backbone: feature maps, no classifier.

Tan, Le: EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019
(arXiv:1905.11946). The Lite variants leave out squeeze-and-excitation and use ReLU6, which suits
processors without a GPU. Padding is TensorFlow's "same", as the published ImageNet weights want.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["EfficientNetLite0"]

_STAGES = (
    # expansion, channels, blocks, stride, kernel
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_TRUNK_STAGES = 5
_EPSILON, _MOMENTUM = 1e-3, 0.01


class EfficientNetLite0(nn.Module):
    """Feature maps `(N, 1280, h / 32, w / 32)` of images `(N, 3, h, w)`.

    Images are scaled as the ImageNet weights expect: (x - 127) / 128 for x from 0 to 255.
    `trunk` and `crown` are its two halves, so that what the trunk gives can be cached while only
    the crown is trained.

    Args:
        trunk_only: leave the crown out; `forward` is then `trunk`.
        stages: how many of the seven; fewer than all leave the last convolution out too, for
            `pyramid`.
        fused: batch norm is part of the convolutions, for inference only; see `fuse`.
    """

    out_channels = 1280
    trunk_channels = 112

    def __init__(
        self, *, trunk_only: bool = False, fused: bool = False, stages: int = len(_STAGES)
    ) -> None:
        super().__init__()
        self.trunk_only = trunk_only
        self.fused = fused
        self._stages = stages = _TRUNK_STAGES if trunk_only else stages
        self.stem = _Convolution(3, 32, kernel=3, stride=2, fused=fused)
        blocks: list[nn.Module] = []
        channels = 32
        trunk = 0
        levels: list[tuple[int, int]] = []
        for number, (expansion, width, depth, stride, kernel) in enumerate(_STAGES[:stages]):
            if stride > 1:
                levels.append((len(blocks), channels))
            for index in range(depth):
                step = stride if index == 0 else 1
                blocks.append(
                    _Block(channels, width, expansion, kernel=kernel, stride=step, fused=fused)
                )
                channels = width
            if number == _TRUNK_STAGES - 1:
                trunk = len(blocks)
        self.blocks = nn.ModuleList(blocks)
        self._trunk_blocks = trunk
        self._levels = [end for end, _ in levels] + [len(blocks)]
        self.pyramid_channels = [width for _, width in levels] + [channels]
        """Of what `pyramid` gives."""
        if stages == len(_STAGES):
            self.head = _Convolution(channels, self.out_channels, kernel=1, fused=fused)

    def trunk(self, image: Tensor) -> Tensor:
        """Return `(N, 112, h / 16, w / 16)`: the first five stages."""
        features: Tensor = self.stem(image)
        for block in self.blocks[: self._trunk_blocks]:
            features = block(features)
        return features

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """Return the last features at each resolution, from a half down, before the crown's end."""
        features: Tensor = self.stem(image)
        levels: list[Tensor] = []
        start = 0
        for end in self._levels:
            for block in self.blocks[start:end]:
                features = block(features)
            levels.append(features)
            start = end
        return levels

    def crown(self, features: Tensor) -> Tensor:
        """Return `(N, 1280, h / 32, w / 32)` of what `trunk` gave."""
        for block in self.blocks[self._trunk_blocks :]:
            features = block(features)
        deep: Tensor = self.head(features)
        return deep

    def forward(self, image: Tensor) -> Tensor:
        """Return the feature maps."""
        features = self.trunk(image)
        return features if self.trunk_only else self.crown(features)

    def load_imagenet(self, published: Mapping[str, Tensor]) -> None:
        """Take over the published ImageNet weights (`efficientnet-lite0-*.pth`).

        Raises:
            ValueError: they are not those of this network.
        """
        own = self.state_dict()
        renamed = {_renamed(key): value for key, value in published.items()}
        renamed = {key: value for key, value in renamed.items() if key in own}
        if renamed.keys() != own.keys():
            raise ValueError("these are not the weights of EfficientNet-Lite0")
        self.load_state_dict(renamed)

    def fuse(self) -> EfficientNetLite0:
        """Return the same network with each batch norm taken into its convolution."""
        fused = EfficientNetLite0(trunk_only=self.trunk_only, fused=True, stages=self._stages)
        weights: dict[str, Tensor] = {}
        for name, layer in self.named_modules():
            if isinstance(layer, _Convolution):
                norm = layer.norm.eval()
                if not isinstance(norm, nn.BatchNorm2d):
                    raise TypeError("the network has been fused before")
                joined = fuse_conv_bn_eval(layer.convolution.eval(), norm)
                for part, value in joined.state_dict().items():
                    weights[f"{name}.convolution.{part}"] = value
        fused.load_state_dict(weights)
        return fused.eval()


def _renamed(key: str) -> str:
    for theirs, ours in (
        ("_conv_stem.", "stem.convolution."),
        ("_bn0.", "stem.norm."),
        ("_conv_head.", "head.convolution."),
        ("_bn1.", "head.norm."),
    ):
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    for theirs, ours in (
        ("_blocks.", "blocks."),
        ("_expand_conv.", "expand.convolution."),
        ("_bn0.", "expand.norm."),
        ("_depthwise_conv.", "depthwise.convolution."),
        ("_bn1.", "depthwise.norm."),
        ("_project_conv.", "project.convolution."),
        ("_bn2.", "project.norm."),
    ):
        key = key.replace(theirs, ours)
    return key


class _Convolution(nn.Module):
    """Convolution, batch norm and, unless it is linear, ReLU6."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        linear: bool = False,
        fused: bool = False,
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            inputs,
            outputs,
            kernel,
            stride,
            padding=kernel // 2 if stride == 1 else 0,
            groups=groups,
            bias=fused,
        )
        self.norm: nn.Module = (
            nn.Identity() if fused else nn.BatchNorm2d(outputs, eps=_EPSILON, momentum=_MOMENTUM)
        )
        self._linear = linear
        self._kernel, self._stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        if self._stride > 1:
            # TensorFlow's "same": what does not divide goes to the bottom and the right.
            x = functional.pad(x, [*_same(x.shape[3], self), *_same(x.shape[2], self)])
        x = self.norm(self.convolution(x))
        return x if self._linear else functional.relu6(x)


def _same(length: int, layer: _Convolution) -> tuple[int, int]:
    kernel, stride = layer._kernel, layer._stride
    total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


class _Block(nn.Module):
    """Inverted residual: expand, depthwise, project."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        expansion: int,
        *,
        kernel: int,
        stride: int,
        fused: bool,
    ) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = _Convolution(inputs, wide, kernel=1, fused=fused) if expansion > 1 else None
        self.depthwise = _Convolution(
            wide, wide, kernel=kernel, stride=stride, groups=wide, fused=fused
        )
        self.project = _Convolution(wide, outputs, kernel=1, linear=True, fused=fused)
        self._residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        deep = x if self.expand is None else self.expand(x)
        deep = self.project(self.depthwise(deep))
        return torch.add(x, deep) if self._residual else deep
