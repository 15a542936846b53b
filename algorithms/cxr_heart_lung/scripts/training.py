"""The training loop behind `configs/train.json`."""

import json
import logging
import time
from pathlib import Path

import safetensors.torch
import torch
from matplotlib.figure import Figure
from monai.data.dataloader import DataLoader
from monai.utils.misc import set_determinism
from torch import Tensor, nn
from torch.nn import functional as F

from scripts.ctr import cardiothoracic_ratio

log = logging.getLogger(__name__)


class Trainer:
    """AdamW on BCE + Dice, an exponential moving average of the weights, early stopping on dev.

    The first `coarse_epochs` run at half the resolution. The learning rate warms up, stays and
    falls to zero over the last `decay_epochs`. After every epoch a checkpoint is
    written; `run` goes on from it when it exists. Each epoch seeds itself from (seed, epoch),
    so a run that was interrupted draws the same augmentations as one that was not.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        train: DataLoader,
        dev: DataLoader,
        dice: nn.Module,
        device: torch.device,
        run_dir: str,
        weights: str,
        curve: str,
        epochs: int,
        coarse_epochs: int,
        decay_epochs: int,
        learning_rate: float,
        weight_decay: float,
        ema_decay: float,
        patience: int,
        seed: int,
    ) -> None:
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.train, self.dev, self.dice, self.device = train, dev, dice, device
        self.run_dir, self.weights, self.curve = Path(run_dir), Path(weights), Path(curve)
        self.epochs, self.coarse_epochs, self.decay_epochs = epochs, coarse_epochs, decay_epochs
        self.learning_rate, self.ema_decay, self.patience = learning_rate, ema_decay, patience
        self.seed = seed
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=learning_rate, weight_decay=weight_decay
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
        for epoch in range(len(self.history), self.epochs):
            set_determinism(seed=self.seed + epoch)
            started = time.monotonic()
            loss = self._train_epoch(epoch)
            row = {"epoch": epoch, "loss": loss, **self._score_dev(epoch)}
            row["seconds"] = round(time.monotonic() - started, 1)
            self.history.append(row)
            log.info("%s", {k: round(v, 4) for k, v in row.items()})
            if epoch == self.coarse_epochs:
                self.best["score"] = 0.0
            score = (row["heart"] + row["right_lung"] + row["left_lung"]) / 3
            if score > self.best["score"]:
                self.best = {"epoch": epoch, "score": score}
                self._write_weights()
            self._save()
            if epoch - max(self.best["epoch"], self.coarse_epochs) >= self.patience:
                log.info("no better since epoch %d", self.best["epoch"])
                break
        plot_history(self.history, self.coarse_epochs, self.curve)

    def rate(self, progress: float) -> float:
        """Return the learning rate at `progress`, in epochs."""
        left = max(0.0, (self.epochs - progress) / max(1, self.decay_epochs))
        return self.learning_rate * min(1.0, progress + 0.05, left)

    def _train_epoch(self, epoch: int) -> float:
        self.network.train()
        losses: list[float] = []
        batches = len(self.train)
        for step, batch in enumerate(self.train):
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate(epoch + step / batches)
            image = plain(batch["image"]).to(self.device)
            label = plain(batch["label"]).to(self.device)
            image, label = self._coarsen(epoch, image, label)
            with torch.autocast(self.device.type, dtype=torch.bfloat16):
                logits = self.network(image)
            logits = logits.float()
            loss = F.binary_cross_entropy_with_logits(logits, label) + self.dice(logits, label)
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

        On the network's own grid (half of it in coarse epochs): good for choosing an epoch,
        not the reported figures.
        """
        trained = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.network.load_state_dict(self.ema)
        self.network.eval()
        dice: list[Tensor] = []
        errors: list[float] = []
        for batch in self.dev:
            image, label = self._coarsen(
                epoch, plain(batch["image"]).to(self.device), plain(batch["label"])
            )
            with torch.autocast(self.device.type, dtype=torch.bfloat16):
                logits = self.network(image)
            found, true = (logits > 0).cpu(), label > 0.5
            both = (found & true).sum((2, 3))
            dice.append(2 * both / (found.sum((2, 3)) + true.sum((2, 3))).clamp(min=1))
            for f, t in zip(found.numpy(), true.numpy(), strict=True):
                # MONAI's axes are (columns, rows): transpose to image rows
                got, want = (cardiothoracic_ratio(*(c.T for c in m)) for m in (f, t))
                errors.append(abs((got or 0.0) - (want or 0.0)))
        self.network.load_state_dict(trained)
        heart, right, left = torch.cat(dice).mean(0).tolist()
        ctr = sum(errors) / len(errors)
        return {"heart": heart, "right_lung": right, "left_lung": left, "ctr_error": ctr}

    def _write_weights(self) -> None:
        """Write the averaged weights, stored as float16."""
        self.weights.parent.mkdir(parents=True, exist_ok=True)
        half = {
            k: (v.half() if v.dtype.is_floating_point else v).cpu().contiguous()
            for k, v in self.ema.items()
        }
        safetensors.torch.save_file(half, self.weights)

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


def plot_history(history: list[dict[str, float]], coarse_epochs: int, path: Path) -> None:
    """Draw the loss, and on dev 1 - Dice and the CTR error, over the epochs."""
    epochs = [row["epoch"] + 1 for row in history]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots(1, 2)
    axes[0].plot(epochs, [row["loss"] for row in history], color="#444444")
    axes[0].set(title="training loss (BCE + Dice)", xlabel="epoch", yscale="log")
    colors = {"heart": "#D55E00", "right_lung": "#E69F00", "left_lung": "#56B4E9"}
    for name, color in colors.items():
        values = [max(1 - row[name], 1e-3) for row in history]
        axes[1].plot(epochs, values, color=color, label=f"{name.replace('_', ' ')}: 1 - Dice")
    errors = [max(row["ctr_error"], 1e-3) for row in history]
    axes[1].plot(epochs, errors, color="#009E73", ls=":", label="CTR error")
    axes[1].set(title="dev", xlabel="epoch", yscale="log")
    axes[1].legend(fontsize=7)
    for axis in axes:
        if 0 < coarse_epochs < len(epochs):
            axis.axvline(coarse_epochs + 0.5, color="#bbbbbb", lw=1)
        axis.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=110)
