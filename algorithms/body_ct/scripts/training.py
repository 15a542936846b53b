"""Training of the body network; stopped, it goes on from its checkpoint."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from scripts.classes import CLASSES, UNKNOWN
from scripts.real import real_stocks
from scripts.synthesis import Stock, make_slab, read_stock, slab_samples

log = logging.getLogger("body_ct.training")


class Slabs(IterableDataset[dict[str, Tensor]]):
    """An endless stream of slices with neighbours; new files of the pool join as they appear."""

    def __init__(self, pool: Path, real: list[Stock], share: float, seed: int) -> None:
        self.pool, self.real, self.share, self.seed = pool, real, share, seed

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        torch.set_num_threads(1)
        stocks: list[Stock] = []
        known: set[Path] = set()
        seed = self.seed
        while True:
            if seed % 40 == self.seed % 40:
                for path in sorted(set(self.pool.glob("slab_*.npz")) - known)[-400:]:
                    stocks.append(read_stock(path))
                    known.add(path)
            rng = np.random.default_rng([4, seed])
            source = self.real if self.real and rng.random() < self.share else stocks
            image, classes = make_slab(source, seed)
            inputs, targets = slab_samples(image, classes, 4, int(rng.integers(0, 4)))
            yield {
                "image": torch.from_numpy(inputs[:3]),
                "target": torch.from_numpy(targets[:3].astype(np.int64)),
            }
            seed += 1


class BalancedLoss(nn.Module):
    """Cross-entropy with weights for small organs, plus Dice of the classes in the batch."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Shapes: logits `(N, C, H, W)`, target `(N, H, W)` with `UNKNOWN` left out."""
        known = target != UNKNOWN
        safe = torch.where(known, target, 0)
        log_p = logits.log_softmax(1)
        picked = log_p.gather(1, safe[:, None])[:, 0]
        weight = self.weights[safe] * known
        cross = -(picked * weight).sum() / weight.sum().clamp_min(1)
        p = log_p.exp() * known[:, None]
        count = F.one_hot(safe, logits.shape[1]).permute(0, 3, 1, 2) * known[:, None]
        both = (p * count).sum((0, 2, 3))
        total = p.sum((0, 2, 3)) + count.sum((0, 2, 3))
        here = count.sum((0, 2, 3)) > 0
        here[0] = False
        dice = 1 - (2 * both + 5) / (total + 5)
        return cross + (dice * here).sum() / here.sum().clamp_min(1)


def class_weights() -> Tensor:
    """How much a pixel of each class counts."""
    weights = torch.ones(len(CLASSES))
    for name, value in {
        "background": 0.4,
        "muscle": 0.7,
        "subcutaneous fat": 0.7,
        "visceral fat": 0.8,
        "pancreas": 3.0,
        "duodenum": 1.7,
        "gallbladder": 2.0,
        "portal vein": 2.0,
        "aorta": 1.6,
        "spleen": 1.5,
        "right kidney": 1.5,
        "left kidney": 1.5,
        "adrenal glands": 2.0,
        "other vessels": 1.2,
    }.items():
        weights[CLASSES.index(name)] = value
    return weights


class Training:
    """The whole of training; `run` is what `configs/train.json` calls.

    Weights are averaged exponentially; the average is what is kept. Until `real_from` of the steps
    no real CT is read; a copy of the weights is kept there as `synthetic_only.safetensors`.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        pool: str,
        output: str,
        data_root: str | None = None,
        real_share: float = 0.12,
        real_from: float = 0.8,
        seconds: float = 3600,
        batch_size: int = 3,
        learning_rate: float = 2.5e-3,
        weight_decay: float = 1e-4,
        averaging: float = 0.995,
        seed: int = 1,
        threads: int = 1,
    ) -> None:
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        self.network = network.to(memory_format=torch.channels_last)
        self.output, self.pool = Path(output), Path(pool)
        self.output.mkdir(parents=True, exist_ok=True)
        self.data_root, self.real_share, self.real_from = data_root, real_share, real_from
        self.seconds, self.batch_size, self.seed = seconds, batch_size, seed
        self.learning_rate, self.averaging = learning_rate, averaging
        self.loss = BalancedLoss(class_weights())
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=learning_rate, weight_decay=weight_decay
        )
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.step, self.spent, self.split = 0, 0.0, False
        self.curve: list[dict[str, Any]] = []
        self._resume()

    def run(self) -> None:
        """Train until the time is used up."""
        while self.spent < self.seconds:
            real = self.spent >= self.seconds * self.real_from
            stocks = real_stocks(self.data_root) if real and self.data_root else []
            until = self.seconds if real else self.seconds * self.real_from
            self._train(stocks, until)
            if not real:
                self._write("synthetic_only.safetensors")
        self._write("last.safetensors")

    def _train(self, real: list[Stock], until: float) -> None:
        slabs = Slabs(self.pool, real, self.real_share, self.seed * 1_000_000 + self.step * 8)
        loader = DataLoader(slabs, batch_size=self.batch_size, num_workers=1, prefetch_factor=3)
        losses: list[float] = []
        before = time.monotonic()
        for batch in loader:
            losses.append(self._train_step(batch))
            self.step += 1
            now = time.monotonic()
            self.spent += now - before
            before = now
            if self.step % 50 == 0:
                log.info(
                    "training.step %d loss %.4f minutes %.1f",
                    self.step,
                    sum(losses[-50:]) / len(losses[-50:]),
                    self.spent / 60,
                )
            if self.step % 100 == 0:
                recent = sum(losses[-100:]) / len(losses[-100:])
                self.curve.append({"step": self.step, "loss": recent})
                self._keep_state()
            if self.spent >= until:
                break
        self._keep_state()

    def _rate(self) -> float:
        warm = min(1.0, (self.step + 1) / 100)
        share = min(self.spent / self.seconds, 1.0)
        return self.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))

    def _train_step(self, batch: dict[str, Tensor]) -> float:
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        image = batch["image"].flatten(0, 1).contiguous(memory_format=torch.channels_last)
        target = batch["target"].flatten(0, 1)
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.network(image)
        loss = self.loss(logits.float(), target)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        keep = min(self.averaging, (self.step + 1) / (self.step + 10))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value.detach(), 1 - keep)
            else:
                self.average[name].copy_(value)
        return loss.item()

    def _write(self, name: str) -> None:
        save_file({k: v.contiguous() for k, v in self.average.items()}, self.output / name)

    def _keep_state(self) -> None:
        self._write("average.safetensors")
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
