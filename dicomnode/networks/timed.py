"""Training for so much time: AdamW, a cosine, averaged weights, and going on after a stop."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from dicomnode.networks.averaging import AveragedWeights

__all__ = ["TimedTraining"]

KEEP_EVERY_S = 300.0
"""Of the clock: a stop costs no more, however slow the machine is."""

log = logging.getLogger(__name__)

Batch = dict[str, Tensor]


class TimedTraining:
    """Fits one network and keeps its state in a folder; a new one in the same folder goes on.

    Weights are averaged exponentially; the average is what is written. Time is that of the
    `clock`: `time.monotonic`, or `time.process_time` where the processor is shared.

    Args:
        network: what is trained, in place, on the device it is on.
        loss: of the network and a batch there, a scalar.
        output: folder of `checkpoint.pt`, `curve.json` and weights.
        seconds: the whole length, by which the learning rate falls.
        learning_rate: at its highest, after 100 steps.
        averaging: weight of the past in the average.
        clock: seconds that pass while training.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Callable[[nn.Module, Batch], Tensor],
        output: Path,
        *,
        seconds: float,
        learning_rate: float = 2.5e-3,
        weight_decay: float = 1e-4,
        averaging: float = 0.995,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.network = network
        if not any(weight.dim() == 5 for weight in network.parameters()):
            # Pays for 2D convolutions; 3D ones have no such layout.
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss, self.output, self.seconds = loss, output, seconds
        self.learning_rate, self.clock = learning_rate, clock
        output.mkdir(parents=True, exist_ok=True)
        self.fitted = AveragedWeights(
            network,
            output / "checkpoint.pt",
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            averaging=averaging,
        )
        self.spent = 0.0
        self.curve: list[dict[str, float]] = []
        kept = self.fitted.resume()
        if kept is not None:
            self.spent, self.curve = kept["spent"], kept["curve"]
            log.info("training.resumed %d", self.step)

    @property
    def step(self) -> int:
        """Steps taken, those before a stop included."""
        return self.fitted.step

    @property
    def average(self) -> dict[str, Tensor]:
        """The averaged weights."""
        return self.fitted.average

    def fit(self, batches: Iterable[Batch], until: float) -> None:
        """Train until `until` seconds in all are spent."""
        losses: list[float] = []
        device = next(self.network.parameters()).device
        before, kept = self.clock(), self.spent
        for batch in batches:
            self.network.train()
            there = {key: value.to(device) for key, value in batch.items()}
            losses.append(self.fitted.descend(self.loss(self.network, there), self._rate()))
            now = self.clock()
            self.spent, before = self.spent + now - before, now
            if self.step % 100 == 0:
                recent = sum(losses[-100:]) / len(losses[-100:])
                self.curve.append({"step": self.step, "loss": recent, "seconds": self.spent})
                log.info("training.step %d loss %.4f seconds %.0f", self.step, recent, self.spent)
            if self.step % 100 == 0 or self.spent - kept >= KEEP_EVERY_S:
                self._keep_state()
                kept = self.spent
            if self.spent >= until:
                break
        self._keep_state()

    def write(self, name: str) -> None:
        """Write the averaged weights as a file of the folder."""
        self.fitted.write(self.output / name)

    def _rate(self) -> float:
        warm = min(1.0, (self.step + 1) / 100)
        share = min(self.spent / self.seconds, 1.0)
        return self.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))

    def _keep_state(self) -> None:
        self.write("average.safetensors")
        self.fitted.keep(spent=self.spent, curve=self.curve)
        (self.output / "curve.json").write_text(json.dumps(self.curve, indent=1))
