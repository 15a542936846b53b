"""A `SliceDetector` run over slices: those of one CT, joined to lesions, or some around a mark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers.inferer import Inferer
from torch import Tensor
from torch.nn import functional

from dicomnode.networks.slice_detector import SliceDetections, SliceDetector, decode
from dicomnode.networks.slice_lesions import JoinedLesion, join_slices
from dicomnode.networks.windows import in_bfloat16

__all__ = ["APART_MM", "PIXEL_MM", "SliceInferer", "resized", "scaled"]

PIXEL_MM = 1.0
"""Side of a pixel that a `SliceDetector` is shown."""
APART_MM = 2.5
"""Between a slice and its neighbours."""
_AIR = -1024.0
_BODY = -500.0
_SIDE = 16


class SliceInferer(Inferer):
    """Read every slice of a CT `(1, 1, x, y, z)` in HU, upright RAS, once, and join what is found.

    The grid is of `PIXEL_MM` and `APART_MM`. Returns a dictionary; `PlaceSlicesd` makes patient
    coordinates of it. n lesions, the surest first; places are indices of the grid's x, y, z, whose
    integers are centres of voxels.

    | key | shape | meaning |
    |---|---|---|
    | `scores` | (n,) | 0 to 1 |
    | `kinds` | (n,) | type, from 0 |
    | `ends` | (n, 4, 3) | ends of the long, then of the short axis, on one slice |
    | `boxes` | (n, 2, 3) | least and greatest corner over all its slices |

    Args:
        least_score: lesions below this are left out.
        most: lesions at most.
        batch: slices read at a time.
        bfloat16: None: where the device has instructions for it.
    """

    def __init__(
        self,
        *,
        least_score: float = 0.05,
        most: int = 60,
        batch: int = 4,
        bfloat16: bool | None = None,
    ) -> None:
        super().__init__()
        self.least_score, self.most, self.batch = least_score, most, batch
        self.bfloat16 = bfloat16

    def __call__(
        self, inputs: Tensor, network: Callable[..., Any], *_args: Any, **_kwargs: Any
    ) -> dict[str, Tensor]:
        """Return the dictionary above."""
        if not isinstance(network, SliceDetector):
            raise TypeError("this inferer runs a SliceDetector")
        # As slices are published: from head to feet, rows to the back, columns to the left.
        volume = inputs.as_subclass(Tensor)[0, 0].float()
        upright = volume.permute(2, 1, 0).flip(0, 1, 2)
        found = self.detections(upright, network)
        lesions = join_slices(found)[: self.most]
        last = torch.tensor(volume.shape, dtype=torch.float32) - 1
        ends = torch.stack([last - _ends_of(one) for one in lesions]) if lesions else _none(4, 3)
        boxes = torch.stack([last - _box_of(one) for one in lesions]) if lesions else _none(2, 3)
        return {
            "scores": torch.tensor([one.score for one in lesions]),
            "kinds": torch.tensor([one.type for one in lesions], dtype=torch.long),
            "ends": ends,
            "boxes": boxes.flip(1),  # the other way round, the greatest corner is the least
        }

    def detections(self, planes: Tensor, network: SliceDetector) -> list[SliceDetections]:
        """What is found on each slice of `(z, rows, columns)` in HU, from head to feet."""
        top, left, part = _body(planes)
        half = network.slices // 2
        padded = torch.cat([part[:1]] * half + [part] + [part[-1:]] * half)
        found: list[SliceDetections] = []
        for first in range(0, len(part), self.batch):
            count = min(self.batch, len(part) - first)
            slabs = padded[first : first + count + 2 * half].unfold(0, network.slices, 1)
            found += self.read(slabs.permute(0, 3, 1, 2), network)
        return [_moved(one, left, top) for one in found]

    def read(self, slabs: Tensor, network: SliceDetector) -> list[SliceDetections]:
        """What is found on the middle slices of `(n, slices, rows, columns)`, on the CPU."""
        size = (slabs.shape[2], slabs.shape[3])
        slabs = functional.pad(slabs, [0, -size[1] % _SIDE, 0, -size[0] % _SIDE], value=_AIR)
        device = next(network.parameters()).device
        slabs = slabs.to(device)
        with in_bfloat16(device, self.bfloat16):
            outputs = network(slabs)
        whole = (slabs.shape[2], slabs.shape[3])
        return [_on_cpu(one) for one in decode(outputs, whole, least=self.least_score)]


def resized(slab: Tensor, spacing_mm: Sequence[float]) -> Tensor:
    """A slab `(slices, rows, columns)` whose pixels measure (x, y) mm, on pixels of `PIXEL_MM`."""
    size = [
        max(1, round(n * mm / PIXEL_MM))
        for n, mm in zip(slab.shape[1:], (spacing_mm[1], spacing_mm[0]), strict=True)
    ]
    if size == list(slab.shape[1:]):
        return slab
    return functional.interpolate(
        slab[None], size=size, mode="bilinear", align_corners=False, antialias=True
    )[0]


def scaled(one: SliceDetections, scale: tuple[float, float]) -> SliceDetections:
    """Detections with x and y multiplied by `scale`."""
    by = torch.tensor(scale)
    return SliceDetections(
        scores=one.scores, types=one.types, boxes=one.boxes * by.repeat(2), ends=one.ends * by
    )


def _none(*shape: int) -> Tensor:
    return torch.zeros(0, *shape)


def _body(planes: Tensor) -> tuple[int, int, Tensor]:
    """First row and column of the box around what is denser than air, and that part."""
    dense = (planes > _BODY).any(0)
    rows, columns = torch.nonzero(dense.any(1))[:, 0], torch.nonzero(dense.any(0))[:, 0]
    if not len(rows):
        return 0, 0, planes[:, :1, :1]
    top, left = max(int(rows[0]) - _SIDE, 0), max(int(columns[0]) - _SIDE, 0)
    return top, left, planes[:, top : int(rows[-1]) + _SIDE, left : int(columns[-1]) + _SIDE]


def _moved(one: SliceDetections, x: int, y: int) -> SliceDetections:
    by = torch.tensor([float(x), float(y)])
    return SliceDetections(
        scores=one.scores, types=one.types, boxes=one.boxes + by.repeat(2), ends=one.ends + by
    )


def _on_cpu(one: SliceDetections) -> SliceDetections:
    return SliceDetections(
        scores=one.scores.float().cpu(),
        types=one.types.cpu(),
        boxes=one.boxes.float().cpu(),
        ends=one.ends.float().cpu(),
    )


def _ends_of(one: JoinedLesion) -> Tensor:
    """(4, 3): x, y, z indices from head to feet; detections count from a pixel's border."""
    return torch.cat([one.ends - 0.5, torch.full((4, 1), float(one.key))], 1)


def _box_of(one: JoinedLesion) -> Tensor:
    low = [*(one.box[:2] - 0.5).tolist(), one.first - 0.5]
    high = [*(one.box[2:] - 0.5).tolist(), one.last + 0.5]
    return torch.tensor([low, high])
