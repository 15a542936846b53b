"""Training of the network that refines; stopped, it goes on from its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dicomnode.networks.partial import PartialLoss
from dicomnode.networks.timed import TimedTraining
from dicomnode.phantom.masks import example_stocks, halved_voxels
from dicomnode.phantom.slabs import Stock
from dicomnode.phantom.streams import Supply
from dicomnode.training.stocks import site_stocks
from dicomnode.training.weights import part_of_weights
from scripts.classes import organ_named
from scripts.drawn import crlm_stock
from scripts.refining import REFINED, SPACING, TABLE, Answering, Parts

FINE = "fine."
"""Where the weights of the refining network stand in the bundle's file."""
AHEAD = 16
"""Batches that wait: making a slab takes as long as several steps."""


class RefinedTraining:
    """The whole of training; `run` is what `configs/train_refined.json` calls.

    Args:
        network: the refining network.
        coarse: a network for each file of `answers`, weights of the coarse network alone: what the
            refining one hears.
        pool: folder of bellies (`scripts.pool`).
        output: where checkpoint and weights go.
        data_root: folder of the real CTs.
        example_from: until this share of the time TotalSegmentator's example CT is not read;
            weights of that moment are kept as `without_example.safetensors`.
        shares: of samples made of real CT, before and after.
        start: the bundle's weights to go on from, if no checkpoint is there.
        site: a folder of labelled CTs (`dicomnode train`), which are then the only real ones. What
            has no label there may be any class but those that have. If none of `REFINED` has one,
            the weights stay as they are.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        coarse: Sequence[nn.Module],
        answers: Sequence[str],
        pool: str,
        output: str,
        data_root: str | None = None,
        shares: tuple[float, float] = (0.3, 0.45),
        example_from: float = 0.4,
        seconds: float = 3000,
        learning_rate: float = 2e-3,
        seed: int = 1,
        threads: int = 1,
        workers: int = 1,
        start: str | None = None,
        site: str | None = None,
        device: str = "cpu",
    ) -> None:
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        self.coarse, self.answers = coarse, answers
        self.pool, self.data_root = Path(pool), Path(data_root) if data_root else None
        self.shares, self.example_from = shares, example_from
        self.seed, self.workers = seed, workers
        if start:
            network.load_state_dict(part_of_weights(start, FINE))
        network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        unnamed, self.site = [0], None
        if site:
            kept = Path(output) / "stocks"
            self.site, organs = site_stocks(Path(site), organ_named, SPACING, kept)
            named = set(TABLE[[int(organ) for organ in organs]].tolist())
            unnamed += [n for n in range(1, len(REFINED) + 1) if n not in named]
        self.outlined = len(unnamed) <= len(REFINED)
        self.loss = PartialLoss([1.0] * (len(REFINED) + 1), unnamed).to(device)
        self.training = TimedTraining(
            network.to(device),
            self._loss_of,
            Path(output),
            seconds=seconds,
            learning_rate=learning_rate,
        )

    def run(self) -> None:
        """Train until the time is used up."""
        if self.outlined:
            self._train()
        self.training.write("last.safetensors")

    def _train(self) -> None:
        for network, path in zip(self.coarse, self.answers, strict=True):
            network.load_state_dict(load_file(path))
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        answering, training = Answering(self.coarse), self.training
        drawn = [halved_voxels(crlm_stock(self.data_root))] if self.data_root else []
        while training.spent < training.seconds:
            late = training.spent >= training.seconds * self.example_from
            stocks: Sequence[Stock] = self.site or drawn
            if late and self.data_root:
                stocks = [*drawn, *drawn, *map(halved_voxels, example_stocks(self.data_root))]
            start = self.seed * 1_000_000 + training.step * 4
            parts = Parts(Supply(self.pool, stocks, self.shares[late], start), answering)
            ahead = AHEAD if self.workers else None
            loader = DataLoader(
                parts, batch_size=None, num_workers=self.workers, prefetch_factor=ahead
            )
            training.fit(loader, training.seconds * (1 if late else self.example_from))
            if not late:
                training.write("without_example.safetensors")

    def _loss_of(self, network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        with torch.autocast(batch["image"].device.type, torch.bfloat16):
            logits = network(batch["image"], batch["beside"])
        loss: Tensor = self.loss(logits.float(), batch["label"])
        return loss
