"""Random changes of a batch of radiographs and their masks, on the device they lie on."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from scripts.window import window


class Augmentation:
    """Places, shapes and grey values as other devices, positions and windows would give them.

    Neither mirrored (the heart is not symmetric) nor inverted. All images of a batch are placed
    anew by one interpolation; what changes grey values is drawn image by image.

    Args:
        cut: the largest share of the grey range that a clipped window takes off each end.
        hard: share of the clipped windows that clip one end hard instead: a third of the *stored*
            range is up to nine tenths of what the pixels of a pale image lie in.
    """

    def __init__(self, *, cut: float = 0.3, hard: float = 0.0) -> None:
        self.cut, self.hard = cut, hard

    def __call__(self, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Return both changed: `(N, 1, w, h)` from 0 to 1, and `(N, segments, w, h)`."""
        grid = _placing(len(image), image.shape[2], image.device)
        both = F.grid_sample(torch.cat([image, label], 1), grid, align_corners=False)
        both = both * _fields(both, share=0.25, least=0.75)
        image, label = both[:, :1], both[:, 1:]
        return torch.stack([self._greys(one) for one in image]), label

    def _greys(self, image: Tensor) -> Tensor:
        if _happens(0.6):
            image = image.clamp(0, 1) ** math.exp(_between(math.log(0.4), math.log(2.5)))
        if _happens(0.3):
            image = _bent(image)
        if _happens(0.3):
            image = (image - image.mean()) * _between(0.6, 1.4) + image.mean()
        if _happens(0.3):
            image = image + _between(-0.15, 0.15)
        if _happens(0.5):
            image = window(image, *self._ends())
        if _happens(0.3):
            image = _blurred(image, _between(1.0, 3.0))
        if _happens(0.3):
            image = image + torch.randn_like(image) * _between(0, 0.06)
        if _happens(0.15):
            image = _patched(image)
        return image.clamp(0, 1)

    def _ends(self) -> tuple[float, float]:
        """Where a window begins and ends."""
        if not self.hard or not _happens(self.hard):
            return _between(0, self.cut), 1 - _between(0, self.cut)
        if _happens(0.6):
            return _between(0.2, 0.75), 1 - _between(0, 0.1)
        return _between(0, 0.1), 1 - _between(0.2, 0.5)


def _placing(count: int, size: int, device: torch.device) -> Tensor:
    """Return sampling grids `(count, size, size, 2)`: affine, every third bent as well."""
    maps = []
    for _ in range(count):
        angle = _between(-0.22, 0.22)
        turn = torch.tensor(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        )
        shear = torch.tensor([[1.0, _between(-0.1, 0.1)], [_between(-0.1, 0.1), 1.0]])
        scale = torch.diag(torch.tensor([_between(0.78, 1.22), _between(0.78, 1.22)]))
        shift = torch.tensor([[_between(-0.22, 0.22)], [_between(-0.22, 0.22)]])
        maps.append(torch.cat([turn @ shear @ scale, shift], 1))
    theta = torch.stack(maps).to(device)
    grid = F.affine_grid(theta, [count, 1, size, size], align_corners=False)
    bends = torch.randn(count, 2, 7, 7, device=device) * 0.02
    bends *= (torch.rand(count, 1, 1, 1, device=device) < 0.35).float()
    smooth = F.interpolate(bends, (size, size), mode="bicubic", align_corners=True)
    return grid + smooth.permute(0, 2, 3, 1)


def _fields(like: Tensor, share: float, least: float) -> Tensor:
    """Return `(N, 1, w, h)` of ones; in a `share` of them all but a box of `least` is zero."""
    fields = torch.ones_like(like[:, :1])
    for field in fields:
        if _happens(share):
            for axis in (1, 2):
                length = field.shape[axis]
                inside = int(length * _between(least, 1))
                start = int(_between(0, length - inside))
                field.narrow(axis, 0, start).zero_()
                field.narrow(axis, start + inside, length - start - inside).zero_()
    return fields


def _bent(image: Tensor) -> Tensor:
    """Grey values through a random rising curve."""
    steps = torch.rand(8, device=image.device) + 0.15
    curve = torch.cat([steps.new_zeros(1), steps.cumsum(0) / steps.sum()])
    place = image.clamp(0, 1) * 8
    below = place.floor().clamp(max=7).long()
    return torch.lerp(curve[below], curve[below + 1], place - below)


def _blurred(image: Tensor, factor: float) -> Tensor:
    """The image at a `factor`th of its resolution, brought back."""
    small = F.interpolate(image[None], scale_factor=1 / factor, mode="area")
    return F.interpolate(small, image.shape[1:], mode="bilinear", align_corners=False)[0]


def _patched(image: Tensor) -> Tensor:
    image = image.clone()
    for _ in range(int(_between(1, 5))):
        width, height = (int(n * _between(0.03, 0.12)) for n in image.shape[1:])
        left, top = (
            int(_between(0, n - m)) for n, m in zip(image.shape[1:], (width, height), strict=True)
        )
        image[:, left : left + width, top : top + height] = _between(0, 1)
    return image


def _between(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _happens(share: float) -> bool:
    return float(torch.rand(())) < share
