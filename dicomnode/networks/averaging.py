"""A network on its way: AdamW, clipped gradients, averaged weights, and a state to go on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

__all__ = ["AveragedWeights"]


class AveragedWeights:
    """Fits one network and averages its weights exponentially; the average is what is written.

    Args:
        network: what is trained, in place.
        checkpoint: file that `keep` writes and `resume` reads.
        averaging: weight of the past in the average; less in the first steps.
    """

    def __init__(
        self,
        network: nn.Module,
        checkpoint: Path,
        *,
        learning_rate: float,
        weight_decay: float,
        averaging: float,
    ) -> None:
        self.network, self.checkpoint, self.averaging = network, checkpoint, averaging
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=learning_rate, weight_decay=weight_decay
        )
        self.average = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self.step = 0

    def descend(self, loss: Tensor, rate: float) -> float:
        """One step down a scalar loss at a learning rate; return the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
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
        self.step += 1
        return loss.item()

    def write(self, path: Path) -> None:
        """The averaged weights as a safetensors file."""
        tensors = {
            k: v.cpu().clone(memory_format=torch.contiguous_format) for k, v in self.average.items()
        }
        save_file(tensors, path)

    def keep(self, **more: Any) -> None:
        """Write the state, with further plain values, so that a stop costs no more than a step."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            **more,
        }
        unfinished = self.checkpoint.with_suffix(".tmp")
        torch.save(state, unfinished)
        unfinished.replace(self.checkpoint)

    def resume(self) -> dict[str, Any] | None:
        """Take up what `keep` wrote and return its further values; None: nothing is there."""
        if not self.checkpoint.exists():
            return None
        device = next(iter(self.average.values())).device
        state = torch.load(self.checkpoint, map_location=device, weights_only=True)
        self.network.load_state_dict(state.pop("network"))
        self.optimizer.load_state_dict(state.pop("optimizer"))
        self.average, self.step = state.pop("average"), state.pop("step")
        return dict(state)
