"""What the trainings of both networks share: a pool, real CTs in two stages, a site's own CTs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dicomnode.networks.timed import TimedTraining
from dicomnode.phantom.slabs import Stock
from dicomnode.phantom.streams import Supply
from dicomnode.training.stocks import Spacing, site_stocks
from dicomnode.training.weights import part_of_weights
from scripts.classes import organ_named

Batch = dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long a network is trained, on what, and where that is kept."""

    pool: str
    """Folder of painted anatomies (`scripts.pool`)."""
    output: str
    """Where checkpoint and weights go; stopped, a training goes on from there."""
    seconds: float
    learning_rate: float
    shares: Sequence[float]
    """Of the samples that are made of real CT, in the first stage and in the second."""
    example_from: float
    """Share of the time from which the second stage begins, which reads TotalSegmentator's example
    CT too; 1: that CT is never read."""
    seed: int = 1
    threads: int = 1
    workers: int = 1
    start: str | None = None
    """The bundle's weights to go on from, if there is no checkpoint."""
    device: str = "cpu"


class Stages:
    """A network that is trained in two stages.

    At the end of the first the weights are kept as `without_example.safetensors`: they tell how the
    network does on a patient it has not seen. Those at the end are `last.safetensors`.

    Args:
        network: what is trained, in place.
        loss: of the network and a batch, a scalar.
        schedule: see there.
        part: where the network's weights stand in the bundle's file.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Callable[[nn.Module, Batch], Tensor],
        schedule: Schedule,
        part: str,
    ) -> None:
        torch.set_num_threads(schedule.threads)
        torch.manual_seed(schedule.seed)
        if schedule.start:
            network.load_state_dict(part_of_weights(schedule.start, part))
        self.schedule = schedule
        self.training = TimedTraining(
            network.to(schedule.device),
            loss,
            Path(schedule.output),
            seconds=schedule.seconds,
            learning_rate=schedule.learning_rate,
        )

    def run(
        self,
        stocks: Callable[[bool], Sequence[Stock]],
        batches: Callable[[Supply], Iterable[Batch]],
        *,
        apart: int,
    ) -> None:
        """Train until the time is used up.

        Args:
            stocks: real CTs; of whether the second stage has begun.
            batches: made of a supply.
            apart: seeds between two steps, so that one that goes on does not see the same samples.
        """
        training, schedule = self.training, self.schedule
        turn = schedule.seconds * schedule.example_from
        while training.spent < training.seconds:
            late = training.spent >= turn
            start = schedule.seed * 1_000_000 + training.step * apart
            supply = Supply(Path(schedule.pool), stocks(late), schedule.shares[late], start)
            training.fit(batches(supply), training.seconds if late else turn)
            if not late:
                training.write("without_example.safetensors")

    def write(self) -> None:
        """The weights at the end."""
        self.training.write("last.safetensors")


def outlined_by_site(
    site: str, table: npt.NDArray[np.uint8], spacing_mm: Spacing, schedule: Schedule
) -> tuple[Sequence[Stock], frozenset[int]]:
    """A site's labelled CTs (`dicomnode train`), and the classes that have labels there.

    `table`: the network's class of every `Organ`.
    """
    kept = Path(schedule.output) / "stocks"
    stocks, organs = site_stocks(Path(site), organ_named, spacing_mm, kept)
    return stocks, frozenset(table[[int(organ) for organ in organs]].tolist())
