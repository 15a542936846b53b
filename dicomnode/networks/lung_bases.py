"""The bases of both lungs, mirrored onto each other: where a pleural effusion gathers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dicomnode.networks.thorax_geometry import Place

__all__ = ["LungBases", "base_places"]

# Of half a side of the square around the thorax: how far to the side and below its middle the
# squares lie, and half a side of theirs. They overlap at the midline and reach below the lungs.
_ASIDE, _BELOW, _HALF = 0.48, 0.40, 0.54


def base_places(thorax: Place) -> tuple[Place, Place]:
    """The squares around the base of the right and of the left lung."""
    half = thorax.half[:, None]
    down = thorax.centre[:, 1:] + _BELOW * half
    return (
        Place(torch.cat([thorax.centre[:, :1] - _ASIDE * half, down], 1), _HALF * thorax.half),
        Place(torch.cat([thorax.centre[:, :1] + _ASIDE * half, down], 1), _HALF * thorax.half),
    )


class LungBases(nn.Module):
    """One logit of what the trunk sees at both bases.

    Features are averaged over `cells` x `cells` cells; of each cell the logit is linear in the sum
    of both sides, the larger of them, and how far they differ, so that it does not matter on
    which side something lies.

    Args:
        channels: of the features.
        cells: along each side.
        side: of the squares cut out, in pixels.
    """

    def __init__(self, channels: int, *, cells: int = 12, side: int = 384) -> None:
        super().__init__()
        self.channels, self.cells, self.side = channels, cells, side
        self.answer = nn.Linear(3 * channels * cells * cells, 1)

    def cut(self, upright: Tensor, thorax: Place) -> Tensor:
        """Return `(2 N, 1, side, side)` of `(N, 1, h, w)`: right bases, then mirrored left ones."""
        right, left = base_places(thorax)
        return torch.cat([right.cut(upright, self.side), left.cut(upright, self.side).flip(3)])

    def pooled(self, features: Tensor) -> Tensor:
        """Return `(N, 3, C, cells, cells)`: sum, larger, difference, of the `(2 N, C, h, w)`."""
        right, left = self._averaged(features)
        return torch.stack([right + left, torch.maximum(right, left), (right - left).abs()], 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return the logit `(N, 1)`."""
        logit: Tensor = self.answer(self.pooled(features).flatten(1))
        return logit

    def heatmap(self, features: Tensor, thorax: Place, size: int) -> Tensor:
        """Return `(N, 1, size, size)` over the whole picture: what each place adds to the logit.

        Before they are put into the picture, both bases' maps sum up to the logit less its bias.
        """
        squares = zip(base_places(thorax), self.shares(features).split(1, 1), strict=True)
        return sum(
            (place.put_back(share.float(), size) for place, share in squares), torch.zeros(())
        ).to(features.device)

    def shares(self, features: Tensor) -> Tensor:
        """Return `(N, 2, cells, cells)`: what the right and the left base add, as they lie."""
        right, left = self._averaged(features)
        weights = self.answer.weight.reshape(3, self.channels, self.cells, self.cells)
        of_sum, of_larger, of_difference = weights
        larger = torch.sign(right - left)
        maps = [
            (one * (of_sum + of_larger * (1 + way) / 2 + of_difference * way)).sum(1)
            for one, way in ((right, larger), (left, -larger))
        ]
        return torch.stack([maps[0], maps[1].flip(2)], 1)

    def _averaged(self, features: Tensor) -> tuple[Tensor, Tensor]:
        small = functional.adaptive_avg_pool2d(features, self.cells)
        right, left = small.chunk(2)
        return right, left
