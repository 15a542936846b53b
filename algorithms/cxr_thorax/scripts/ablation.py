"""Which pooling and which loss? Heads of ChestX-ray8 on cached features, patient-disjoint folds.

Each head (transition layer, pooling, prediction) is trained from the same start on the same batches
with AdamW and one cycle; nothing is tuned for any of them. The backbone stays frozen; its features
are averaged to 8 x 8 places (the paper's S). Scores are those of images that were not trained on,
measured as everywhere: within source, weighted to the frequencies of ChestX-ray14.

python -m scripts.ablation DATA features.npz SCORES.npz     trains; goes on where it stopped
python -m scripts.ablation DATA features.npz SCORES.npz docs/ablation.json     only the table
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dicomnode.evaluation.prevalence import CHESTXRAY8_RESNET50, nih_weights
from dicomnode.evaluation.ranking import Cases, Interval, auc_within, over_patients
from dicomnode.networks.chestxray8 import ChestXray8Head
from dicomnode.networks.losses import MultiLabelLoss
from scripts.fit import FOLDS, Data, folds_of, read
from scripts.prepare import LABELS

Array = NDArray[np.float64]
POOLINGS = (("lse", 0.1), ("lse", 1.0), ("lse", 10.0), ("max", 0.0), ("average", 0.0))
LOSSES = ("w-cel", "cel")
EPOCHS, BATCH, RATE, SEED = 10, 64, 1e-3, 0
REFERENCE = "lse r=10, w-cel"
EIGHT = tuple(CHESTXRAY8_RESNET50)


def name_of(pooling: str, r: float, loss: str) -> str:
    return f"{pooling} r={r:g}, {loss}" if pooling == "lse" else f"{pooling}, {loss}"


def trained(x: Tensor, y: Tensor, pooling: str, r: float, loss: str) -> ChestXray8Head:
    """Return a head trained on features `(N, C, h, w)` and labels `(N, 14)`."""
    torch.manual_seed(SEED)
    head = ChestXray8Head(x.shape[1], y.shape[1], pooling=pooling, r=r or 1.0, dropout=0.2)
    optimizer = torch.optim.AdamW(head.parameters(), RATE, weight_decay=0.05)
    steps = EPOCHS * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    criterion = MultiLabelLoss(loss)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad(set_to_none=True)
            criterion(head(x[rows]), y[rows]).backward()
            optimizer.step()
            schedule.step()
    return head.eval()


def unseen(data: Data, maps: Tensor, pooling: str, r: float, loss: str) -> Array:
    """Return logits (images, 14) of heads that did not see the image's patient."""
    fold = folds_of(data.patients, SEED)
    truth = torch.from_numpy(data.truth.astype(np.float32))
    scores = np.zeros_like(data.truth)
    for k in range(FOLDS):
        seen = torch.from_numpy(np.flatnonzero(fold != k))
        middle = maps[seen].mean((0, 2, 3), keepdim=True)
        spread = maps[seen].std((0, 2, 3), keepdim=True) + 1e-6
        x = (maps - middle) / spread
        head = trained(x[seen], truth[seen], pooling, r, loss)
        with torch.inference_mode():
            scores[fold == k] = head(x[torch.from_numpy(np.flatnonzero(fold == k))]).numpy()
    return scores


def train_all(data: Data, features: Path, out: Path) -> None:
    """Write the scores of every pair of pooling and loss; those that are there stay."""
    kept = dict(np.load(out)) if out.exists() else {}
    stored = np.load(features)["maps"][data.rows]
    maps = functional.avg_pool2d(torch.from_numpy(stored.astype(np.float32)), 4)
    for pooling, r in POOLINGS:
        for loss in LOSSES:
            name = name_of(pooling, r, loss)
            if name not in kept:
                started = time.monotonic()
                kept[name] = unseen(data, maps, pooling, r, loss)
                np.savez(out, **kept)
                print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)


def table(data: Data, scores: dict[str, Array], draws: int = 500) -> list[dict[str, object]]:
    """Return the mean AUC of the eight, its interval, and its distance from the reference's."""
    weights = nih_weights({label: data.truth[:, n] for n, label in enumerate(LABELS)}, data.is_ap)
    cases = Cases(patients=data.patients, sources=data.sources, weights=weights)
    columns = [LABELS.index(name) for name in EIGHT]

    def mean(name: str, rows: NDArray[np.int_]) -> float:
        part = cases.part(rows)
        areas = [auc_within(data.truth[rows, n], scores[name][rows, n], part) for n in columns]
        return float(np.mean(areas))

    lines = []
    for name in scores:
        level = over_patients(lambda rows, n=name: mean(n, rows), data.patients, draws=draws)
        gain = over_patients(
            lambda rows, n=name: mean(n, rows) - mean(REFERENCE, rows), data.patients, draws=draws
        )
        areas = {
            one: auc_within(data.truth[:, n], scores[name][:, n], cases)
            for one, n in zip(EIGHT, columns, strict=True)
        }
        lines.append(
            {
                "head": name,
                "mean_of_eight": rounded(level),
                "against_reference": rounded(gain),
                "classes": {one: round(area, 3) for one, area in areas.items()},
            }
        )
        print(lines[-1], flush=True)
    return lines


def rounded(value: Interval) -> list[float]:
    return [round(v, 3) for v in (value.value, value.low, value.high)]


def main(words: list[str]) -> None:
    torch.set_num_threads(1)
    data = read(Path(words[0]), Path(words[1]))
    if len(words) == 3:
        train_all(data, Path(words[1]), Path(words[2]))
        return
    lines = table(data, dict(np.load(words[2])))
    about = {
        "images": len(data.truth),
        "patients": int(data.patients.max()) + 1,
        "folds": FOLDS,
        "epochs": EPOCHS,
        "reference": REFERENCE,
    }
    Path(words[3]).write_text(json.dumps({"about": about, "heads": lines}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
