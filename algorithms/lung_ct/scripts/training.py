"""Training with a supervised output at every stage; stopped, it goes on from its checkpoint."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dicomnode.networks.averaging import AveragedWeights
from dicomnode.networks.windows import in_bfloat16
from scripts.data import load_anatomies, sample_loader, site_anatomies
from scripts.draws import HU_HIGH, HU_LOW, SIZE
from scripts.synthesis import Anatomy, make_sample

mpl.use("Agg")
from matplotlib import pyplot as plt

log = logging.getLogger("lung_ct.training")


def scale(hu: Tensor) -> Tensor:
    """Return HU -1024..400 as -1..1, as `configs/inference.json` does."""
    return (hu - HU_LOW) * (2.0 / (HU_HIGH - HU_LOW)) - 1.0


class SoftDiceCrossEntropy(nn.Module):
    """Cross-entropy plus Dice of the two lungs, on fractions, where the truth is known."""

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Shapes: logits and target `(N, 3, H, W)`, weight `(N, 1, H, W)`; returns a scalar."""
        logits = logits.float()
        entropy = -(target * logits.log_softmax(1)).sum(1, keepdim=True)
        cross = (entropy * weight).sum() / weight.sum().clamp_min(1)
        p = logits.softmax(1)[:, 1:] * weight
        t = target[:, 1:] * weight
        both = (p * t).sum((0, 2, 3)) * 2 + 1.0
        dice = 1 - both / ((p * p).sum((0, 2, 3)) + (t * t).sum((0, 2, 3)) + 1.0)
        return cross + dice.mean()


def mirror(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the batch left-right mirrored, with the sides exchanged."""
    return {
        "image": batch["image"].flip(-1),
        "target": batch["target"].flip(-1)[:, [0, 2, 1]],
        "weight": batch["weight"].flip(-1),
    }


def crop(batch: dict[str, Tensor], size: int, place: int) -> dict[str, Tensor]:
    """Return a square part: patients that do not fit the field of view, and a faster step."""
    free = SIZE - size + 1
    top, left = divmod(place % free**2, free)
    return {key: value[..., top : top + size, left : left + size] for key, value in batch.items()}


def binary_dice(predicted: Tensor, truth: Tensor, known: Tensor) -> list[float]:
    """Return the pooled Dice of right and left lung; shapes `(N, H, W)` class indices."""
    scores = []
    for side in (1, 2):
        p, t = (predicted == side) & known, (truth == side) & known
        scores.append((2 * (p & t).sum() / (p.sum() + t.sum()).clamp_min(1)).item())
    return scores


class Training:
    """The whole of training; `run` is what `configs/train.json` calls.

    Every loaded batch is used three times, each time another part of it, once mirrored with the
    sides exchanged. Weights are averaged exponentially; the average is validated and kept.

    `start`: weights to go on from, if no checkpoint is there. `site`: a folder of labelled CTs,
    read beside `cases`.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        data_root: str,
        output: str,
        cases: list[str],
        phantoms: int,
        phantom_weight: float,
        validation_phantoms: int,
        validation_samples: int = 96,
        steps: int = 6000,
        batch_size: int = 8,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-4,
        averaging: float = 0.997,
        validate_every: int = 500,
        patience: int = 8,
        workers: int = 1,
        seed: int = 20,
        device: str = "cpu",
        threads: int = 1,
        cache: str | None = None,
        start: str | None = None,
        site: str | None = None,
    ) -> None:
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        self.device = torch.device(device)
        if start:
            network.load_state_dict(load_file(start))
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self.output = Path(output)
        self.output.mkdir(parents=True, exist_ok=True)
        self.steps, self.batch_size, self.workers, self.seed = steps, batch_size, workers, seed
        self.learning_rate = learning_rate
        self.validate_every, self.patience = validate_every, patience
        kept = cache or str(self.output / "cache")
        own = site_anatomies(site, kept) if site else []
        every = own + load_anatomies(
            data_root, kept, cases, phantoms + validation_phantoms, phantom_weight
        )
        real = len(own) + len(cases)
        self.anatomies = every[: real + phantoms]
        apart: list[Anatomy] = every[real + phantoms :] or self.anatomies
        self.validation = [make_sample(apart, -1 - i) for i in range(validation_samples)]
        self.loss = SoftDiceCrossEntropy()
        self.fitted = AveragedWeights(
            self.network,
            self.output / "checkpoint.pt",
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            averaging=averaging,
        )
        self.best = 0.0
        self.since_best = 0
        self.curve: list[dict[str, float]] = []
        kept = self.fitted.resume()
        if kept is not None:
            self.best, self.since_best = kept["best"], kept["since_best"]
            self.curve = kept["curve"]
            log.info("training.resumed %s", self.step)

    @property
    def step(self) -> int:
        """Steps taken, those before a stop included."""
        return self.fitted.step

    def run(self) -> None:
        """Train until the steps are done or validation stops improving."""
        batches = self._batches()
        losses: list[float] = []
        started = time.monotonic()
        while self.step < self.steps and self.since_best < self.patience:
            losses.append(self.fitted.descend(self._loss(next(batches)), self._rate()))
            if self.step % 100 == 0:
                log.info("training.step %d loss %.4f", self.step, sum(losses[-50:]) / 50)
            if self.step % self.validate_every == 0 or self.step == self.steps:
                self._validate(sum(losses) / len(losses), time.monotonic() - started)
                losses = []

    def _batches(self) -> Iterator[dict[str, Tensor]]:
        start = self.step // 3 * self.batch_size
        loader = sample_loader(self.anatomies, self.seed, self.batch_size, self.workers, start)
        for index, batch in enumerate(loader):
            place = self.seed + start + index * 7_919
            yield crop(batch, 160, place)
            yield crop(mirror(batch), 144, 31 * place)
            yield crop(batch, 144, 17 * place)

    def _rate(self) -> float:
        warm = min(1.0, (self.step + 1) / 200)
        return (
            self.learning_rate
            * warm
            * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.step / self.steps)))
        )

    def _loss(self, batch: dict[str, Tensor]) -> Tensor:
        self.network.train()
        image, target, weight = (batch[k].to(self.device) for k in ("image", "target", "weight"))
        image = scale(image).contiguous(memory_format=torch.channels_last)
        with in_bfloat16(self.device):
            outputs = self.network(image)
        return torch.stack([self.loss(logits, target, weight) for logits in outputs]).mean()

    @torch.no_grad()
    def _validate(self, loss: float, seconds: float) -> None:
        raw = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.network.load_state_dict(self.fitted.average)
        self.network.eval()
        predicted = []
        for first in range(0, len(self.validation), self.batch_size):
            part = self.validation[first : first + self.batch_size]
            image = scale(torch.stack([s["image"] for s in part])).to(self.device)
            predicted.append(self.network(image).argmax(1).cpu())
        self.network.load_state_dict(raw)
        truth = torch.stack([s["target"] for s in self.validation]).argmax(1)
        known = torch.stack([s["weight"][0] for s in self.validation]) > 0.5
        right, left = binary_dice(torch.cat(predicted), truth, known)
        row = {"step": self.step, "loss": loss, "right": right, "left": left, "seconds": seconds}
        self.curve.append(row)
        log.info("training.validated %s", row)
        self.since_best += 1
        if (right + left) / 2 > self.best:
            self.best, self.since_best = (right + left) / 2, 0
            self.fitted.write(self.output / "best.safetensors")
        self.fitted.write(self.output / "last.safetensors")
        self.fitted.keep(best=self.best, since_best=self.since_best, curve=self.curve)
        (self.output / "curve.json").write_text(json.dumps(self.curve, indent=1))
        self._draw_curve()

    def _draw_curve(self) -> None:
        figure, (top, bottom) = plt.subplots(2, 1, figsize=(7, 6), sharex=True)
        steps = [row["step"] for row in self.curve]
        top.plot(steps, [row["loss"] for row in self.curve], color="black")
        top.set_ylabel("training loss")
        for side, color in (("right", "#E69F00"), ("left", "#56B4E9")):
            bottom.plot(steps, [row[side] for row in self.curve], color=color, label=f"{side} lung")
        bottom.set_ylabel("Dice, synthetic validation")
        bottom.set_xlabel("step")
        bottom.legend()
        figure.tight_layout()
        figure.savefig(self.output / "learning_curve.png", dpi=90)
        plt.close(figure)
