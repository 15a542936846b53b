"""Training of the classifier of views on phantoms with diffuse disease."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from dicomnode.networks.timed import TimedTraining
from dicomnode.networks.views import ViewNet
from dicomnode.phantom.patterns import Pattern
from scripts.patches import Rows, gathered

CLASSES = len(Pattern) + 1


def batches(rows: Rows, size: int, seed: int) -> Iterator[dict[str, Tensor]]:
    """Batches in which all classes are alike frequent but none, which is three times so."""
    rng = np.random.default_rng([93, seed])
    classes = rows["classes"].astype(int)
    of_class = [np.flatnonzero(classes == kind) for kind in range(CLASSES)]
    shares = np.array([3.0, *[1.0] * (CLASSES - 1)]) * [len(one) > 0 for one in of_class]
    while True:
        kinds = rng.choice(CLASSES, size, p=shares / shares.sum())
        chosen = [of_class[kind][int(rng.integers(len(of_class[kind])))] for kind in kinds]
        views = torch.from_numpy(rows["views"][chosen].astype(np.float32))
        scale = torch.from_numpy(rng.uniform(0.97, 1.03, (size, 1, 1, 1)).astype(np.float32))
        shift = torch.from_numpy(rng.uniform(-12, 12, (size, 1, 1, 1)).astype(np.float32))
        noise = torch.from_numpy(rng.uniform(0, 14, (size, 1, 1, 1)).astype(np.float32))
        drawn = torch.from_numpy(rng.standard_normal(views.shape, dtype=np.float32))
        yield {"views": views * scale + shift + noise * drawn, "classes": torch.tensor(kinds)}


def loss_of(network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Cross entropy."""
    return functional.cross_entropy(network(batch["views"]), batch["classes"], label_smoothing=0.02)


class Training:
    """The whole of training; `run` is what `configs/train.json` calls.

    Args:
        network: to be trained.
        output: folder of patches, checkpoints and `model.safetensors`.
        people: seeds of the phantoms.
        seconds: of processor time.
    """

    def __init__(
        self, *, network: ViewNet, output: str, people: Sequence[int], seconds: float
    ) -> None:
        self.network, self.output, self.people = network, Path(output), people
        self.seconds = seconds

    def run(self) -> None:
        """Make what is missing, train, write the weights."""
        torch.set_num_threads(1)
        torch.manual_seed(7)
        rows = gathered(self.output / "patches", self.people)
        trained = TimedTraining(
            self.network,
            loss_of,
            self.output,
            seconds=self.seconds,
            learning_rate=2e-3,
            clock=time.process_time,
        )
        trained.fit(batches(rows, 128, trained.step), self.seconds)
        trained.write("model.safetensors")
        self.network.load_state_dict(load_file(self.output / "model.safetensors"))
