"""The head of ChestX-ray8: transition, global pooling, prediction; heatmaps from its weights.

Wang, Peng, Lu, Lu, Bagheri, Summers: ChestX-ray8: Hospital-scale Chest X-ray Database and
Benchmarks on Weakly-Supervised Classification and Localization of Common Thorax Diseases,
CVPR 2017 (arXiv:1705.02315).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dicomnode.networks.pooling import PyramidPool, global_pooling

__all__ = ["ChestXray8Head", "ChestXray8Net"]


class ChestXray8Head(nn.Module):
    """Logits of several labels at once, `(N, C)`, from a backbone's feature maps `(N, F, h, w)`.

    The transition layer (1 x 1 convolution, ReLU) turns any backbone's channels into
    `transition` ones; these are pooled over all places, and the prediction layer is linear.
    So each class has a heatmap: the activations weighted with its prediction weights.

    Args:
        in_channels: F, of the backbone.
        classes: C.
        transition: channels after the transition layer; None leaves it out.
        pooling: `lse`, `max` or `average`, as in the paper; or `pyramid`.
        r: of `lse`.
        grids: of `pyramid`.
        extras: numbers a picture that join the pooled activations, e.g. a cardiothoracic ratio.
        dropout: share of pooled activations left out in training.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        transition: int | None = 256,
        pooling: str = "lse",
        r: float = 10.0,
        grids: Sequence[int] = (4, 5, 6),
        extras: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.transition: nn.Module = nn.Identity()
        if transition is not None:
            self.transition = nn.Sequential(nn.Conv2d(in_channels, transition, 1), nn.ReLU())
        self.pooling = global_pooling(pooling, r, grids)
        self.dropout = nn.Dropout(dropout)
        places = self.pooling.places if isinstance(self.pooling, PyramidPool) else 1
        self._mapped = (in_channels if transition is None else transition) * places
        self.prediction = nn.Linear(self._mapped + extras, classes)
        self._extras = extras

    def forward(self, features: Tensor, extras: Tensor | None = None) -> Tensor:
        """Return the logits `(N, C)`; `extras` is `(N, extras)`, needed if there are any."""
        return self.predict(self.transition(features), extras)

    def predict(self, activations: Tensor, extras: Tensor | None = None) -> Tensor:
        """Return the logits of what the transition layer gave.

        Raises:
            ValueError: extras are missing, or are given where none are expected.
        """
        if (extras is None) != (self._extras == 0):
            raise ValueError(f"the head was made for {self._extras} extra numbers a picture")
        pooled = self.pooling(activations)
        if extras is not None:
            pooled = torch.cat((pooled, extras.to(pooled.dtype)), 1)
        logits: Tensor = self.prediction(self.dropout(pooled))
        return logits

    def heatmaps(self, activations: Tensor) -> Tensor:
        """Return `(N, C, h, w)`: activations weighted with the prediction layer's weights.

        With average pooling their mean over all places, plus the bias, is the logit.
        """
        weights = self.prediction.weight[:, : self._mapped].to(activations.dtype)
        if isinstance(self.pooling, PyramidPool):
            return self.pooling.spread(weights, activations)
        return torch.einsum("cd,ndhw->nchw", weights, activations)


class ChestXray8Net(nn.Module):
    """Backbone and head. In training mode logits, in evaluation mode logits and heatmaps too.

    Args:
        backbone: gives `(N, F, h, w)`.
        head: made for F channels.
    """

    def __init__(self, backbone: nn.Module, head: ChestXray8Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits `(N, C)`."""
        logits: Tensor = self.head(self.backbone(image))
        return logits

    def read(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits `(N, C)` and heatmaps `(N, C, h, w)`."""
        activations = self.head.transition(self.backbone(image))
        return self.head.predict(activations), self.head.heatmaps(activations)
