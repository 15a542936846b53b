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
from safetensors.torch import save_file
from torch import Tensor, nn

log = logging.getLogger("lesions.training")


class Averaged:
    """Trains one network on batches that a function draws; keeps an exponential average.

    `loss_of(step)` returns the loss of a fresh batch. Stopped, it goes on from its checkpoint.
    """

    def __init__(
        self, network: nn.Module, folder: Path, name: str, *, steps: int, rate: float
    ) -> None:
        self.network, self.steps, self.rate = network, steps, rate
        self.weights = folder / f"{name}.safetensors"
        self.checkpoint = folder / f"{name}.pt"
        self.curve_file = folder / f"{name}_curve.json"
        self.name = name
        self.step = 0
        self.curve: list[tuple[int, float]] = []
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-3)
        self.average = {k: v.detach().clone() for k, v in network.state_dict().items()}
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True)
            network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.average, self.step = state["average"], state["step"]
            self.curve = [tuple(row) for row in state["curve"]]

    def run(self, loss_of: Callable[[int], Tensor]) -> None:
        started, losses = time.monotonic(), []
        while self.step < self.steps:
            self.network.train()
            for group in self.optimizer.param_groups:
                group["lr"] = self._rate()
            loss = loss_of(self.step)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            self.optimizer.step()
            self.step += 1
            self._average()
            losses.append(loss.item())
            if self.step % 25 == 0 or self.step == self.steps:
                self.curve.append((self.step, float(np.mean(losses))))
                log.info(
                    "%s %d loss %.4f %.0f s",
                    *(self.name, self.step, self.curve[-1][1], time.monotonic() - started),
                )
                losses = []
            if self.step % 50 == 0 or self.step == self.steps:
                self._keep()
        self.network.load_state_dict(self.average)
        self.network.eval()

    def _rate(self) -> float:
        warm = min(1.0, (self.step + 1) / 40)
        return self.rate * warm * (0.02 + 0.49 * (1 + math.cos(math.pi * self.step / self.steps)))

    def _average(self) -> None:
        keep = min(0.99, (self.step + 1) / (self.step + 10))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value.detach(), 1 - keep)
            else:
                self.average[name].copy_(value)

    def _keep(self) -> None:
        save_file({k: v.contiguous() for k, v in self.average.items()}, self.weights)
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "step": self.step,
            "curve": self.curve,
        }
        torch.save(state, self.checkpoint.with_suffix(".tmp"))
        self.checkpoint.with_suffix(".tmp").replace(self.checkpoint)
        self.curve_file.write_text(json.dumps(self.curve))


def varied(rng: np.random.Generator, hu: Tensor) -> Tensor:
    """Other calibration and more noise, as scanners differ."""
    hu = hu * float(rng.uniform(0.96, 1.04)) + float(rng.uniform(-12, 12))
    if rng.random() < 0.3:
        hu = hu + torch.randn_like(hu) * float(rng.uniform(2, 18))
    return hu
