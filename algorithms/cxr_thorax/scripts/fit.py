"""Fits the head on cached features: seconds on one core, no gradient descent.

Ridge regression of labels on the pooled features and, apart, on the geometry of heart and lungs;
both are centred *within each source*, so that what differs between archives cannot be learned.
Effusion is learned in the same way from the features of both lungs' bases alone. One more ridge
regression learns, place by place, what lies inside the boxes of lung opacities.
Every choice is judged by five-fold cross-validation over the patients of the training part; the
test part is not looked at here.

python -m scripts.fit DATA features.npz
"""

import csv
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression

from dicomnode.evaluation.calibration import fit_scaling, operating, point_of_specificity
from dicomnode.evaluation.prevalence import nih_weights
from dicomnode.evaluation.ranking import Cases, auc_gain, auc_interval, auc_within
from scripts.features import frozen_reader
from scripts.prepare import FROM_BASES, LABELS, OPACITY

Array = NDArray[np.float64]
PYRAMID_PENALTY, GEOMETRY_PENALTY, BASES_PENALTY, FOCUS_PENALTY = 3.0, 1.0, 1.0, 0.03
GEOMETRY_SHARE = {"Cardiomegaly": 4.0}
"""Weight of the geometry's score beside the features' one; a heart's size is geometry."""
OTHER_SHARE = 0.7
FOLDS, SEEDS, FEWEST = 5, (0, 1), 20
SPECIFICITY = 0.9


@dataclass(frozen=True)
class Data:
    """Rows of the training part."""

    truth: Array
    """(images, 14)."""
    opacity: Array
    """(images,), NaN where no reader looked."""
    header: Array
    """View, age and sex."""
    is_ap: Array
    patients: NDArray[np.int_]
    sources: NDArray[np.int_]
    """1: mixed, 0: paired (see `prepare.source_of`)."""
    pooled: Array
    geometry: Array
    bases: Array
    rows: NDArray[np.int_]
    """Of the features' file."""
    names: list[str]


def read(data: Path, features: Path) -> Data:
    with (data / "labels.csv").open(newline="") as stream:
        table = {row["image"]: row for row in csv.DictReader(stream)}
    stored = np.load(features)
    kept = [n for n, name in enumerate(stored["image"]) if table[str(name)]["split"] == "train"]
    rows = [table[str(stored["image"][n])] for n in kept]
    age = (np.array([float(row["age"]) for row in rows]).clip(0, 95) - 47) / 17
    is_ap = np.array([float(row["view"] == "AP") for row in rows])
    male = np.array([float(row["sex"] == "M") for row in rows])
    return Data(
        truth=np.array([[float(row[label]) for label in LABELS] for row in rows]),
        opacity=np.array([float(row[OPACITY] or "nan") for row in rows]),
        header=np.column_stack([is_ap, male, age, age**2, is_ap * age, is_ap * male]),
        is_ap=is_ap,
        patients=np.unique([row["patient"] for row in rows], return_inverse=True)[1],
        sources=np.array([int(row["source"] == "mixed") for row in rows]),
        pooled=stored["pooled"][kept].astype(np.float64),
        geometry=stored["geometry"][kept].astype(np.float64),
        bases=stored["bases"][kept].astype(np.float64),
        rows=np.array(kept),
        names=[row["image"] for row in rows],
    )


def folds_of(patients: NDArray[np.int_], seed: int) -> NDArray[np.int_]:
    order = np.random.default_rng(seed).permutation(patients.max() + 1)
    return (order % FOLDS)[patients]


def ridge(x: Array, y: Array, sources: NDArray[np.int_], penalty: float) -> Array:
    """Return weights (features, labels) of y on x, both centred within each source."""
    x, y = x.copy(), y.copy()
    for source in np.unique(sources):
        rows = sources == source
        x[rows] -= x[rows].mean(0)
        y[rows] -= y[rows].mean(0)
    if x.shape[0] < x.shape[1]:
        return x.T @ np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), y)
    return np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)


def scaled(x: Array, middle: Array, spread: Array, limit: float | None) -> Array:
    z = (x - middle) / spread
    return (z if limit is None else z.clip(-limit, limit)) / np.sqrt(x.shape[1])


class Block:
    """One block of features: its scale, its penalty, its score out of fold and its weights."""

    def __init__(self, data: Data, x: Array, penalty: float, limit: float | None) -> None:
        self.middle, self.spread = np.median(x, 0), x.std(0) + 1e-6
        self.z = scaled(x, self.middle, self.spread, limit)
        self.weights = ridge(self.z, data.truth, data.sources, penalty)
        self.unseen = [self._unseen(data, penalty, seed) for seed in SEEDS]
        self.size = np.mean([score.std(0) for score in self.unseen], 0)
        self.offset = self.z.mean(0) @ self.weights

    def _unseen(self, data: Data, penalty: float, seed: int) -> Array:
        fold = folds_of(data.patients, seed)
        scores = np.zeros_like(data.truth)
        for k in range(FOLDS):
            seen = fold != k
            w = ridge(self.z[seen], data.truth[seen], data.sources[seen], penalty)
            scores[~seen] = (self.z[~seen] - self.z[seen].mean(0)) @ w
        return scores


def without_image(data: Data, truth: Array, seed: int) -> Array:
    """Return what view, age and sex say, out of fold; each source has its own intercept."""
    fold = folds_of(data.patients, seed)
    scores = np.zeros(len(truth))
    known = ~np.isnan(truth)
    for k in range(FOLDS):
        seen = (fold != k) & known
        x = np.column_stack([data.header, 3.0 * data.sources])
        model = LogisticRegression(max_iter=500).fit(x[seen], truth[seen])
        x[:, -1] = 0
        scores[fold == k] = model.decision_function(x[fold == k])
    return scores


def fit(data_folder: Path, features: Path) -> None:
    data = read(data_folder, features)
    pyramid = Block(data, data.pooled, PYRAMID_PENALTY, None)
    geometry = Block(data, data.geometry, GEOMETRY_PENALTY, 4.0)
    bases = Block(data, data.bases, BASES_PENALTY, None)
    share = np.array([GEOMETRY_SHARE.get(label, OTHER_SHARE) for label in LABELS])
    unseen = [
        p / pyramid.size + share * g / geometry.size
        for p, g in zip(pyramid.unseen, geometry.unseen, strict=True)
    ]
    from_bases = LABELS.index(FROM_BASES)
    for scores, at_bases in zip(unseen, bases.unseen, strict=True):
        scores[:, from_bases] = at_bases[:, from_bases] / bases.size[from_bases]
    truths = {label: data.truth[:, n] for n, label in enumerate(LABELS)}
    weights = nih_weights(truths, data.is_ap)
    mixed = data.sources == 1
    mixed_weights = nih_weights({k: v[mixed] for k, v in truths.items()}, data.is_ap[mixed])
    cases = Cases(patients=data.patients, sources=data.sources, weights=weights)
    figures = []
    for n, label in enumerate(LABELS):
        figures.append(
            judged(label, data.truth[:, n], [s[:, n] for s in unseen], data, cases, mixed_weights)
        )
    reader = frozen_reader()
    put_head(reader, pyramid, geometry, share)
    put_bases(reader, bases, from_bases)
    figures.append(fit_focus(data, data_folder, features, reader))
    network = {k: v.contiguous() for k, v in reader.state_dict().items()}
    network = {
        # The head's weights are too small for half precision.
        k: v
        if k.startswith(("head", "focus", "geom", "bases")) or v.dtype != torch.float32
        else v.half()
        for k, v in network.items()
    }
    save_file(network, "models/model.safetensors")
    Path("docs/cross_validation.json").write_text(json.dumps(figures, indent=1) + "\n")
    for one in figures:
        print(*(one[key] for key in ("name", "auc", "without_image", "gain", "reported")))


def judged(
    label: str, truth: Array, unseen: list[Array], data: Data, cases: Cases, mixed_weights: Array
) -> dict[str, object]:
    """Return the figures of one class, its calibration, and whether it is good enough."""
    score = np.mean(unseen, 0)
    plain = np.mean([without_image(data, truth, seed) for seed in SEEDS], 0)
    auc, gain = auc_interval(truth, score, cases), auc_gain(truth, score, plain, cases)
    mixed = data.sources == 1
    part = cases.part(mixed)
    scaling = fit_scaling(score[mixed], truth[mixed], mixed_weights)
    likely = scaling.probabilities(score[mixed])
    point = point_of_specificity(truth[mixed], likely, mixed_weights, SPECIFICITY)
    positive = int(truth[mixed].sum())
    # At least as good as no image, better than chance, and enough cases outside the paired source.
    reported = gain.low > 0 and auc.low > 0.5 and positive >= FEWEST
    at = operating(truth[mixed], likely, mixed_weights, point)
    return {
        "name": label,
        "positive": int(truth.sum()),
        "positive_mixed": positive,
        "auc": [round(v, 3) for v in (auc.value, auc.low, auc.high)],
        "auc_mixed_source": round(auc_within(truth[mixed], score[mixed], part), 3),
        "without_image": round(auc_within(truth, plain, cases), 3),
        "gain": [round(v, 3) for v in (gain.value, gain.low, gain.high)],
        "temperature": round(scaling.temperature, 4),
        "bias": round(scaling.bias, 4),
        "operating_point": round(point, 4),
        "sensitivity": round(at.sensitivity, 3),
        "specificity": round(at.specificity, 3),
        "reported": bool(reported),
    }


def put_head(reader: torch.nn.Module, pyramid: Block, geometry: Block, share: Array) -> None:
    """Fold scales and shares into the prediction layer: its logit is the sum of both scores."""
    w = pyramid.weights / np.sqrt(len(pyramid.weights)) / pyramid.spread[:, None] / pyramid.size
    g = geometry.weights / np.sqrt(len(geometry.weights)) / geometry.size * share
    bias = -pyramid.middle @ w - pyramid.offset / pyramid.size
    bias -= share * geometry.offset / geometry.size
    head = reader.head
    with torch.no_grad():
        head.prediction.weight.copy_(torch.from_numpy(np.concatenate([w, g]).T))
        head.prediction.bias.copy_(torch.from_numpy(bias))
        reader.geometry_middle.copy_(torch.from_numpy(geometry.middle))
        reader.geometry_spread.copy_(torch.from_numpy(geometry.spread))


def put_bases(reader: torch.nn.Module, bases: Block, number: int) -> None:
    """Fold scales into the layer of the bases.

    The head's own row of the class stays: cxr_description's embedding is made of it.
    """
    w = bases.weights[:, number] / np.sqrt(len(bases.weights)) / bases.spread
    w /= bases.size[number]
    bias = -bases.middle @ w - bases.offset[number] / bases.size[number]
    with torch.no_grad():
        reader.bases.answer.weight.copy_(torch.from_numpy(w)[None])
        reader.bases.answer.bias.fill_(float(bias))


def fit_focus(
    data: Data, folder: Path, features: Path, reader: torch.nn.Module
) -> dict[str, object]:
    """Fit the map of lung opacities on the boxes of the images that a reader graded."""
    graded = np.flatnonzero(~np.isnan(data.opacity))
    stored = np.load(features)
    rows = data.rows[graded]
    maps = torch.from_numpy(stored["maps"][rows].astype(np.float32))
    organs = torch.from_numpy(stored["organs"][rows].astype(np.float32))
    names = [data.names[n] for n in graded]
    inside = boxes_inside(folder, names, stored["place"][rows], maps.shape[2])
    x = reader.focus.inputs(maps, organs)
    middle, spread = x.mean((0, 2, 3)), x.std((0, 2, 3)) + 1e-6
    x = (x - middle[:, None, None]) / spread[:, None, None]

    def learned(some: NDArray[np.int_]) -> tuple[torch.Tensor, torch.Tensor]:
        a = x[some][:, :, ::2, ::2].permute(0, 2, 3, 1).reshape(-1, x.shape[1])
        y = inside[some][:, ::2, ::2].reshape(-1)
        rate = y.mean()
        penalty = FOCUS_PENALTY * len(a) * torch.eye(a.shape[1])
        return torch.linalg.solve(a.T @ a + penalty, a.T @ (y - rate)), rate

    found = torch.zeros_like(inside)
    fold = folds_of(data.patients, 0)[graded]
    for k in range(FOLDS):
        w, rate = learned(np.flatnonzero(fold != k))
        found[fold == k] = torch.einsum("nchw,c->nhw", x[fold == k], w) + rate
    w, rate = learned(np.arange(len(graded)))
    # Scaled so that the log-sum-exp is near the maximum.
    scale = 1 / float(found.std())
    with torch.no_grad():
        reader.focus.answer.weight.copy_((scale * w / spread).reshape(1, -1, 1, 1))
        reader.focus.answer.bias.copy_(scale * (rate - (w * middle / spread).sum()))
    pooled = reader.focus.pooled(scale * found[:, None], organs)[:, 0].double().numpy()
    truth = data.opacity[graded]
    cases = Cases(
        patients=data.patients[graded],
        sources=data.sources[graded],
        weights=np.ones(len(graded)),
    )
    part = replace(
        data,
        header=data.header[graded],
        patients=np.unique(data.patients[graded], return_inverse=True)[1],
        sources=data.sources[graded],
    )
    plain = np.mean([without_image(part, truth, seed) for seed in SEEDS], 0)
    auc, gain = auc_interval(truth, pooled, cases), auc_gain(truth, pooled, plain, cases)
    scaling = fit_scaling(pooled, truth, cases.weights)
    likely = scaling.probabilities(pooled)
    point = point_of_specificity(truth, likely, cases.weights, SPECIFICITY)
    at = operating(truth, likely, cases.weights, point)
    return {
        "name": OPACITY,
        "positive": int(truth.sum()),
        "positive_mixed": int(truth[data.sources[graded] == 1].sum()),
        "auc": [round(v, 3) for v in (auc.value, auc.low, auc.high)],
        "without_image": round(auc_within(truth, plain, cases), 3),
        "gain": [round(v, 3) for v in (gain.value, gain.low, gain.high)],
        "temperature": round(scaling.temperature, 4),
        "bias": round(scaling.bias, 4),
        "operating_point": round(point, 4),
        "sensitivity": round(at.sensitivity, 3),
        "specificity": round(at.specificity, 3),
        "reported": bool(gain.low > 0 and auc.low > 0.5),
    }


def boxes_inside(folder: Path, names: list[str], place: Array, size: int) -> torch.Tensor:
    """Return (images, size, size): 1 where a place of the cut-out thorax lies in a box."""
    boxes: dict[str, list[tuple[float, ...]]] = {}
    with (folder / "boxes.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            x, y, w, h = (float(row[k]) / 1024 for k in ("x", "y", "width", "height"))
            boxes.setdefault(row["image"], []).append((x, y, x + w, y + h))
    inside = torch.zeros(len(names), size, size)
    step = (np.arange(size) + 0.5) / size * 2 - 1
    for n, name in enumerate(names):
        across, down = (place[n, axis] + place[n, 2] * step for axis in (0, 1))
        for left, top, right, bottom in boxes.get(name, []):
            hit = np.outer((down > top) & (down < bottom), (across > left) & (across < right))
            inside[n] = torch.maximum(inside[n], torch.from_numpy(hit.astype(np.float32)))
    return inside


if __name__ == "__main__":
    fit(Path(sys.argv[1]), Path(sys.argv[2]))
