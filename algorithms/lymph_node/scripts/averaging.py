"""A training loop that keeps an average of the weights and goes on where it was stopped."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dicomnode.networks.averaging import AveragedWeights

log = logging.getLogger("lesions.training")


class Averaged:
    """Trains one network on batches that a function draws; keeps an exponential average.

    `loss_of(step)` returns the loss of a fresh batch. Stopped, it goes on from its checkpoint.
    The rate rises for `warm` steps, then falls to a fiftieth along a cosine.
    """

    def __init__(
        self,
        network: nn.Module,
        folder: Path,
        name: str,
        *,
        steps: int,
        rate: float,
        warm: int = 40,
    ) -> None:
        self.network, self.steps, self.rate, self.name = network, steps, rate, name
        self.warm = warm
        self.weights = folder / f"{name}.safetensors"
        self.curve_file = folder / f"{name}_curve.json"
        self.fitted = AveragedWeights(
            network, folder / f"{name}.pt", learning_rate=rate, weight_decay=1e-3, averaging=0.99
        )
        kept = self.fitted.resume()
        self.curve: list[tuple[int, float]] = [tuple(row) for row in kept["curve"]] if kept else []

    @property
    def step(self) -> int:
        """Steps taken, those before a stop included."""
        return self.fitted.step

    def run(self, loss_of: Callable[[int], Tensor]) -> None:
        started, losses = time.monotonic(), []
        while self.step < self.steps:
            self.network.train()
            losses.append(self.fitted.descend(loss_of(self.step), self._rate()))
            if self.step % 25 == 0 or self.step == self.steps:
                self.curve.append((self.step, float(np.mean(losses))))
                log.info(
                    "%s %d of %d, loss %.4f, %.0f s",
                    *(self.name, self.step, self.steps),
                    *(self.curve[-1][1], time.monotonic() - started),
                )
                losses = []
            if self.step % 50 == 0 or self.step == self.steps:
                self._keep()
        self.network.load_state_dict(self.fitted.average)
        self.network.eval()

    def _rate(self) -> float:
        warm = min(1.0, (self.step + 1) / self.warm)
        return self.rate * warm * (0.02 + 0.49 * (1 + math.cos(math.pi * self.step / self.steps)))

    def _keep(self) -> None:
        self.fitted.write(self.weights)
        self.fitted.keep(curve=self.curve)
        self.curve_file.write_text(json.dumps(self.curve))


def varied(rng: np.random.Generator, hu: Tensor) -> Tensor:
    """Other calibration and more noise, as scanners differ."""
    hu = hu * float(rng.uniform(0.96, 1.04)) + float(rng.uniform(-12, 12))
    if rng.random() < 0.3:
        hu = hu + torch.randn_like(hu) * float(rng.uniform(2, 18))
    return hu
