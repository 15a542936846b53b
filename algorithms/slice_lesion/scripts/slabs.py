"""Crops around marks of a DeepLesion folder, as if other scanners and sizes had shown them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from dicomnode.networks.deep_lesion import KeySlice, Part, read_deep_lesion, slab_of
from dicomnode.networks.slice_inferer import APART_MM, PIXEL_MM
from dicomnode.networks.slice_losses import MarkedSlice

TABLE, IMAGES = "DL_info.csv", "Images_png"
SIDE = 192
"""Pixels of a crop."""
AROUND = 0.75
"""Share of crops that are drawn around a mark; the others lie anywhere on its slice."""
_AIR = 1024.0


@dataclass(frozen=True)
class Item:
    """A key slice and where its images lie."""

    images: Path
    key: KeySlice

    def slab(self, slices: int) -> Tensor:
        """HU `(slices, rows, columns)`."""
        return slab_of(self.images, self.key, slices=slices, apart_mm=APART_MM)


def items_of(root: Path | str, part: Part) -> list[Item]:
    """Key slices of one part whose image is there.

    Raises:
        ValueError: the table cannot be read, or no image is there.
    """
    images = Path(root) / IMAGES
    told = read_deep_lesion(Path(root) / TABLE)
    found = [
        Item(images, one)
        for one in told
        if one.part is part and (images / one.volume / f"{one.number:03d}.png").is_file()
    ]
    if not found and part is Part.TRAIN:
        raise ValueError(f"{TABLE} names no slice to learn from that lies in {IMAGES}")
    return found


class Crops(Dataset[tuple[Tensor, MarkedSlice]]):
    """Endless crops `(slices, SIDE, SIDE)` in HU with their marks; the n-th is always the same.

    Types take turns, so that rare ones are not forgotten.
    """

    def __init__(self, items: Sequence[Item], slices: int, seed: int) -> None:
        self.items, self.slices, self.seed = list(items), slices, seed
        self.of_type: dict[int, list[int]] = {}
        for row, item in enumerate(self.items):
            for kind in set(item.key.marks.types.tolist()):
                self.of_type.setdefault(kind, []).append(row)

    def __getitem__(self, number: int) -> tuple[Tensor, MarkedSlice]:
        """The crop of that number."""
        rng = np.random.default_rng([self.seed, number])
        kinds = sorted(self.of_type)
        rows = self.of_type[kinds[int(rng.integers(len(kinds)))]]
        if rng.random() < 0.5:
            rows = range(len(self.items))  # type: ignore[assignment]
        item = self.items[rows[int(rng.integers(len(rows)))]]
        slab, marks = cropped(rng, item.slab(self.slices), item.key)
        return as_scanned(rng, slab), marks


def cropped(rng: np.random.Generator, slab: Tensor, key: KeySlice) -> tuple[Tensor, MarkedSlice]:
    """Part of a slab, resized, perhaps mirrored, with the marks whose middle it shows."""
    scale = np.array(key.spacing_mm[:2]) / PIXEL_MM * np.exp(rng.uniform(-0.25, 0.25))
    scale = scale * rng.uniform(0.94, 1.06, 2)
    size = np.array([slab.shape[2], slab.shape[1]], float)
    boxes = key.marks.boxes.numpy()
    middle = rng.uniform(0.2, 0.8, 2) * size
    if len(boxes) and rng.random() < AROUND:
        box = boxes[int(rng.integers(len(boxes)))]
        middle = (box[:2] + box[2:]) / 2 + rng.uniform(-0.4, 0.4, 2) * SIDE / scale
    way = np.array([-1.0 if rng.random() < 0.5 else 1.0, 1.0])
    # Output pixel -> share of the slab, -1 to 1.
    line = torch.arange(SIDE, dtype=torch.float32) + 0.5 - SIDE / 2
    x, y = (
        (line * float(way[a] / scale[a]) + float(middle[a])) * float(2 / size[a]) - 1
        for a in (0, 1)
    )
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)[None]
    cut = functional.grid_sample(slab[None] + _AIR, grid, align_corners=False)[0] - _AIR

    def shown(points: Tensor) -> Tensor:
        told = (points.double() - torch.from_numpy(middle)) * torch.from_numpy(scale * way)
        return (told + SIDE / 2).float()

    corners = shown(key.marks.boxes.unflatten(1, (2, 2)))
    placed = torch.cat([corners.amin(1), corners.amax(1)], 1)
    inside = (((placed[:, :2] + placed[:, 2:]) / 2 - SIDE / 2).abs() < SIDE / 2).all(1)
    marks = MarkedSlice(
        boxes=placed[inside],
        types=key.marks.types[inside],
        ends=shown(key.marks.ends)[inside],
        # Of a lesion whose middle lies outside a part may still be seen.
        complete=key.marks.complete and bool(inside.all()),
    )
    return cut, marks


def as_scanned(rng: np.random.Generator, slab: Tensor) -> Tensor:
    """Other calibration, noise, kernel, coarse greys; perhaps without its neighbours."""
    if rng.random() < 0.3:
        calm = functional.avg_pool2d(slab[None], 3, 1, 1, count_include_pad=False)[0]
        slab = slab + float(rng.uniform(-0.8, 0.6)) * (slab - calm)
    slab = slab * float(rng.uniform(0.97, 1.03)) + float(rng.uniform(-12, 12))
    if rng.random() < 0.4:
        grain = rng.standard_normal(tuple(slab.shape), dtype=np.float32)
        slab = slab + torch.from_numpy(grain) * float(rng.uniform(2, 20))
    if rng.random() < 0.2:
        slab = (slab / 8).round() * 8
    if rng.random() < 0.25:
        slab = slab[slab.shape[0] // 2].expand_as(slab).clone()
    return slab
