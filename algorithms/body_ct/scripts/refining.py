"""What the refining network of this bundle is trained on: bellies of 1.5 mm and a coarse answer.

A slab of the whole body is scanned at 1.5 mm, the coarse network reads it at 3 mm as it would
in the bundle, and parts of both around liver, spleen and kidneys are what the refining network is
given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import IterableDataset

from dicomnode.networks import SlabInferer
from dicomnode.networks.disturbed import disturb_answer, restyle
from dicomnode.networks.organs import scale_soft_tissue
from dicomnode.networks.partial import NEUTRAL, UNKNOWN
from dicomnode.phantom import Organ
from dicomnode.phantom.acquisition import acquired
from dicomnode.phantom.slabs import Slab, SlabShape, Stock, make_slab
from dicomnode.phantom.streams import Supply, kept_samples
from scripts.classes import CLASSES, class_table
from scripts.synthesis import MULTIPLE, OFFSETS, PAD

REFINED = ("liver", "spleen", "right kidney", "left kidney")
"""Classes of the refining network from 1 on; 0 is anything else."""
HEARD = (
    (3,),
    (4,),
    (5,),
    (6,),
    (1, 2, 25),
    (7, 8, 9, 10, 11, 12),
    (14, 15, 16, 17, 26),
    (18, 19, 20),
)
"""What it hears of the coarse network: those four, lungs, bowel, blood, and bone with muscle."""
SPACING = (1.5, 1.5, 1.5)
SIZE = (96, 208, 272)
"""Slices, rows, columns of a slab."""
PART = (40, 40, 40)
"""Voxels of 3 mm along x, y, z of what the network is shown."""
CONTEXT = 8
_MIDDLES = (
    Organ.KIDNEY_RIGHT,
    Organ.KIDNEY_LEFT,
    Organ.SPLEEN,
    Organ.KIDNEY_RIGHT,
    Organ.LIVER,
    Organ.KIDNEY_LEFT,
    Organ.SPLEEN,
)
_OFTEN = (0.15, 0.25, 0.35, 0.25)
"""How often a part lies around each of `REFINED`."""
_DISTURBED = 0.35


def refined_table() -> npt.NDArray[np.uint8]:
    """Class of the refining network by `Organ` number, `(256,)`."""
    table = class_table()
    refined = np.zeros(256, np.uint8)
    refined[table == UNKNOWN] = UNKNOWN
    for number, name in enumerate(REFINED, 1):
        refined[table == CLASSES.index(name)] = number
    return refined


TABLE = refined_table()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A slab and what the coarse network says of it; axes run as in RAS."""

    hu: npt.NDArray[np.int16]
    """`(2x, 2y, 2z)`, voxels of 1.5 mm."""
    classes: npt.NDArray[np.uint8]
    """The same shape."""
    heard: npt.NDArray[np.uint8]
    """`(len(HEARD), x, y, z)`, voxels of 3 mm, probability times 255."""


class Answering:
    """Makes slabs and lets a coarse network answer: one of several, drawn for each slab."""

    def __init__(self, coarse: Sequence[nn.Module], flooded_share: float = 0.2) -> None:
        self.coarse = [network.eval() for network in coarse]
        self.flooded_share = flooded_share
        self.inferer = SlabInferer(
            OFFSETS, multiple=MULTIPLE, batch=96, pad_value=PAD, bfloat16=None, context=CONTEXT
        )

    def __call__(self, stocks: Sequence[Stock], seed: int) -> Answered:
        """One slab; equal arguments give equal arrays."""
        rng = np.random.default_rng([21, seed])
        shape = SlabShape(
            size=SIZE,
            spacing_mm=SPACING,
            around=_MIDDLES[seed % len(_MIDDLES)],
            flooded_share=self.flooded_share,
        )
        slab = make_slab(stocks, seed, shape)
        hu = acquired(rng, slab.hu, SPACING)
        network = self.coarse[int(rng.integers(len(self.coarse)))]
        return Answered(
            hu=np.clip(_ras(hu), -1024, 3000).astype(np.int16),
            classes=_ras(_classes(slab)),
            heard=self._heard(hu, network),
        )

    @torch.no_grad()
    def _heard(self, hu: npt.NDArray[np.float32], network: nn.Module) -> npt.NDArray[np.uint8]:
        # The coarse network reads rows to the back and columns to the left, as arrays lie here.
        lying = torch.from_numpy(hu.transpose(2, 1, 0).copy())[None, None]
        small = scale_soft_tissue(functional.avg_pool3d(lying, 2))
        said = self.inferer(small, network)[0].flip(1, 2)
        heard = torch.stack([said[list(channels)].sum(0) for channels in HEARD])
        return (heard.clamp(0, 1) * 255).round().byte().numpy()


def _classes(slab: Slab) -> npt.NDArray[np.uint8]:
    classes = TABLE[slab.labels]
    classes[slab.neutral] = NEUTRAL
    return classes


def _ras(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return np.ascontiguousarray(array[:, ::-1, ::-1].transpose(2, 1, 0))


def part_of(answered: Answered, rng: np.random.Generator) -> dict[str, Tensor]:
    """Part of a slab around one of its organs: `image`, `beside`, `label`, without a batch."""
    low = _corner(answered, rng)
    small = tuple(slice(at, at + n) for at, n in zip(low, PART, strict=True))
    fine = tuple(slice(2 * at, 2 * (at + n)) for at, n in zip(low, PART, strict=True))
    hu = torch.from_numpy(answered.hu[fine].astype(np.float32))
    beside = torch.from_numpy(answered.heard[(slice(None), *small)]).float() / 255
    if rng.random() < _DISTURBED:
        beside = disturb_answer(rng, beside, len(REFINED))
    return {
        "image": restyle(rng, scale_soft_tissue(hu))[None],
        "beside": beside,
        "label": torch.from_numpy(answered.classes[fine].astype(np.int64)),
    }


def _corner(answered: Answered, rng: np.random.Generator) -> list[int]:
    """First voxel of 3 mm of a part around an organ, or anywhere."""
    room = [n - part for n, part in zip(answered.heard.shape[1:], PART, strict=True)]
    organ = int(rng.choice(len(_OFTEN), p=_OFTEN)) + 1
    there = np.flatnonzero(answered.classes[::2, ::2, ::2] == organ)
    if not there.size:
        return [int(rng.integers(most + 1)) for most in room]
    chosen = np.unravel_index(rng.choice(there), answered.heard.shape[1:])
    return [
        int(np.clip(at - part // 2 + rng.integers(-10, 11), 0, most))
        for at, part, most in zip(chosen, PART, room, strict=True)
    ]


class Parts(IterableDataset[dict[str, Tensor]]):
    """An endless stream of batches of two parts; a slab is read about eight times."""

    def __init__(self, supply: Supply, answering: Answering) -> None:
        self.supply, self.answering = supply, answering

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        torch.set_num_threads(1)
        samples = kept_samples(
            self.answering,
            self.supply,
            pattern="belly_*.npz",
            stream=8,
            keep=30,
            uses=8,
            at_least=6,
        )
        for kept, rng in samples:
            parts = [part_of(kept[int(rng.integers(len(kept)))], rng) for _ in range(2)]
            yield {name: torch.stack([part[name] for part in parts]) for name in parts[0]}
