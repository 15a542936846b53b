"""The encoder of holistically-nested networks: a VGG-like stack, a side output at each stage."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.blocks.convolutions import Convolution
from monai.networks.layers.factories import Conv, Pool
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["NestedEncoder"]

_LINEAR = {2: "bilinear", 3: "trilinear"}


class NestedEncoder(nn.Module):
    """Stages of convolutions, each after the first on half the grid, each with a side output.

    A side output is a 1x1 convolution to `out_channels`, enlarged to the input's grid
    (Xie and Tu: Holistically-Nested Edge Detection, ICCV 2015, arXiv:1504.06375). What becomes of
    the side outputs is up to the networks built on it: `HNN`, `PHNN`.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image; for slabs (2.5D), the neighbouring slices.
        out_channels: channels of every side output.
        features: channels of each stage; each stage after the first halves the grid.
        convolutions: convolutions in each stage (VGG-16 has 2, 2, 3, 3, 3).
        norm: MONAI's normalisation layer.
        act: MONAI's activation layer.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        features: Sequence[int] = (16, 32, 64, 96, 128),
        convolutions: Sequence[int] = (2, 2, 2, 2, 2),
        norm: str | tuple[str, dict[str, object]] = "batch",
        act: str | tuple[str, dict[str, object]] = "relu",
    ) -> None:
        super().__init__()
        if spatial_dims not in _LINEAR:
            raise ValueError(f"spatial_dims must be 2 or 3, not {spatial_dims}")
        if not features or len(features) != len(convolutions):
            raise ValueError("features and convolutions must be equally long and not empty")
        self.spatial_dims = spatial_dims
        self.pool = Pool[Pool.MAX, spatial_dims](kernel_size=2, ceil_mode=True)
        self.stages = nn.ModuleList()
        self.sides = nn.ModuleList()
        channels = in_channels
        for width, depth in zip(features, convolutions, strict=True):
            layers = []
            for _ in range(depth):
                layers.append(
                    Convolution(spatial_dims, channels, width, norm=norm, act=act, bias=False)
                )
                channels = width
            self.stages.append(nn.Sequential(*layers))
            self.sides.append(Conv[Conv.CONV, spatial_dims](width, out_channels, kernel_size=1))

    def side_outputs(self, x: Tensor) -> list[Tensor]:
        """Return each stage's own contribution.

        Shape of each: `(N, out_channels, *spatial of x)`.
        """
        size = x.shape[2:]
        mode = _LINEAR[self.spatial_dims]
        own = []
        for index, (stage, side) in enumerate(zip(self.stages, self.sides, strict=True)):
            x = stage(x if index == 0 else self.pool(x))
            logits = side(x)
            if logits.shape[2:] != size:
                logits = functional.interpolate(logits, size=size, mode=mode, align_corners=False)
            own.append(logits)
        return own
