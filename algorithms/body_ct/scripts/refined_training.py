"""Training of the network that refines; stopped, it goes on from its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dicomnode.networks.partial import PartialLoss
from dicomnode.networks.windows import in_bfloat16
from dicomnode.phantom.masks import example_stocks, halved_voxels
from dicomnode.phantom.slabs import Stock
from dicomnode.phantom.streams import Supply
from scripts.drawn import crlm_stock
from scripts.refining import REFINED, SPACING, TABLE, Answering, Parts
from scripts.stages import Schedule, Stages, outlined_by_site

FINE = "fine."
"""Where the weights of the refining network stand in the bundle's file."""
AHEAD = 16
"""Batches that wait: making a slab takes as long as several steps."""


class RefinedTraining:
    """The whole of training; `run` is what `configs/train_refined.json` calls.

    Args:
        network: the refining network.
        schedule: see there; its pool is one of bellies.
        coarse: a network for each file of `answers`, weights of the coarse network alone: what the
            refining one hears.
        data_root: folder of the real CTs.
        site: a folder of labelled CTs (`dicomnode train`), which are then the only real ones. What
            has no label there may be any class but those that have. If none of `REFINED` has one,
            the weights stay as they are.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        schedule: Schedule,
        coarse: Sequence[nn.Module],
        answers: Sequence[str],
        data_root: str | None = None,
        site: str | None = None,
    ) -> None:
        self.coarse, self.answers = coarse, answers
        self.data_root = Path(data_root) if data_root else None
        self.ahead = AHEAD if schedule.workers else None
        self.workers = schedule.workers
        unnamed = [0]
        self.site: Sequence[Stock] = []
        if site:
            self.site, named = outlined_by_site(site, TABLE, SPACING, schedule)
            unnamed += [n for n in range(1, len(REFINED) + 1) if n not in named]
        self.outlined = len(unnamed) <= len(REFINED)
        self.loss = PartialLoss([1.0] * (len(REFINED) + 1), unnamed).to(schedule.device)
        network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.stages = Stages(network, self._loss_of, schedule, FINE)

    def run(self) -> None:
        """Train until the time is used up."""
        if self.outlined:
            self._train()
        self.stages.write()

    def _train(self) -> None:
        for network, path in zip(self.coarse, self.answers, strict=True):
            network.load_state_dict(load_file(path))
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        answering, root = Answering(self.coarse), self.data_root
        drawn = [halved_voxels(crlm_stock(root))] if root else []

        def stocks(late: bool) -> Sequence[Stock]:
            if late and root:
                return [*drawn, *drawn, *map(halved_voxels, example_stocks(root))]
            return self.site or drawn

        def batches(supply: Supply) -> DataLoader[dict[str, Tensor]]:
            parts = Parts(supply, answering)
            return DataLoader(
                parts, batch_size=None, num_workers=self.workers, prefetch_factor=self.ahead
            )

        self.stages.run(stocks, batches, apart=4)

    def _loss_of(self, network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        with in_bfloat16(batch["image"].device):
            logits = network(batch["image"], batch["beside"])
        loss: Tensor = self.loss(logits.float(), batch["label"])
        return loss
