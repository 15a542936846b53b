"""Training slabs: a painted or real anatomy deformed, made ill and scanned. Seeded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dicomnode.domain.volumes import Grid
from dicomnode.phantom import Anatomy, draw_pathology, render
from dicomnode.phantom.canvas import smooth_noise
from scripts.classes import UNKNOWN, class_table

SPACING = (3.0, 3.0, 3.0)
OFFSETS = (-4, -2, -1, 0, 1, 2, 4)
"""Slices around the one that is labelled, in slices of 3 mm."""
ROWS, COLUMNS = 112, 144
DEPTH = 20
"""Slices of a slab."""
TABLE = class_table()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """Labels ready to be varied."""

    labels: npt.NDArray[np.uint8]
    tissue: npt.NDArray[np.uint8]
    age: float
    unlabelled: npt.NDArray[np.bool_] | None = None
    """Voxels of the body that no label names; None where every voxel has one."""
    hu: npt.NDArray[np.float32] | None = None
    """The real CT the labels are of, if there is one."""


def read_stock(path: Path) -> Stock:
    """What `scripts.pool` wrote."""
    with np.load(path) as kept:
        return Stock(labels=kept["labels"], tissue=kept["tissue"], age=float(kept["age"]))


def network_scale(hu: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """HU as the network reads them, about -1.5..1.5: fine in soft tissue, coarse in air and bone.

    `dicomnode.networks.ScaleSoftTissued` does the same at inference.
    """
    fine = np.clip((hu - 50) / 250, -1, 1)
    return np.asarray(fine + 0.5 * np.clip(hu / 1000, -1, 1), np.float32)


def deformed_indices(
    rng: np.random.Generator, shape: tuple[int, ...]
) -> tuple[npt.NDArray[np.intp], ...]:
    """Nearest voxels of the stock for each voxel of a slab `(DEPTH, ROWS, COLUMNS)`."""
    size = (DEPTH, ROWS, COLUMNS)
    zoom = rng.uniform(0.85, 1.18)
    scale = zoom * np.array([rng.uniform(0.85, 1.15), rng.uniform(0.9, 1.1), rng.uniform(0.9, 1.1)])
    turn = rng.normal(0, 0.07)
    lines = [(np.arange(n) - (n - 1) / 2).astype(np.float32) for n in size]
    z, y, x = np.meshgrid(*lines, indexing="ij", sparse=True)
    bend = rng.uniform(0.2, 1.4)
    move = [smooth_noise(rng, size, SPACING, 40.0) * np.float32(bend) for _ in range(3)]
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    reach = (DEPTH / 2) / scale[0]
    at = rng.uniform(min(reach, shape[0] / 2), max(shape[0] - reach, shape[0] / 2))
    lean = rng.normal(0, 0.03)
    wanted = (
        z / scale[0] + at + lean * y + move[0],
        (y * cos - x * sin) / scale[1] + shape[1] / 2 + rng.normal(0, 5) + move[1],
        (x * cos + y * sin) / scale[2] + shape[2] / 2 + rng.normal(0, 5) + move[2],
    )
    return tuple(np.rint(w).astype(np.intp) for w in wanted)


def make_slab(
    stocks: Sequence[Stock], seed: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Network input `(DEPTH, ROWS, COLUMNS)` and classes of the same shape."""
    rng = np.random.default_rng([9, seed])
    stock = stocks[int(rng.integers(len(stocks)))]
    index = deformed_indices(rng, stock.labels.shape)
    inside = np.ones((DEPTH, ROWS, COLUMNS), np.bool_)
    clipped = []
    for axis, at in enumerate(index):
        top = stock.labels.shape[axis] - 1
        if axis:
            inside &= (at >= 0) & (at <= top)
        clipped.append(np.clip(at, 0, top))
    where = (clipped[0], clipped[1], clipped[2])
    labels = np.where(inside, stock.labels[where], 0).astype(np.uint8)
    tissue = np.where(inside, stock.tissue[where], 0).astype(np.uint8)
    age = float(np.clip(stock.age + rng.normal(0, 0.2), 0, 1))
    grid = Grid(
        affine_lps_mm=np.diag([0.0, 0, 0, 1]), shape=labels.shape, frame_of_reference_uid=None
    )
    grid.affine_lps_mm[[0, 1, 2], [2, 1, 0]] = 3.0
    fine = smooth_noise(rng, labels.shape, SPACING, 16.0)
    anatomy = Anatomy(labels=labels, tissue=tissue, grid=grid, age=age, fine=fine)
    wish = draw_pathology(seed) if rng.random() < 0.45 else {}
    if stock.hu is not None and rng.random() < 0.5:
        hu = np.where(inside, stock.hu[where], -1000).astype(np.float32)
        hu = hu + np.float32(rng.uniform(0, 15)) * rng.standard_normal(hu.shape, dtype=np.float32)
        hu = hu + np.float32(rng.normal(0, 6))
    else:
        case = render(anatomy, seed, pathology=wish)
        hu, labels = case.hu, case.labels
    classes = TABLE[labels]
    if stock.unlabelled is not None:
        classes = np.where(inside & stock.unlabelled[where], UNKNOWN, classes).astype(np.uint8)
    _narrow_view(rng, hu, classes)
    return network_scale(hu), classes


def _narrow_view(
    rng: np.random.Generator, hu: npt.NDArray[np.float32], classes: npt.NDArray[np.uint8]
) -> None:
    """Now and then a field of view that cuts the patient, or a scan that ends within the slab."""
    if rng.random() < 0.12:
        y = np.arange(ROWS)[:, None] - ROWS / 2 - rng.normal(0, 6)
        x = np.arange(COLUMNS)[None, :] - COLUMNS / 2 - rng.normal(0, 8)
        radius = rng.uniform(38, 62)
        out = np.hypot(y, x) > radius
        if rng.random() < 0.5:
            out = (np.abs(y) > radius * 0.9) | (np.abs(x) > radius)
        hu[:, out] = -1024
        classes[:, out] = 0
    if rng.random() < 0.2:
        end = int(rng.integers(4, DEPTH - 8))
        if rng.random() < 0.5:
            hu[:end] = hu[end]
            classes[:end] = UNKNOWN
        else:
            hu[DEPTH - end :] = hu[DEPTH - end - 1]
            classes[DEPTH - end :] = UNKNOWN


def slab_samples(
    image: npt.NDArray[np.float32], classes: npt.NDArray[np.uint8], step: int, start: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Inputs `(n, len(OFFSETS), rows, columns)` and classes `(n, rows, columns)`."""
    middles = range(max(OFFSETS) + start, DEPTH - max(OFFSETS), step)
    inputs = np.stack([np.stack([image[m + o] for o in OFFSETS]) for m in middles])
    return inputs, np.stack([classes[m] for m in middles])
