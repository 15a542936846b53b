"""Progressive holistically-nested network (P-HNN), for masks read bottom-up from local appearance.

Harrison, Xu, George, Lu, Summers, Mollura: Progressive and Multi-path Holistically Nested Neural
Networks for Pathological Lung Segmentation from CT Images, MICCAI 2017 (arXiv:1706.03702).
"""

from __future__ import annotations

from torch import Tensor

from dicomnode.networks.nested import NestedEncoder

__all__ = ["PHNN"]


class PHNN(NestedEncoder):
    """Logits at the input's own grid, refined stage by stage.

    The logits of stage m are its side output *plus the logits of stage m - 1*, so that every stage
    only has to correct what the stages before it said. All of them are supervised in training; the
    last is the result.

    Shapes: input `(N, in_channels, *spatial)`, where each spatial length is at least
    `2 ** (len(features) - 1)`. In training mode a list of `len(features)` tensors, in evaluation
    mode the last of them alone, each `(N, out_channels, *spatial)`. `out_channels` are classes,
    background included. Arguments are those of `NestedEncoder`.
    """

    def progressive_outputs(self, x: Tensor) -> list[Tensor]:
        """Return the logits after every stage: its own side output plus all earlier ones.

        Shape of each: `(N, out_channels, *spatial of x)`.
        """
        logits: list[Tensor] = []
        for own in self.side_outputs(x):
            logits.append(own if not logits else logits[-1] + own)
        return logits

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Return every stage's logits in training mode, the last stage's in evaluation mode."""
        outputs = self.progressive_outputs(x)
        return outputs if self.training else outputs[-1]
