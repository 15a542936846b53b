"""Training of the body network; stopped, it goes on from its checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from dicomnode.networks.partial import PartialLoss
from dicomnode.networks.windows import in_bfloat16
from dicomnode.phantom.masks import example_stocks
from dicomnode.phantom.slabs import Stock
from dicomnode.phantom.streams import Supply, kept_samples
from scripts.classes import CLASSES, DRAWN, UNNAMED
from scripts.drawn import crlm_stock
from scripts.stages import Schedule, Stages, outlined_by_site
from scripts.synthesis import (
    MULTIPLE,
    PAD,
    SHAPE,
    TABLE,
    body_only,
    make_slab,
    padded,
    slab_samples,
)

COARSE = "coarse."
"""Where the weights of this network stand in the bundle's file."""
EVERY = 4
"""All slices of a slab are read, and every fourth is judged: neighbours tell little that is new."""


class Slabs(IterableDataset[dict[str, Tensor]]):
    """An endless stream of batches of slabs; new files of the pool join as they appear.

    40 slabs stay at hand, and each is read about twice.
    """

    def __init__(self, supply: Supply, together: int) -> None:
        self.supply, self.together = supply, together

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        torch.set_num_threads(1)
        samples = kept_samples(
            make_slab, self.supply, pattern="slab_*.npz", stream=4, keep=40, uses=2, look_every=100
        )
        waiting = []
        for kept, rng in samples:
            image, classes = body_only(rng, *kept[int(rng.integers(len(kept)))])
            inputs, targets = slab_samples(image, classes)
            inputs *= np.float32(rng.uniform(0.95, 1.05))
            inputs += np.float32(rng.normal(0, 0.03))
            waiting.append((inputs, targets))
            if len(waiting) == self.together:
                yield _batch(waiting, rng)
                waiting = []


def _batch(
    slabs: Sequence[tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]],
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """Slabs on pictures of one size, with the classes of every `EVERY`th slice."""
    rows, columns = (
        -(-max(targets.shape[axis] for _, targets in slabs) // MULTIPLE) * MULTIPLE
        for axis in (1, 2)
    )
    inputs = np.stack([padded(inputs, rows, columns, PAD) for inputs, _ in slabs])
    targets = np.stack([padded(targets, rows, columns, 0) for _, targets in slabs])
    first = int(rng.integers(EVERY))
    return {
        "image": torch.from_numpy(inputs),
        "target": torch.from_numpy(targets[:, first::EVERY].astype(np.int64)),
        "slices": torch.arange(first, inputs.shape[1], EVERY),
    }


def class_weights() -> Tensor:
    """How much a pixel of each class counts."""
    weights = torch.ones(len(CLASSES))
    for name, value in {
        "background": 0.4,
        "muscle": 0.7,
        "subcutaneous fat": 0.7,
        "visceral fat": 0.8,
        "pancreas": 3.5,
        "duodenum": 1.7,
        "gallbladder": 2.0,
        "portal vein": 2.0,
        "aorta": 1.6,
        "spleen": 2.0,
        "right kidney": 2.0,
        "left kidney": 2.0,
        "adrenal glands": 2.0,
        "other vessels": 1.2,
    }.items():
        weights[CLASSES.index(name)] = value
    return weights


class Training:
    """The whole of training; `run` is what `configs/train.json` calls.

    `data_root`: folder of the real CTs. `site`: a folder of labelled CTs (`dicomnode train`), which
    are then the only real ones; what has no label there may be any class but those that have.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        schedule: Schedule,
        batch_size: int = 2,
        data_root: str | None = None,
        site: str | None = None,
    ) -> None:
        self.data_root, self.batch_size, self.workers = data_root, batch_size, schedule.workers
        unnamed = [CLASSES.index(name) for name in UNNAMED]
        self.site: Sequence[Stock] = []
        if site:
            self.site, named = outlined_by_site(site, TABLE, SHAPE.spacing_mm, schedule)
            unnamed = [channel for channel in range(len(CLASSES)) if channel not in named]
        undrawn = [n for n, name in enumerate(CLASSES) if name not in DRAWN]
        self.partial = PartialLoss(class_weights(), unnamed, undrawn).to(schedule.device)
        self.stages = Stages(network, self._loss_of, schedule, COARSE)

    def run(self) -> None:
        """Train until the time is used up."""
        root = Path(self.data_root) if self.data_root else None
        drawn = [crlm_stock(root)] if root else []

        def stocks(late: bool) -> Sequence[Stock]:
            if late and root:
                return [*drawn, *drawn, *example_stocks(root)]
            return self.site or drawn

        self.stages.run(stocks, self._batches, apart=8)
        self.stages.write()

    def _batches(self, supply: Supply) -> DataLoader[dict[str, Tensor]]:
        slabs = Slabs(supply, self.batch_size)
        return DataLoader(slabs, batch_size=None, num_workers=self.workers)

    def _loss_of(self, network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        with in_bfloat16(batch["image"].device):
            logits = network(batch["image"], batch["slices"])
        loss: Tensor = self.partial(logits.flatten(0, 1).float(), batch["target"].flatten(0, 1))
        return loss
