"""The cascade: heads on frozen features, a GRU, finer labels from its states, and once more.

Everything that an image is trained with comes from models that did not see its patient: within
the images to learn from, scores are made in inner folds.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from torch.nn import functional

from dicomnode.networks.description import END, ContextWriter
from dicomnode.networks.thorax import FocusMap
from scripts import words
from scripts.targets import JSRT, Array, Images, Sequences

Rows = NDArray[np.int_]
POOLED_PENALTY, GEOMETRY_PENALTY, FOCUS_PENALTY, CONTEXT_PENALTY = 3.0, 1.0, 0.03, 3.0
GEOMETRY_SHARE, OTHER_SHARE = {1: 4.0}, 0.7
"""As in cxr_thorax: the geometry's weight beside the features', more for the heart's size."""
INNER, GRID = 5, 6
CLUSTERS = (8, 12, 16)
EPOCHS, BATCH, RATE = 60, 64, 3e-3
PLACED = tuple(words.NUMBER[name] for name in ("Lung_Opacity", "Nodule", "Cardiomegaly"))
"""Diseases of which more is known than the organ."""


def folds_of(patients: Rows, count: int, seed: int) -> Rows:
    """Return the fold of each image; a patient's images share one."""
    order = np.random.default_rng(seed).permutation(patients.max() + 1)
    return (order % count)[patients]


class Scale:
    """Numbers as the ridge regressions take them."""

    def __init__(self, x: Array, limit: float | None) -> None:
        self.middle, self.spread, self.limit = np.median(x, 0), x.std(0) + 1e-6, limit

    def __call__(self, x: Array) -> Array:
        z = (x - self.middle) / self.spread
        z = z if self.limit is None else z.clip(-self.limit, self.limit)
        return z / np.sqrt(x.shape[1])


def ridge(x: Array, y: Array, sources: Rows, penalty: float) -> Array:
    """Return weights of y on x, both centred within each source."""
    x, y = x.copy(), y.copy()
    for source in np.unique(sources):
        rows = sources == source
        x[rows] -= x[rows].mean(0)
        y[rows] -= y[rows].mean(0)
    if x.shape[0] < x.shape[1]:
        return x.T @ np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), y)
    return np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)


def out_of_fold(
    x: Array, y: Array, images: Images, seen: Rows, taught: Rows, penalty: float, seed: int
) -> Array:
    """Return scores (images, labels): of `seen` by inner folds, of the others by all of `taught`.

    `taught` are those of `seen` whose `y` is known.
    """
    weights = ridge(x[taught], y[taught], images.sources[taught], penalty)
    scores = (x - x[taught].mean(0)) @ weights
    fold = folds_of(images.patients, INNER, seed)
    for k in range(INNER):
        some, rest = taught[fold[taught] != k], seen[fold[seen] == k]
        weights = ridge(x[some], y[some], images.sources[some], penalty)
        scores[rest] = (x[rest] - x[some].mean(0)) @ weights
    return scores


def first_embedding(images: Images, seen: Rows, seed: int = 0) -> Array:
    """Return (images, 14 + 39 + 36): classes' scores, geometry, opacities on a coarse grid."""
    nih = seen[images.sources[seen] != JSRT]
    pooled, shape = Scale(images.pooled[nih], None), Scale(images.geometry[nih], 4.0)
    parts = []
    for scale, x, penalty in (
        (pooled, images.pooled, POOLED_PENALTY),
        (shape, images.geometry, GEOMETRY_PENALTY),
    ):
        found = out_of_fold(scale(x), images.truth, images, nih, nih, penalty, seed)
        parts.append(found / found[nih].std(0))
    share = np.array([GEOMETRY_SHARE.get(n, OTHER_SHARE) for n in range(images.truth.shape[1])])
    logits = parts[0] + share * parts[1]
    geometry = ((images.geometry - shape.middle) / shape.spread).clip(-4, 4)
    return np.concatenate([logits, geometry, opacities(images, nih, seed)], 1)


def opacities(images: Images, nih: Rows, seed: int) -> Array:
    """Return (images, 36): the map of opacities on a coarse grid, out of fold for `nih`."""
    focus = FocusMap(images.maps.shape[1])
    taught = nih[images.graded[nih]]
    inputs = _focus_inputs(focus, images, taught)
    middle, spread = inputs.mean((0, 2, 3)), inputs.std((0, 2, 3)) + 1e-6
    inputs = (inputs - middle[:, None, None]) / spread[:, None, None]
    inside = torch.from_numpy(images.inside[taught])
    fold = folds_of(images.patients, INNER, seed)

    def learned(some: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        a = inputs[some][:, :, ::2, ::2].permute(0, 2, 3, 1).reshape(-1, inputs.shape[1])
        y = inside[some][:, ::2, ::2].reshape(-1)
        penalty = FOCUS_PENALTY * len(a) * torch.eye(a.shape[1])
        return torch.linalg.solve(a.T @ a + penalty, a.T @ (y - y.mean())), y.mean()

    every = learned(np.arange(len(taught)))
    inner = [learned(np.flatnonzero(fold[taught] != k)) for k in range(INNER)]
    is_seen = np.zeros(len(images.names), bool)
    is_seen[nih] = True
    grids = []
    for first in range(0, len(images.names), 100):
        rows = np.arange(first, min(first + 100, len(images.names)))
        x = (_focus_inputs(focus, images, rows) - middle[:, None, None]) / spread[:, None, None]
        maps = torch.stack(
            [
                torch.einsum("chw,c->hw", x[n], (inner[fold[row]] if is_seen[row] else every)[0])
                for n, row in enumerate(rows)
            ]
        )
        grids.append(functional.adaptive_avg_pool2d(maps[:, None], GRID).flatten(1))
    return np.asarray(torch.cat(grids).numpy().astype(np.float64))


def _focus_inputs(focus: FocusMap, images: Images, rows: Rows) -> torch.Tensor:
    maps = torch.from_numpy(images.maps[rows].astype(np.float32))
    return focus.inputs(maps, torch.from_numpy(images.organs[rows].astype(np.float32)))


@dataclass(frozen=True)
class Writer:
    """A trained GRU, and how its embedding is scaled."""

    network: ContextWriter
    middle: Array
    spread: Array

    def scaled(self, embedding: Array) -> torch.Tensor:
        z = ((embedding - self.middle) / self.spread).clip(-4, 4)
        return torch.from_numpy(z.astype(np.float32))

    def write(self, embedding: Array, diseases: Rows) -> tuple[Rows, Array]:
        """Return words (rows, LENGTH) and their certainty."""
        with torch.inference_mode():
            said, sure = self.network.write(
                self.scaled(embedding), torch.from_numpy(diseases), words.LENGTH
            )
        return said.numpy(), sure.numpy()

    def joint(self, embedding: Array, sequences: Rows) -> Array:
        """Return the joint image-text vectors (rows, hidden)."""
        with torch.inference_mode():
            _, vectors = self.network(self.scaled(embedding), torch.from_numpy(sequences))
        return np.asarray(vectors.numpy().astype(np.float64))


def learn_to_write(embedding: Array, sequences: Rows, seed: int = 0) -> Writer:
    """Train the GRU on one row for each disease of each image."""
    torch.manual_seed(seed)
    middle, spread = embedding.mean(0), embedding.std(0) + 1e-6
    network = ContextWriter(embedding.shape[1], len(words.VOCABULARY))
    writer = Writer(network, middle, spread)
    x, y = writer.scaled(embedding), torch.from_numpy(sequences)
    # As many rows with a place or degree as without one in each epoch.
    placed = torch.from_numpy(np.isin(sequences[:, 0], PLACED))
    chance = torch.where(placed, 1 / placed.sum(), 1 / (~placed).sum())
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.05)
    steps = EPOCHS * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(steps):
        rows = torch.multinomial(chance, BATCH, replacement=True)
        said, _ = network(x[rows], y[rows])
        loss = functional.cross_entropy(said.flatten(0, 1), y[rows, 1:].flatten(), reduction="none")
        # What comes after the end counts for nothing.
        counted = torch.cat([torch.ones(BATCH, 1, dtype=torch.bool), y[rows, 1:-1] != END], 1)
        optimizer.zero_grad(set_to_none=True)
        (loss * counted.flatten()).sum().div(counted.sum()).backward()
        optimizer.step()
        schedule.step()
    network.eval()
    return writer


def clustered(vectors: Array, seed: int = 0) -> Rows:
    """Return the cluster of each joint vector; their number is the one of the best silhouette."""
    tried = []
    for count in CLUSTERS:
        labels = KMeans(count, n_init=4, random_state=seed).fit_predict(vectors)
        tried.append((float(silhouette_score(vectors, labels, random_state=seed)), labels))
    return np.asarray(max(tried, key=lambda one: one[0])[1])


@dataclass(frozen=True)
class Cascade:
    """Both rounds, learned from some of the images."""

    first: Writer
    second: Writer
    embeddings: tuple[Array, Array]
    """Of all images, round one and two."""
    labels: Rows
    """Cluster of each sequence that was learned from."""


def learn(images: Images, sequences: Sequences, seen: Rows, seed: int = 0) -> Cascade:
    """Learn both rounds from the images `seen`."""
    rows = np.flatnonzero(np.isin(sequences.image, seen))
    said, which = sequences.words[rows], sequences.image[rows]
    one = first_embedding(images, seen, seed)
    first = learn_to_write(one[which], said, seed)
    labels = clustered(first.joint(one[which], said), seed)
    two = np.concatenate([one, context_scores(images, seen, which, labels, seed)], 1)
    second = learn_to_write(two[which], said, seed)
    return Cascade(first, second, (one, two), labels)


def context_inputs(images: Images, seen: Rows) -> Array:
    """Return what the second round's head sees: pooled features and geometry, scaled."""
    pooled, shape = Scale(images.pooled[seen], None), Scale(images.geometry[seen], 4.0)
    return np.concatenate([pooled(images.pooled), shape(images.geometry)], 1)


def context_targets(images: Images, which: Rows, labels: Rows) -> Array:
    """Return (images, clusters): 1 if one of the image's sequences is in the cluster."""
    targets = np.zeros((len(images.names), labels.max() + 1))
    targets[which, labels] = 1
    return targets


def context_scores(images: Images, seen: Rows, which: Rows, labels: Rows, seed: int) -> Array:
    """Return (images, clusters): scores of the head of the second round, out of fold for `seen`."""
    targets = context_targets(images, which, labels)
    x = context_inputs(images, seen)
    scores = out_of_fold(x, targets, images, seen, seen, CONTEXT_PENALTY, seed)
    return scores / (scores[seen].std(0) + 1e-9)
