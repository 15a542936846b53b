"""The shape of heart and lungs on a frontal radiograph as numbers, and where the thorax lies.

Masks and images are (N, ..., rows, columns), the patient's right on the left of the image.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

__all__ = ["GEOMETRY", "Place", "geometry_of", "largest_parts", "thorax_place"]

_TAIL = 0.005
"""Share of a mask's pixels that an extent leaves out at either end: specks."""
_BANDS = 4


def _names() -> tuple[str, ...]:
    shape = (
        "cardiothoracic ratio",
        "heart right of the midline",
        "heart left of the midline",
        "heart height",
        "heart area",
        "area right to left",
        "height to width",
        "right lung height",
        "left lung height",
        "right base below left",
        "right lung width",
        "left lung width",
        "right lung fills its box",
        "left lung fills its box",
        "lungs in the picture",
        "thorax width",
        "thorax height",
        "heart contrast",
        "lung spread",
        "lung mean",
    )
    bands = [
        f"{side} {what} of quarter {band + 1}"
        for side in ("right", "left")
        for band in range(_BANDS)
        for what in ("mean", "area")
    ]
    return (*shape, *bands, "heart unsure", "right lung unsure", "left lung unsure")


GEOMETRY = _names()
"""Names of the numbers that `geometry_of` gives, in order."""


class Place:
    """A square around each picture's thorax, turned into sampling grids.

    `centre` is `(N, 2)` (column, row) and `half` `(N,)`, half a side, both as shares of the
    picture's width and height.
    """

    def __init__(self, centre: Tensor, half: Tensor) -> None:
        self.centre = centre
        self.half = half

    def cut(self, image: Tensor, size: int) -> Tensor:
        """Return `(N, C, size, size)`: the square of a picture; 0 beyond its border."""
        return self._sampled(image, self.half, 2 * self.centre - 1, size)

    def put_back(self, square: Tensor, size: int) -> Tensor:
        """Return `(N, C, size, size)`: the picture with the square in its place, 0 elsewhere."""
        return self._sampled(
            square, 1 / (4 * self.half), (1 - 2 * self.centre) / (2 * self.half)[:, None], size
        )

    def _sampled(self, image: Tensor, half: Tensor, shift: Tensor, size: int) -> Tensor:
        # Not `affine_grid`: under autocast it would count pixels in bfloat16.
        step = (torch.arange(size, device=image.device).float() + 0.5) * 2 / size - 1
        across = 2 * half[:, None] * step + shift[:, :1]
        down = 2 * half[:, None] * step + shift[:, 1:]
        grid = torch.stack(
            [
                across[:, None, :].expand(-1, size, -1),
                down[:, :, None].expand(-1, -1, size),
            ],
            dim=3,
        )
        return functional.grid_sample(image, grid, padding_mode="zeros", align_corners=False)


def largest_parts(organs: Tensor) -> Tensor:
    """Return `(N, 3, h, w)` probabilities, 0 in all parts of an organ but its largest.

    Parts are where the probability is above .5. What looks like lung beside the arm or at the
    picture's edge comes and goes with a pixel there, and moved the square around the thorax by up
    to a sixth of the picture. Where there is none, the result is what came, to the last bit.
    """
    strays = [[_strays(organ) for organ in one] for one in (organs > 0.5).cpu().numpy()]
    return organs.masked_fill(torch.from_numpy(np.array(strays)).to(organs.device), 0)


def _strays(organ: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    labelled, count = ndimage.label(organ)
    if count < 2:
        return np.zeros_like(organ)
    sizes = np.bincount(labelled.ravel())
    sizes[0] = 0
    return np.asarray(organ & (labelled != sizes.argmax()))


def thorax_place(organs: Tensor, margin: float = 0.08) -> Place:
    """Return the square around heart and lungs; the whole picture where they are hardly there.

    `organs` is `(N, 3, h, w)`: heart, right lung, left lung, 0 to 1.
    """
    union = (organs > 0.5).float().amax(1)
    rows, columns = union.shape[1:]
    left, right = (end / columns for end in _extent(union.sum(1)))
    top, bottom = (end / rows for end in _extent(union.sum(2)))
    side = torch.maximum(right - left, bottom - top) * (1 + 2 * margin)
    centre = torch.stack([(left + right) / 2, (top + bottom) / 2], 1)
    lost = side < 0.25
    half = torch.where(lost, torch.full_like(side, 0.5), side / 2)
    return Place(torch.where(lost[:, None], torch.full_like(centre, 0.5), centre), half)


def geometry_of(image: Tensor, organs: Tensor) -> Tensor:
    """Return `(N, len(GEOMETRY))`.

    Lengths and areas are relative to the thorax, so that pixel spacing is not needed; brightness
    is relative to mean and spread of the lungs.

    Args:
        image: `(N, 1, h, w)`, 0 to 1.
        organs: `(N, 3, h, w)`, probabilities of heart, right lung, left lung.
    """
    heart, right, left = (organs > 0.5).float().unbind(1)
    grey = image[:, 0]
    lungs = torch.maximum(right, left)
    rows, columns = heart.shape[1:]
    heart_left, heart_right = _extent(heart.sum(1))
    heart_top, heart_bottom = _extent(heart.sum(2))
    lungs_left, lungs_right = _extent(lungs.sum(1))
    boxes = [(*_extent(m.sum(1)), *_extent(m.sum(2))) for m in (right, left)]
    (r_l, r_r, r_t, r_b), (l_l, l_r, l_t, l_b) = boxes
    width = (lungs_right - lungs_left).clamp(min=1)
    height = (torch.maximum(r_b, l_b) - torch.minimum(r_t, l_t)).clamp(min=1)
    lung_area, heart_area = _area(lungs).clamp(min=1), _area(heart)
    right_area, left_area = _area(right), _area(left)
    mean = _area(grey * lungs) / lung_area
    spread = (_area((grey - mean[:, None, None]).square() * lungs) / lung_area).sqrt()
    spread = spread.clamp(min=0.02)
    heart_mean = _area(grey * heart) / heart_area.clamp(min=1)
    middle = (r_r + l_l) / 2
    numbers = [
        (heart_right - heart_left) / width,
        (middle - heart_left) / width,
        (heart_right - middle) / width,
        (heart_bottom - heart_top) / height,
        heart_area / (heart_area + lung_area),
        torch.log((right_area + 50) / (left_area + 50)),
        height / width,
        (r_b - r_t) / height,
        (l_b - l_t) / height,
        (r_b - l_b) / height,
        (r_r - r_l) / width,
        (l_r - l_l) / width,
        right_area / ((r_b - r_t) * (r_r - r_l)).clamp(min=1),
        left_area / ((l_b - l_t) * (l_r - l_l)).clamp(min=1),
        lung_area / (rows * columns),
        width / columns,
        height / rows,
        (heart_mean - mean) / spread,
        spread,
        mean,
    ]
    for mask, box in zip((right, left), boxes, strict=True):
        numbers += _bands(grey, mask, box, mean, spread)
    doubt = organs * (1 - organs) * 4
    for number, size in enumerate((heart_area, right_area, left_area)):
        numbers.append(_area(doubt[:, number]) / size.clamp(min=50))
    return torch.stack(numbers, 1)


def _bands(
    grey: Tensor, mask: Tensor, box: tuple[Tensor, ...], mean: Tensor, spread: Tensor
) -> list[Tensor]:
    """Brightness and filling of a lung's quarters, from its apex to its base."""
    left, right, top, bottom = box
    row = torch.arange(mask.shape[1], device=mask.device).float()[None]
    depth = (row - top[:, None]) / (bottom - top).clamp(min=1)[:, None]
    numbers = []
    for band in range(_BANDS):
        inside = (depth >= band / _BANDS) & (depth < (band + 1) / _BANDS)
        part = inside.float()[:, :, None] * mask
        area = _area(part).clamp(min=1)
        numbers.append((_area(grey * part) / area - mean) / spread)
        numbers.append(area / ((bottom - top) / _BANDS * (right - left)).clamp(min=1))
    return numbers


def _area(mask: Tensor) -> Tensor:
    return mask.sum((1, 2))


def _extent(profile: Tensor) -> tuple[Tensor, Tensor]:
    """First and last index (the end exclusive) of what a profile `(N, length)` holds."""
    summed = profile.cumsum(1)
    total = summed[:, -1:].clamp(min=1e-6)
    first = (summed < _TAIL * total).sum(1).float()
    last = (summed <= (1 - _TAIL) * total).sum(1).float() + 1
    return first, last.clamp(max=profile.shape[1])
