"""Reading a frontal chest radiograph: heart and lungs, then diseases, each with a heatmap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import torch
from monai.networks.nets.basic_unet import BasicUNet
from torch import Tensor, nn
from torch.nn import functional

from dicomnode.networks.chestxray8 import ChestXray8Head, ChestXray8Net
from dicomnode.networks.efficientnet import EfficientNetLite0
from dicomnode.networks.lung_bases import LungBases
from dicomnode.networks.pooling import LogSumExpPool
from dicomnode.networks.quantiles import quantiles_at_ends
from dicomnode.networks.thorax_geometry import (
    GEOMETRY,
    Place,
    geometry_of,
    largest_parts,
    thorax_place,
)

__all__ = ["ChestXray8Reader", "FocusMap", "Seen", "ThoraxReader", "ThoraxReading"]

_MAPS = 64
"""Side of heatmaps and organs, on the input's field."""


class ThoraxReading(TypedDict):
    """What `ThoraxReader` gives; axes of maps are (column, row), as MONAI's."""

    logits: Tensor
    """(N, classes)."""
    heatmaps: Tensor
    """(N, classes, 64, 64), over the whole field of the input."""
    organs: Tensor
    """(N, 3, 64, 64): probabilities of heart, right lung, left lung."""
    ratio: Tensor
    """(N,): cardiothoracic ratio."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What `ThoraxReader` sees in N pictures before it reads; rows before columns."""

    organs: Tensor
    """(N, 3, h, w), over the whole picture."""
    place: Place
    """The square around the thorax."""
    features: Tensor
    """(N, C, s, s): the trunk's, of that square."""
    cut_organs: Tensor
    """(N, 3, s, s): organs in that square."""
    geometry: Tensor
    """(N, len(GEOMETRY)), unscaled."""
    opacity: Tensor
    """(N, 1, s, s): the map learned from boxes, of that square."""
    bases: Tensor | None
    """(2 N, C, b, b): the trunk's, of the right bases, then of the left ones mirrored."""


class FocusMap(nn.Module):
    """A logit for each place, from its features, its surroundings, and where it lies.

    Learned from boxes rather than from labels of whole images. Input: features `(N, C, h, w)` and
    organs `(N, 3, h, w)` of the same field.
    """

    def __init__(self, channels: int, *, around: int = 7, r: float = 4.0) -> None:
        super().__init__()
        self.around = around
        self.answer = nn.Conv2d(3 * channels + 3 + 5, 1, 1)
        self.pooling = LogSumExpPool(r)

    def inputs(self, features: Tensor, organs: Tensor) -> Tensor:
        """Return `(N, 3 C + 8, h, w)`: what the logit of each place is linear in."""
        around = functional.avg_pool2d(
            features, self.around, 1, self.around // 2, count_include_pad=False
        )
        whole = features.mean((2, 3), keepdim=True).expand_as(features)
        rows, columns = (
            torch.linspace(-1, 1, n, device=features.device) for n in features.shape[2:]
        )
        row, column = torch.meshgrid(rows, columns, indexing="ij")
        place = torch.stack([row, column, row * row, column * column, column.abs()])
        place = place[None].expand(len(features), -1, -1, -1)
        return torch.cat([features, around, whole, organs, place], 1)

    def forward(self, features: Tensor, organs: Tensor) -> Tensor:
        """Return the map `(N, 1, h, w)`."""
        found: Tensor = self.answer(self.inputs(features, organs))
        return found

    def pooled(self, found: Tensor, organs: Tensor) -> Tensor:
        """Return `(N, 1)`: log-sum-exp of the map, what lies outside the lungs lowered."""
        lungs = organs[:, 1:].amax(1, keepdim=True)
        near = functional.max_pool2d((lungs > 0.3).float(), 5, 1, 2)
        pooled: Tensor = self.pooling(found - 2 * (1 - near))
        return pooled


class ThoraxReader(nn.Module):
    """Finds heart and lungs, cuts the thorax out, reads it.

    Input: `(N, 1, 512, 512)`, axes (column, row), 0 to 1, the radiograph's aspect kept and its
    longer side filling the field. The last class is the one learned from boxes (`focus`); the
    others come from `head`, which sees the trunk's features and the thorax's geometry.

    Args:
        classes: of `head`.
        cut: side of the square cut out around the thorax, in pixels.
        grids: of the head's pyramid.
        bases_for: number of the class that is told from the lungs' bases instead; None: none is.
    """

    def __init__(
        self,
        classes: int = 14,
        *,
        cut: int = 512,
        grids: tuple[int, ...] = (4, 5, 6),
        bases_for: int | None = None,
    ) -> None:
        super().__init__()
        self.cut = cut
        self.bases_for = bases_for
        self.organs = BasicUNet(
            spatial_dims=2,
            in_channels=1,
            out_channels=3,
            features=(16, 32, 64, 128, 128, 16),
            act=("LeakyReLU", {"negative_slope": 0.1, "inplace": True}),
            norm="batch",
            upsample="deconv",
        )
        self.backbone = EfficientNetLite0(trunk_only=True, fused=True)
        channels = self.backbone.trunk_channels
        self.head = ChestXray8Head(
            channels,
            classes,
            transition=None,
            pooling="pyramid",
            grids=grids,
            extras=len(GEOMETRY),
        )
        self.focus = FocusMap(channels)
        self.bases = LungBases(channels) if bases_for is not None else None
        self.register_buffer("geometry_middle", torch.zeros(len(GEOMETRY)))
        self.register_buffer("geometry_spread", torch.ones(len(GEOMETRY)))
        self.geometry_middle: Tensor
        self.geometry_spread: Tensor

    def forward(self, image: Tensor) -> ThoraxReading:
        """Return logits, heatmaps, organs and the cardiothoracic ratio."""
        return self.read(self.see(image))

    def see(self, image: Tensor) -> Seen:
        """Return what every later step of reading starts from."""
        upright = image.transpose(2, 3)
        organs = self.find_organs(upright)
        place = thorax_place(organs)
        features = self.features(upright, place)
        cut = functional.avg_pool2d(place.cut(organs, self.cut), self.cut // features.shape[2])
        with _in_full(image):
            opacity = self.focus(features, cut)
        return Seen(
            organs=organs,
            place=place,
            features=features,
            cut_organs=cut,
            geometry=self.measured(upright, organs),
            opacity=opacity,
            bases=self.base_features(upright, place),
        )

    def read(self, seen: Seen) -> ThoraxReading:
        """Return the reading of what was seen."""
        with _in_full(seen.features):
            opacity = self.focus.pooled(seen.opacity, seen.cut_organs)
            logits = torch.cat([self.head_logits(seen), opacity], 1)
            maps = torch.cat([self.head.heatmaps(seen.features), seen.opacity], 1)
            maps = seen.place.put_back(maps, _MAPS)
            if self.bases is not None and seen.bases is not None:
                logits[:, self.bases_for] = self.bases(seen.bases)[:, 0]
                maps[:, self.bases_for] = self.bases.heatmap(seen.bases, seen.place, _MAPS)[:, 0]
            organs = functional.interpolate(seen.organs, (_MAPS, _MAPS), mode="area")
        return {
            "logits": logits,
            "heatmaps": maps.transpose(2, 3),
            "organs": organs.transpose(2, 3),
            "ratio": seen.geometry[:, 0],
        }

    def head_logits(self, seen: Seen) -> Tensor:
        """Return `(N, classes)`, all of them from the head."""
        return self.head.predict(seen.features, self.scaled(seen.geometry))

    def find_organs(self, upright: Tensor) -> Tensor:
        """Return `(N, 3, h / 2, w / 2)` probabilities for `(N, 1, h, w)`, rows before columns."""
        small = _stretched(functional.avg_pool2d(upright.float(), 2), 0.005)
        # The network was trained on (column, row).
        logits = self.organs(small.transpose(2, 3).contiguous(memory_format=torch.channels_last))
        return largest_parts(logits.float().sigmoid().transpose(2, 3))

    def features(self, upright: Tensor, place: Place) -> Tensor:
        """Return the trunk's `(N, 112, cut / 16, cut / 16)` of the thorax."""
        square = place.cut(upright.float(), self.cut)
        inner = square[:, :, self.cut // 16 : -self.cut // 16, self.cut // 16 : -self.cut // 16]
        return self._trunk(_stretched(square, 0.01, inner))

    def base_features(self, upright: Tensor, place: Place) -> Tensor | None:
        """Return the trunk's `(2 N, 112, s, s)` of the lungs' bases; None if they count nowhere."""
        if self.bases is None:
            return None
        return self._trunk(_stretched(self.bases.cut(upright.float(), place), 0.01))

    def _trunk(self, square: Tensor) -> Tensor:
        scaled = ((square * 255 - 127) / 128).expand(-1, 3, -1, -1)
        features: Tensor = self.backbone(scaled.contiguous(memory_format=torch.channels_last))
        return features.float()

    def measured(self, upright: Tensor, organs: Tensor) -> Tensor:
        """Return the thorax's geometry, unscaled."""
        small = _stretched(functional.avg_pool2d(upright.float(), 2), 0.005)
        return geometry_of(small, organs)

    def scaled(self, geometry: Tensor) -> Tensor:
        """Return geometry as the head takes it: about -1 to 1, at most 4 either way."""
        return ((geometry - self.geometry_middle) / self.geometry_spread).clamp(-4, 4)


class ChestXray8Reader(nn.Module):
    """A whole ChestX-ray8 network, fine-tuned from end to end, in the place of `ThoraxReader`.

    Takes the same input; knows no organs: heatmaps count everywhere, there is no ratio (NaN).

    Args:
        classes: labels.
        transition, pooling, r, dropout: of the head.
    """

    def __init__(
        self,
        classes: int,
        *,
        transition: int = 256,
        pooling: str = "lse",
        r: float = 5.0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.network = ChestXray8Net(
            EfficientNetLite0(),
            ChestXray8Head(
                EfficientNetLite0.out_channels,
                classes,
                transition=transition,
                pooling=pooling,
                r=r,
                dropout=dropout,
            ),
        )

    def forward(self, image: Tensor) -> ThoraxReading:
        """Return logits, heatmaps, and organs that leave everything open."""
        upright = _stretched(image.transpose(2, 3).float(), 0.005)
        scaled = ((upright * 255 - 127) / 128).expand(-1, 3, -1, -1)
        logits, maps = self.network.read(scaled.contiguous(memory_format=torch.channels_last))
        wide = functional.interpolate(maps.float(), (_MAPS, _MAPS), mode="bilinear")
        organs = torch.ones(len(image), 3, _MAPS, _MAPS, device=image.device)
        organs[:, 0] = 0
        return {
            "logits": logits,
            "heatmaps": wide.transpose(2, 3),
            "organs": organs,
            "ratio": torch.full((len(image),), torch.nan, device=image.device),
        }


def _in_full(like: Tensor) -> torch.autocast:
    """Full precision: rounded to bfloat16, sums over thousands of weights are off by a tenth."""
    return torch.autocast(like.device.type, enabled=False)


def _stretched(image: Tensor, share: float, sample: Tensor | None = None) -> Tensor:
    """Grey values from the `share` quantile to the one as far from the top become 0 to 1."""
    # Every third pixel tells the quantiles well enough.
    values = (image if sample is None else sample).flatten(1)[:, ::3]
    low, high = (end[:, None, None, None] for end in quantiles_at_ends(values, share))
    return ((image - low) / (high - low).clamp(min=0.05)).clamp(0, 1)
