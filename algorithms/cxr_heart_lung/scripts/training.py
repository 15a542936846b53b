"""The training loop behind `configs/train.json`."""

import json
import logging
import time
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import TypedDict

import safetensors.torch
import torch
from matplotlib.figure import Figure
from monai.data.dataloader import DataLoader
from monai.utils.misc import set_determinism
from torch import Tensor, nn
from torch.nn import functional as F

from dicomnode.networks.efficient_unet import EfficientUNet
from dicomnode.networks.windows import in_bfloat16
from scripts.augmentation import Augmentation
from scripts.ctr import cardiothoracic_ratio
from scripts.window import window

log = logging.getLogger(__name__)


class Cycle(TypedDict):
    """One rise and fall of the learning rate."""

    until: int
    """The epoch at which the rate reaches zero."""
    learning_rate: float
    decay_epochs: int


class Trainer:
    """AdamW on BCE + Dice, an exponential moving average of the weights, early stopping on dev.

    The first `coarse_epochs` run at half the resolution. In each cycle the learning rate warms up,
    stays and falls to zero over the last `decay_epochs` of it; the weights that are kept are the
    last cycle's best on dev, as stored and windowed. After every epoch a checkpoint is
    written; `run` goes on from it when it exists. From epoch `keep_from` on (None: never) each
    epoch's averaged weights are left in `run_dir`, to be averaged once more. Each epoch seeds
    itself from (seed, epoch), so a run that was interrupted draws the same augmentations as one
    that was not.
    """

    def __init__(
        self,
        *,
        network: EfficientUNet,
        train: DataLoader,
        dev: DataLoader,
        dice: nn.Module,
        device: torch.device,
        run_dir: str,
        weights: str,
        curve: str,
        coarse_epochs: int,
        cycles: Sequence[Cycle],
        augment: Augmentation,
        extent_weight: float,
        width_weight: float,
        weight_decay: float,
        ema_decay: float,
        patience: int,
        seed: int,
        windows: Sequence[tuple[float, float]],
        keep_from: int | None,
    ) -> None:
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.train, self.dev, self.dice, self.device = train, dev, dice, device
        self.augment, self.windows, self.keep_from = augment, windows, keep_from
        self.extent_weight, self.width_weight = extent_weight, width_weight
        self.run_dir, self.weights, self.curve = Path(run_dir), Path(weights), Path(curve)
        self.coarse_epochs, self.cycles = coarse_epochs, cycles
        self.ema_decay, self.patience, self.seed = ema_decay, patience, seed
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=cycles[0]["learning_rate"], weight_decay=weight_decay
        )
        self.ema = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self.history: list[dict[str, float]] = []
        self.best = {"epoch": -1.0, "score": 0.0}

    @property
    def checkpoint(self) -> Path:
        return self.run_dir / "checkpoint.pt"

    def run(self) -> None:
        """Train until the last epoch, or until dev has not improved for `patience` epochs."""
        self.run_dir.mkdir(parents=True, exist_ok=True)
        if self.checkpoint.exists():
            self._resume()
        fresh_starts = {self.coarse_epochs, *(cycle["until"] for cycle in self.cycles)}
        for epoch in range(len(self.history), self.cycles[-1]["until"]):
            set_determinism(seed=self.seed + epoch)
            started = time.monotonic()
            loss = self._train_epoch(epoch)
            row = {"epoch": epoch, "loss": loss, **self._score_dev(epoch)}
            row["seconds"] = round(time.monotonic() - started, 1)
            self.history.append(row)
            log.info("%s", {k: round(v, 4) for k, v in row.items()})
            if epoch in fresh_starts:
                self.best["score"] = 0.0
            score = (row["heart"] + row["right_lung"] + row["left_lung"]) / 6 + row["windowed"] / 2
            if score > self.best["score"]:
                self.best = {"epoch": epoch, "score": score}
                self._write_weights(self.weights)
            if self.keep_from is not None and epoch >= self.keep_from:
                self._write_weights(self.run_dir / f"epoch_{epoch:02d}.safetensors")
            self._save()
            if epoch - max(self.best["epoch"], self.coarse_epochs) >= self.patience:
                log.info("no better since epoch %d", self.best["epoch"])
                break
        plot_history(self.history, self.coarse_epochs, self.curve)

    def rate(self, progress: float) -> float:
        """Return the learning rate at `progress`, in epochs."""
        start = 0
        for cycle in self.cycles:
            if progress < cycle["until"]:
                left = (cycle["until"] - progress) / max(1, cycle["decay_epochs"])
                return cycle["learning_rate"] * min(1.0, progress - start + 0.05, left)
            start = cycle["until"]
        return 0.0

    def _train_epoch(self, epoch: int) -> float:
        self.network.train()
        losses: list[float] = []
        batches = len(self.train)
        for step, batch in enumerate(self.train):
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate(epoch + step / batches)
            image = plain(batch["image"]).to(self.device)
            label = plain(batch["label"]).to(self.device)
            image, label = self.augment(*self._coarsen(epoch, image, label))
            with in_bfloat16(self.device):
                logits = self.network(image)
            logits = logits.float()
            loss = self.dice(logits, label) + F.binary_cross_entropy_with_logits(logits, label)
            loss = loss + self.extent_weight * extent_loss(logits, label)
            if self.width_weight:
                loss = loss + self.width_weight * width_loss(logits, label)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            self.optimizer.step()
            self._average(epoch * batches + step)
            losses.append(float(loss.detach()))
        return sum(losses) / len(losses)

    def _coarsen(self, epoch: int, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Return both at the resolution of this epoch, the image in channels-last memory."""
        if epoch < self.coarse_epochs:
            image, label = F.avg_pool2d(image, 2), F.avg_pool2d(label, 2)
        return image.contiguous(memory_format=torch.channels_last), label

    @torch.no_grad()
    def _average(self, step: int) -> None:
        decay = min(self.ema_decay, (1 + step) / (10 + step))
        for key, value in self.network.state_dict().items():
            if value.dtype.is_floating_point:
                self.ema[key].lerp_(value, 1 - decay)
            else:
                self.ema[key].copy_(value)

    @torch.no_grad()
    def _score_dev(self, epoch: int) -> dict[str, float]:
        """Return the averaged weights' mean Dice by segment and mean absolute CTR error.

        `windowed` is the mean Dice of all segments over the `windows`.
        On the network's own grid (half of it in coarse epochs): good for choosing an epoch,
        not the reported figures.
        """
        trained = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.network.load_state_dict(self.ema)
        self.network.eval()
        scores: list[Tensor] = []
        windowed: list[Tensor] = []
        errors: list[float] = []
        for batch in self.dev:
            image, label = self._coarsen(
                epoch, plain(batch["image"]).to(self.device), plain(batch["label"])
            )
            found, true = self._outline(image), label > 0.5
            scores.append(dice(found, true))
            windowed += [dice(self._outline(window(image, *w)), true) for w in self.windows]
            for f, t in zip(found.numpy(), true.numpy(), strict=True):
                # MONAI's axes are (columns, rows): transpose to image rows
                got, want = (cardiothoracic_ratio(*(c.T for c in m)) for m in (f, t))
                errors.append(abs((got or 0.0) - (want or 0.0)))
        self.network.load_state_dict(trained)
        heart, right, left = torch.cat(scores).mean(0).tolist()
        return {
            "heart": heart,
            "right_lung": right,
            "left_lung": left,
            "ctr_error": sum(errors) / len(errors),
            "windowed": float(torch.cat(windowed).mean()),
        }

    def _outline(self, image: Tensor) -> Tensor:
        with in_bfloat16(self.device):
            found: Tensor = self.network(image) > 0
        return found.cpu()

    def _write_weights(self, path: Path) -> None:
        """Write the averaged weights as they are shipped: norms fused, stored as float16."""
        path.parent.mkdir(parents=True, exist_ok=True)
        averaged = deepcopy(self.network)
        averaged.load_state_dict(self.ema)
        fused = averaged.fuse().state_dict()
        safetensors.torch.save_file(
            {k: v.half().cpu().contiguous() for k, v in fused.items()}, path
        )

    def _save(self) -> None:
        state = {
            "network": self.network.state_dict(),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
            "best": self.best,
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint)
        (self.run_dir / "history.json").write_text(json.dumps(self.history, indent=1))

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema, self.history, self.best = state["ema"], state["history"], state["best"]
        log.info("resumed after epoch %d", len(self.history) - 1)


def plain(tensor: Tensor) -> Tensor:
    """Return `tensor` without MONAI's metadata, which slows every operation."""
    return tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor


def extent_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Return how badly the columns and rows that each segment reaches are told.

    The cardiothoracic ratio comes from the outermost columns alone, which a mean over pixels
    hardly weighs.
    """
    return torch.stack(
        [F.binary_cross_entropy_with_logits(logits.amax(a), label.amax(a)) for a in (2, 3)]
    ).mean()


def width_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Return how far off the ends of the heart and of both lungs lie, and the ratio they make.

    L1, in shares of the width; images whose lungs are cut out of sight count for no ratio.
    """
    found, true = _spans(torch.sigmoid(2 * logits.amax(3))), _spans((label.amax(3) > 0.5).float())
    ratios, wide = zip(*(_ratio(spans) for spans in (found, true)), strict=True)
    off = (ratios[0] - ratios[1]).abs() * (wide[1] > 0.1)
    return (found - true).abs().mean() + off.mean()


def _spans(columns: Tensor) -> Tensor:
    """`(N, 2, 2)`: begin and end of the heart, then of both lungs, as shares of the width.

    `columns` `(N, 3, width)`, 0 to 1: how sure it is that a column holds a pixel of a segment.
    """
    both = torch.stack([columns[:, 0], columns[:, 1:].amax(1)], 1)
    begin = 1 - both.cummax(-1).values.mean(-1)
    end = both.flip(-1).cummax(-1).values.mean(-1)
    return torch.stack([begin, end], -1)


def _ratio(spans: Tensor) -> tuple[Tensor, Tensor]:
    """The cardiothoracic ratio and the width of both lungs, `(N,)` each."""
    heart, lungs = (spans[..., 1] - spans[..., 0]).unbind(1)
    return heart / lungs.clamp(min=0.1), lungs


def dice(found: Tensor, true: Tensor) -> Tensor:
    """Return the Dice coefficients (image, segment) of masks (image, segment, column, row)."""
    both = (found & true).sum((2, 3))
    return 2 * both / (found.sum((2, 3)) + true.sum((2, 3))).clamp(min=1)


def plot_history(history: list[dict[str, float]], coarse_epochs: int, path: Path) -> None:
    """Draw the loss, and on dev 1 - Dice and the CTR error, over the epochs."""
    epochs = [row["epoch"] + 1 for row in history]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots(1, 2)
    axes[0].plot(epochs, [row["loss"] for row in history], color="#444444")
    axes[0].set(title="training loss", xlabel="epoch", yscale="log")
    colors = {"heart": "#D55E00", "right_lung": "#E69F00", "left_lung": "#56B4E9"}
    for name, color in colors.items():
        values = [max(1 - row[name], 1e-3) for row in history]
        axes[1].plot(epochs, values, color=color, label=f"{name.replace('_', ' ')}: 1 - Dice")
    errors = [max(row["ctr_error"], 1e-3) for row in history]
    axes[1].plot(epochs, errors, color="#009E73", ls=":", label="CTR error")
    both = [row for row in history if "windowed" in row]
    axes[1].plot(
        [row["epoch"] + 1 for row in both],
        [max(1 - row["windowed"], 1e-3) for row in both],
        color="#444444",
        ls="--",
        label="windowed: 1 - Dice",
    )
    axes[1].set(title="dev", xlabel="epoch", yscale="log")
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside right center", fontsize=7)
    for axis in axes:
        if 0 < coarse_epochs < len(epochs):
            axis.axvline(coarse_epochs + 0.5, color="#bbbbbb", lw=1)
        axis.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=110)
