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
from dicomnode.networks.timed import TimedTraining
from dicomnode.phantom.masks import example_stocks
from dicomnode.phantom.slabs import Stock
from dicomnode.phantom.streams import Supply, kept_samples
from dicomnode.training.stocks import site_stocks
from dicomnode.training.weights import part_of_weights
from scripts.classes import CLASSES, DRAWN, UNNAMED, organ_named
from scripts.drawn import crlm_stock
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

    Until `example_from` of the time TotalSegmentator's example CT is not read; a copy of the
    weights is kept there as `without_example.safetensors`: they tell how the network does on that
    patient unseen. Real CT makes `shares` of the slabs, before and after. `start`: weights to go on
    from, if no checkpoint is there. `site`: a folder of labelled CTs (`dicomnode train`), which are
    then the only real ones; what has no label there may be any class but those that have.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        pool: str,
        output: str,
        data_root: str | None = None,
        shares: tuple[float, float] = (0.25, 0.5),
        example_from: float = 0.45,
        seconds: float = 4900,
        batch_size: int = 2,
        learning_rate: float = 2.5e-3,
        seed: int = 1,
        threads: int = 1,
        workers: int = 1,
        start: str | None = None,
        site: str | None = None,
        device: str = "cpu",
    ) -> None:
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        self.pool, self.data_root = Path(pool), data_root
        self.shares, self.example_from = shares, example_from
        self.batch_size, self.seed, self.workers = batch_size, seed, workers
        if start:
            network.load_state_dict(part_of_weights(start, COARSE))
        unnamed = [CLASSES.index(name) for name in UNNAMED]
        self.site: Sequence[Stock] = []
        if site:
            kept = Path(output) / "stocks"
            self.site, organs = site_stocks(Path(site), organ_named, SHAPE.spacing_mm, kept)
            named = set(TABLE[[int(organ) for organ in organs]].tolist())
            unnamed = [channel for channel in range(len(CLASSES)) if channel not in named]
        undrawn = [n for n, name in enumerate(CLASSES) if name not in DRAWN]
        self.partial = PartialLoss(class_weights(), unnamed, undrawn).to(device)
        self.training = TimedTraining(
            network.to(device),
            self._loss_of,
            Path(output),
            seconds=seconds,
            learning_rate=learning_rate,
        )

    def run(self) -> None:
        """Train until the time is used up."""
        training = self.training
        drawn = [crlm_stock(Path(self.data_root))] if self.data_root else []
        while training.spent < training.seconds:
            late = training.spent >= training.seconds * self.example_from
            stocks: Sequence[Stock] = self.site or drawn
            if late and self.data_root:
                stocks = [*drawn, *drawn, *example_stocks(Path(self.data_root))]
            start = self.seed * 1_000_000 + training.step * 8
            supply = Supply(self.pool, stocks, self.shares[late], start)
            slabs = Slabs(supply, self.batch_size)
            loader = DataLoader(slabs, batch_size=None, num_workers=self.workers)
            training.fit(loader, training.seconds * (1 if late else self.example_from))
            if not late:
                training.write("without_example.safetensors")
        training.write("last.safetensors")

    def _loss_of(self, network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        with torch.autocast(batch["image"].device.type, torch.bfloat16):
            logits = network(batch["image"], batch["slices"])
        loss: Tensor = self.partial(logits.flatten(0, 1).float(), batch["target"].flatten(0, 1))
        return loss
