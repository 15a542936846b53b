"""Training of the 3D network, on whole volumes of the upper belly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from dicomnode.domain.errors import StudyError
from dicomnode.networks.disturbed import restyle
from dicomnode.networks.partial import NOT_DRAWN, UNKNOWN, PartialLoss
from dicomnode.networks.timed import TimedTraining
from dicomnode.networks.windows import in_bfloat16
from dicomnode.phantom import Organ
from dicomnode.phantom.masks import example_stocks, organ_of
from dicomnode.phantom.slabs import Stock
from dicomnode.phantom.streams import Supply, kept_samples
from dicomnode.training.stocks import site_stocks
from dicomnode.training.weights import part_of_weights
from scripts.assemble import VOLUME
from scripts.classes import CLASSES, UNNAMED
from scripts.data import SPACING, TABLE, varied_volume

SIZE = (64, 80, 96)
"""Slices, rows, columns of 2 mm: about the height of the pool's slabs, as wide as most regions."""

AHEAD = 12
"""Volumes that wait: making one takes as long as a step."""


class Volumes(IterableDataset[dict[str, Tensor]]):
    """An endless stream of volumes, each read about four times in other styles; new files of the
    pool join."""

    def __init__(self, supply: Supply, size: tuple[int, int, int] = SIZE) -> None:
        self.supply, self.size = supply, size

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        samples = kept_samples(
            partial(varied_volume, size=self.size),
            self.supply,
            pattern="belly_*.npz",
            stream=6,
            keep=40,
            uses=4,
            at_least=8,
        )
        torch.set_num_threads(1)
        for kept, rng in samples:
            image, classes = kept[int(rng.integers(len(kept)))]
            yield {"image": restyle(rng, image)[None, None], "label": classes[None].long()}


def overlap_loss(logits: Tensor, label: Tensor) -> Tensor:
    """1 - soft Dice of the pancreas alone.

    So it counts without a weight in the cross entropy, which would draw it too large. What is
    `NEUTRAL` is no pancreas.
    """
    known = (label != UNKNOWN) & (label != NOT_DRAWN)
    found = logits.softmax(1)[:, 1] * known
    true = (label == 1).float()
    return 1 - (2 * (found * true).sum() + 50) / (found.sum() + true.sum() + 50)


class VolumeTraining:
    """The whole of training; `run` is what `configs/train_volume.json` calls. Stopped, it goes on.

    `real_share`: of volumes that are made of real CTs with masks: TotalSegmentator's example below
    `data_root` (without it there are none), or a site's own (`site`: a folder for
    `dicomnode train`), where what has no label may be any class but those that have. `size`:
    slices, rows, columns of a volume. `start`: the bundle's weights to go on from, if no checkpoint
    is there.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        pool: str,
        output: str,
        data_root: str | None = None,
        real_share: float = 0.5,
        seconds: float = 2700,
        learning_rate: float = 2e-3,
        seed: int = 1,
        threads: int = 1,
        workers: int = 1,
        size: Sequence[int] = SIZE,
        site: str | None = None,
        start: str | None = None,
        device: str = "cpu",
    ) -> None:
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        if start:
            network.load_state_dict(part_of_weights(start, VOLUME))
        network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.pool, self.seed, self.share = Path(pool), seed, real_share
        self.workers, self.size = workers, (size[0], size[1], size[2])
        self.real: Sequence[Stock] = example_stocks(Path(data_root)) if data_root else []
        unnamed: Sequence[int] = UNNAMED
        if site:
            self.real, organs = site_stocks(Path(site), organ_of, SPACING, Path(output) / "stocks")
            if Organ.PANCREAS not in organs:
                raise StudyError("labels.json names no pancreas")
            named = set(TABLE[[int(organ) for organ in organs]].tolist()) - {0}
            unnamed = [channel for channel in range(len(CLASSES)) if channel not in named]
        self.partial = PartialLoss([1.0] * len(CLASSES), unnamed).to(device)
        self.training = TimedTraining(
            network.to(device),
            self._loss_of,
            Path(output),
            seconds=seconds,
            learning_rate=learning_rate,
        )

    def run(self) -> None:
        """Train until the time is used up; `average.safetensors` is what came of it."""
        training = self.training
        start = self.seed * 1_000_000 + training.step
        if training.spent < training.seconds:
            supply = Supply(self.pool, self.real, self.share, start)
            ahead = AHEAD if self.workers else None
            loader = DataLoader(
                Volumes(supply, self.size),
                batch_size=None,
                num_workers=self.workers,
                prefetch_factor=ahead,
            )
            training.fit(loader, training.seconds)

    def _loss_of(self, network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        with in_bfloat16(batch["image"].device):
            logits = network(batch["image"]).float()
        loss: Tensor = self.partial(logits, batch["label"]) + overlap_loss(logits, batch["label"])
        return loss
