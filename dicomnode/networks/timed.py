"""Training for so much time: AdamW, a cosine, averaged weights, and going on after a stop."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

__all__ = ["TimedTraining"]

log = logging.getLogger(__name__)

Batch = dict[str, Tensor]


class TimedTraining:
    """Fits one network and keeps its state in a folder; a new one in the same folder goes on.

    Weights are averaged exponentially; the average is what is written. Time is that of the
    `clock`: `time.monotonic`, or `time.process_time` where the processor is shared.

    Args:
        network: what is trained, in place.
        loss: of the network and a batch, a scalar.
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
        self.learning_rate, self.averaging, self.clock = learning_rate, averaging, clock
        output.mkdir(parents=True, exist_ok=True)
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=learning_rate, weight_decay=weight_decay
        )
        self.average = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self.step, self.spent = 0, 0.0
        self.curve: list[dict[str, float]] = []
        self._resume()

    def fit(self, batches: Iterable[Batch], until: float) -> None:
        """Train until `until` seconds in all are spent."""
        losses: list[float] = []
        before = self.clock()
        for batch in batches:
            losses.append(self._train_step(batch))
            self.step += 1
            now = self.clock()
            self.spent, before = self.spent + now - before, now
            if self.step % 100 == 0:
                recent = sum(losses[-100:]) / len(losses[-100:])
                self.curve.append({"step": self.step, "loss": recent, "seconds": self.spent})
                log.info("training.step %d loss %.4f seconds %.0f", self.step, recent, self.spent)
                self._keep_state()
            if self.spent >= until:
                break
        self._keep_state()

    def write(self, name: str) -> None:
        """Write the averaged weights as a file of the folder."""
        tensors = {
            k: v.clone(memory_format=torch.contiguous_format) for k, v in self.average.items()
        }
        save_file(tensors, self.output / name)

    def _rate(self) -> float:
        warm = min(1.0, (self.step + 1) / 100)
        share = min(self.spent / self.seconds, 1.0)
        return self.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))

    def _train_step(self, batch: Batch) -> float:
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        loss = self.loss(self.network, batch)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        keep = min(self.averaging, (self.step + 1) / (self.step + 10))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value.detach(), 1 - keep)
            else:
                self.average[name].copy_(value)
        return loss.item()

    def _keep_state(self) -> None:
        self.write("average.safetensors")
        state = {
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "spent": self.spent,
            "curve": self.curve,
        }
        torch.save(state, self.output / "checkpoint.tmp")
        (self.output / "checkpoint.tmp").replace(self.output / "checkpoint.pt")
        (self.output / "curve.json").write_text(json.dumps(self.curve, indent=1))

    def _resume(self) -> None:
        path = self.output / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.spent, self.curve = state["step"], state["spent"], state["curve"]
        log.info("training.resumed %d", self.step)
