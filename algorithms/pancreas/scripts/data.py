"""Slabs of the upper belly at 2 mm, read in one of three planes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from dicomnode.networks.inferers import PLANES
from dicomnode.networks.organs import scale_soft_tissue
from dicomnode.networks.partial import NEUTRAL
from dicomnode.phantom import Organ
from dicomnode.phantom.acquisition import acquired
from dicomnode.phantom.slabs import Slab, SlabShape, Stock, make_slab
from dicomnode.phantom.streams import Supply, kept_samples
from scripts.classes import class_table

OFFSETS = (-4, -1, 0, 1, 4)
"""Slices around the one that is labelled, in slices of 2 mm."""
SIZE = (56, 72, 96)
SPACING = (2.0, 2.0, 2.0)
BATCH = 12
_AROUND = (Organ.PANCREAS, Organ.PANCREAS, Organ.PANCREAS, Organ.PANCREAS, Organ.STOMACH)
TABLE = class_table()


def volume(
    stocks: Sequence[Stock], seed: int, size: tuple[int, int, int] = SIZE
) -> tuple[Tensor, Tensor]:
    """Image in the network's scale and classes, both `(x, y, z)` in RAS."""
    around = _AROUND[seed % len(_AROUND)]
    return _as_tensors(
        make_slab(stocks, seed, SlabShape(size=size, spacing_mm=SPACING, around=around))
    )


def varied_volume(
    stocks: Sequence[Stock], seed: int, size: tuple[int, int, int]
) -> tuple[Tensor, Tensor]:
    """As `volume`, of a person whose pancreas may be thin, lobulated and fatty and whose bowel may
    be collapsed, now and then as thicker slices and larger pixels show it."""
    shape = SlabShape(
        size=size,
        spacing_mm=SPACING,
        around=_AROUND[seed % len(_AROUND)],
        atrophic_share=0.8,
        collapsed_share=0.6,
    )
    slab = make_slab(stocks, seed, shape)
    rng = np.random.default_rng([14, seed])
    hu = acquired(rng, slab.hu, SPACING) if rng.random() < 0.7 else slab.hu
    return _as_tensors(replace(slab, hu=hu))


def _as_tensors(slab: Slab) -> tuple[Tensor, Tensor]:
    classes = TABLE[slab.labels]
    classes[slab.neutral] = NEUTRAL
    return scale_soft_tissue(_ras(slab.hu)), _ras(classes)


def _ras(array: npt.NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array[:, ::-1, ::-1].transpose(2, 1, 0)))


class Planes(IterableDataset[dict[str, Tensor]]):
    """An endless stream of batches of slices; a volume is read about six times."""

    def __init__(self, supply: Supply) -> None:
        self.supply = supply
        self.plane = "axial"

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        torch.set_num_threads(1)
        samples = kept_samples(
            volume, self.supply, pattern="belly_*.npz", stream=5, keep=30, uses=6, at_least=8
        )
        for kept, rng in samples:
            yield batch_of(kept, self.plane, rng)


def batch_of(
    kept: list[tuple[Tensor, Tensor]], plane: str, rng: np.random.Generator
) -> dict[str, Tensor]:
    """`BATCH` slices of three volumes: `image` (N, offsets, rows, columns), `label` (N, rows, ...).

    Two of three show pancreas, if there is any.
    """
    images, labels = [], []
    for _ in range(3):
        image, classes = kept[int(rng.integers(len(kept)))]
        stack, truth = image.permute(PLANES[plane]), classes.permute(PLANES[plane])
        shown = torch.nonzero((truth == 1).flatten(1).any(1))[:, 0].tolist()
        gain, shift = rng.uniform(0.95, 1.05), rng.normal(0, 0.03)
        for n in range(BATCH // 3):
            pick = shown if shown and n % 3 else list(range(len(stack)))
            at = pick[int(rng.integers(len(pick)))]
            near = [min(max(at + o, 0), len(stack) - 1) for o in OFFSETS]
            images.append(stack[near] * gain + shift)
            labels.append(truth[at])
    return {"image": torch.stack(images), "label": torch.stack(labels).long()}
