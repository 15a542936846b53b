"""DenseNet-121 with weights of torchxrayvision in the place of `ThoraxReader`.

Cohen et al.: TorchXRayVision: A library of chest X-ray datasets and models, MIDL 2022
(arXiv:2111.00595). Its weights are not shipped: a site that may use them downloads them itself and
makes a bundle of them (docs/bundles.md). Nothing here needs that library.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from monai.networks.nets.densenet import DenseNet121
from torch import Tensor, nn
from torch.nn import functional

from dicomnode.networks.thorax import ThoraxReading

__all__ = ["XrvReader", "renamed"]

_MAPS = 64
_SIDE, _FULL = 224, 1024.0
_LAYER = re.compile(r"^(features\.denseblock\d+\.denselayer\d+)\.((?:norm|conv)[12]\..+)$")


def renamed(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dictionary of a torchxrayvision DenseNet under the names that `XrvReader` has.

    Raises:
        ValueError: it is no such dictionary.
    """
    weights: dict[str, Tensor] = {}
    for key, value in published.items():
        if key.startswith("features."):
            key_here = _LAYER.sub(r"\1.layers.\2", key)
            weights[f"network.{key_here}"] = value
        elif key.startswith("classifier."):
            weights[f"network.class_layers.out.{key.removeprefix('classifier.')}"] = value
        elif key != "op_threshs":
            raise ValueError(f"{key} is no part of a DenseNet of torchxrayvision")
    if "network.class_layers.out.weight" not in weights:
        raise ValueError("there is no classifier among the weights")
    return weights


class XrvReader(nn.Module):
    """Takes the input of `ThoraxReader`; knows no organs: heatmaps count everywhere.

    Args:
        classes: as many as the weights have, 18 for the published ones.
    """

    def __init__(self, classes: int = 18) -> None:
        super().__init__()
        self.network = DenseNet121(spatial_dims=2, in_channels=1, out_channels=classes)

    def forward(self, image: Tensor) -> ThoraxReading:
        """Return logits, heatmaps (classifier's weights x activations), and no organs."""
        upright = image.transpose(2, 3).float()
        small = functional.interpolate(
            upright, (_SIDE, _SIDE), mode="bilinear", antialias=True, align_corners=False
        )
        # The scale that these weights were trained on.
        activations = torch.relu(self.network.features((2 * small - 1) * _FULL))
        out = self.network.get_submodule("class_layers.out")
        if not isinstance(out, nn.Linear):
            raise TypeError("the network's classifier is not linear")
        maps = torch.einsum("cd,ndhw->nchw", out.weight, activations)
        wide = functional.interpolate(maps.float(), (_MAPS, _MAPS), mode="bilinear")
        organs = torch.ones(len(image), 3, _MAPS, _MAPS, device=image.device)
        organs[:, 0] = 0
        return {
            "logits": out(activations.mean((2, 3))),
            "heatmaps": wide.transpose(2, 3),
            "organs": organs,
            "ratio": torch.full((len(image),), torch.nan, device=image.device),
        }
