"""Random views of places in phantoms with diffuse disease, with what is there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dicomnode.networks.patterns import lattice_of
from dicomnode.networks.views import draw_poses, views_at
from dicomnode.phantom.anatomy import make_anatomy
from dicomnode.phantom.patterns import LUNG_PATTERNS, Painter, Pattern
from dicomnode.phantom.scanner import draw_scan, scanned, tissue_hu
from dicomnode.phantom.structures import LUNGS, Organ

log = logging.getLogger("patterns")

SPACING = (2.0, 2.0, 2.0)
EVERY = 6
"""Voxels of a lattice cell, as the inferer has it."""
TALL_MM = 72.0
CHEST, BELLY = (200.0, 370.0), (-60.0, 130.0)
"""Lowest heights of scenes in the body plan."""
HEALTHY_SHARE = 0.2
"""Of the people, who have nothing."""
_PURE = 0.75
"""Share of a cell that one pattern must fill to be asked for; between it and none: left out."""

Rows = dict[str, npt.NDArray[np.generic]]


def scene_of(seed: int) -> tuple[torch.Tensor, npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """HU, `Pattern` and `Organ` of a part of a person, `(x, y, z)` in RAS at 2 mm."""
    rng = np.random.default_rng([91, seed])
    low = float(rng.uniform(*(CHEST if rng.random() < 0.65 else BELLY)))
    anatomy = make_anatomy(
        seed,
        region=(low, low + TALL_MM),
        spacing_mm=SPACING,
        half_width_mm=165.0,
        half_depth_mm=128.0,
    )
    scan = draw_scan(rng, SPACING)
    hu = tissue_hu(rng, anatomy.labels, anatomy.tissue, SPACING, scan, anatomy.age)
    painter = Painter(rng, hu=hu, labels=anatomy.labels, tissue=anatomy.tissue, spacing=SPACING)
    if rng.random() > HEALTHY_SHARE:
        for pattern in rng.choice(LUNG_PATTERNS, int(rng.integers(2, 7))):
            painter.paint(Pattern(int(pattern)))
        for _ in range(int(rng.integers(0, 3))):
            painter.paint(Pattern.COLITIS)
    seen = scanned(rng, hu, SPACING, scan)
    turned = [
        np.ascontiguousarray(a.transpose(2, 1, 0)[::-1, ::-1])
        for a in (seen, painter.painted, anatomy.labels)
    ]
    return torch.from_numpy(turned[0].astype(np.float32)), turned[1], turned[2]


def cells_of(
    hu: torch.Tensor, painted: npt.NDArray[np.uint8], organs: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int_], npt.NDArray[np.int_]]:
    """Points in mm of the body's cells, what each shows (-1: mixed), and its organ."""
    cells, _ = lattice_of(hu, EVERY)
    low, high = cells * EVERY, np.minimum(cells * EVERY + EVERY, painted.shape)
    whole = (high - low).prod(1)
    shares = np.zeros((len(Pattern) + 1, len(cells)))
    for pattern in Pattern:
        table = np.pad((painted == pattern).astype(np.float64), ((1, 0),) * 3).cumsum(0)
        table = table.cumsum(1).cumsum(2)
        for corner in np.ndindex(2, 2, 2):
            at = np.where(np.array(corner) == 1, high, low)
            sign = -1 if sum(corner) % 2 == 0 else 1
            shares[pattern] += sign * table[tuple(at.T)]
    shares /= whole
    kinds = np.where(shares.max(0) >= _PURE, shares.argmax(0), -1)
    # A thick wall of bowel never fills a cell.
    kinds[shares[Pattern.COLITIS] >= 0.25] = Pattern.COLITIS
    kinds[shares.sum(0) < 0.02] = 0
    middle = np.minimum(low + EVERY // 2, np.array(painted.shape) - 1)
    points = (cells + 0.5) * EVERY * np.array(SPACING) - np.array(SPACING) / 2
    return points, kinds, organs[tuple(middle.T)].astype(int)


def chosen_rows(
    rng: np.random.Generator,
    kinds: npt.NDArray[np.int_],
    organs: npt.NDArray[np.int_],
    a_class: int,
) -> npt.NDArray[np.int_]:
    """Rows to learn from: so many of each class at most; of none, most from lung and bowel."""
    rows = []
    for kind in range(1, len(Pattern) + 1):
        of_kind = np.flatnonzero(kinds == kind)
        rows.append(rng.permutation(of_kind)[:a_class])
    none = kinds == 0
    for organs_like in (LUNGS, (Organ.COLON,), None):
        like = np.isin(organs, organs_like) if organs_like else np.ones(len(organs), bool)
        rows.append(rng.permutation(np.flatnonzero(none & like))[:a_class])
    return np.unique(np.concatenate(rows))


def rows_of(seed: int, a_class: int, views: int) -> Rows:
    """Views `(n, 3, side, side)` int16 and classes `(n,)` of one person's scene."""
    hu, painted, organs = scene_of(seed)
    points, kinds, told = cells_of(hu, painted, organs)
    rng = np.random.default_rng([92, seed])
    rows = chosen_rows(rng, kinds, told, a_class)
    poses = [draw_poses(points[row], views, seed=int(rng.integers(2**31))) for row in rows]
    if not poses:
        return {"views": np.zeros((0, 3, 24, 24), np.int16), "classes": np.zeros(0, np.int64)}
    cut = views_at(hu, SPACING, torch.from_numpy(np.concatenate(poses)))
    return {
        "views": cut.round().numpy().astype(np.int16),
        "classes": np.repeat(kinds[rows], views),
    }


def gathered(folder: Path, seeds: Sequence[int], a_class: int = 60, views: int = 2) -> Rows:
    """Rows of many people; kept on disk, made where they are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for seed in seeds:
        path = folder / f"{seed}.npz"
        if not path.exists():
            np.savez(path, **rows_of(seed, a_class, views))
            log.info("patterns.made %d", seed)
        parts.append(dict(np.load(path)))
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
