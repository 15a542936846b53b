"""Trains the gate on pictures made by `gate_data`."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch.nn import functional

from dicomnode.networks.upright import UprightGate
from scripts.gate_data import Picture, batch

log = logging.getLogger(__name__)


def train_gate(
    chests: Sequence[Picture],
    others: Sequence[Picture],
    weights: Path,
    *,
    steps: int = 1500,
    size: int = 32,
    rate: float = 2e-3,
    seed: int = 3,
) -> None:
    """Write the moving average of the weights after `steps` batches, as float16."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    gate = UprightGate()
    optimizer = torch.optim.AdamW(gate.parameters(), lr=rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    average = {key: value.detach().clone() for key, value in gate.state_dict().items()}
    started, losses = time.monotonic(), []
    gate.train()
    for step in range(steps):
        images, kinds = batch(chests, others, size, rng)
        loss = functional.cross_entropy(gate(images), kinds, label_smoothing=0.02)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        for key, value in gate.state_dict().items():
            if value.dtype.is_floating_point:
                average[key].lerp_(value, 0.02)
            else:
                average[key].copy_(value)
        if step % 100 == 99:
            log.info(
                "step %d loss %.4f %.0f s",
                step + 1,
                np.mean(losses[-100:]),
                time.monotonic() - started,
            )
            half = {k: v.half() if v.dtype.is_floating_point else v for k, v in average.items()}
            safetensors.torch.save_file({k: v.contiguous() for k, v in half.items()}, weights)
