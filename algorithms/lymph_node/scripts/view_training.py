"""Stage 2: random views of lesions, and of what the candidate network takes for some."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from dicomnode.networks.lesion_finder import FoundInferer, LesionFinder
from dicomnode.networks.views import draw_poses, scales_for, views_at
from scripts.appearance import as_scanned, dimmer, free_lung
from scripts.averaging import Averaged, varied
from scripts.scenes import SPACING, Scene

log = logging.getLogger("lesions.training")

HIT_MARGIN_MM = 2.0
UNKNOWN = -1
"""Class of a candidate that may be a lesion nobody marked."""

Mined = Mapping[str, npt.NDArray[np.generic]]


def class_of(scene: Scene, point: npt.NDArray[np.float64], kind: int) -> int:
    """0: no lesion; its kind + 1; `UNKNOWN`."""
    for one in scene.clear:
        if np.linalg.norm(np.asarray(one.centre) - point) <= one.radius + HIT_MARGIN_MM:
            return one.kind + 1
    for one in scene.ignored:
        if np.linalg.norm(np.asarray(one.centre) - point) <= one.radius + 4.0:
            return UNKNOWN
    return UNKNOWN if kind in scene.unknown_kinds else 0


def shown(scene: Scene) -> Tensor:
    """A whole scene as one scanner or another shows it, always the same."""
    rng = np.random.default_rng([3, *map(ord, scene.name)])
    hu = torch.from_numpy(scene.hu.astype(np.float32))
    if rng.random() < 0.4:
        hu = dimmer(rng, hu, scene.instances, scene.nodes)
    lung = free_lung(scene.labels, scene.instances) if scene.has_labels else None
    return as_scanned(rng, hu, lung)


def mine(
    finder: LesionFinder, scenes: Sequence[Scene], folder: Path, *, most: int
) -> dict[str, Mined]:
    """Candidates of every scene, at most `most` a kind, with their classes. Kept on disk."""
    inferer = FoundInferer(spacing=SPACING, candidates=most, bfloat16=None)
    device = next(finder.parameters()).device
    mined: dict[str, Mined] = {}
    for scene in scenes:
        path = folder / f"mined_{scene.name}.npz"
        if not path.exists():
            with torch.inference_mode():
                volume = shown(scene).to(device)
                points, kinds, heats, radii = inferer.find(volume, finder)
            pairs = zip(points, kinds.tolist(), strict=True)
            classes = np.array([class_of(scene, point, kind) for point, kind in pairs], int)
            np.savez(path, points=points, kinds=kinds, heats=heats, radii=radii, classes=classes)
            log.info("views.mined %s", scene.name)
        mined[scene.name] = dict(np.load(path))
    return mined


def gather_views(
    scenes: Sequence[Scene], mined: Mapping[str, Mined], folder: Path, *, a_scene: int
) -> dict[str, npt.NDArray[np.generic]]:
    """Random views, half of them of what the candidate network took for a lesion and is none."""
    parts = []
    for scene in scenes:
        path = folder / f"views_{scene.name}.npz"
        if not path.exists():
            rng = np.random.default_rng([2, *map(ord, scene.name)])
            points, radii, classes = _view_points(rng, scene, mined[scene.name], a_scene)
            if not len(points):
                continue
            poses = [
                draw_poses(p, 1, scales=scales_for(float(r)), seed=int(rng.integers(2**31)))
                for p, r in zip(points, radii, strict=True)
            ]
            volume = shown(scene)
            views = views_at(volume, SPACING, torch.from_numpy(np.concatenate(poses)))
            np.savez(path, views=views.numpy().astype(np.int16), classes=classes)
        parts.append(dict(np.load(path)))
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _view_points(
    rng: np.random.Generator, scene: Scene, mined: Mined, count: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Points, radii, classes: kinds alike often, as many of none, those the more the hotter."""
    rows = [
        (point, float(radius), int(kind))
        for point, radius, kind in zip(
            mined["points"], mined["radii"], mined["classes"], strict=True
        )
    ]
    none = [row for row in rows if row[2] == 0]
    heats = np.asarray(mined["heats"], float)[np.asarray(mined["classes"]) == 0]
    likely = np.cumsum(heats / max(float(heats.sum()), 1e-6))
    some = [row for row in rows if row[2] > 0]
    some += [
        (
            np.asarray(one.centre) + rng.normal(0, 0.25 * one.radius, 3),
            one.radius * float(np.exp(rng.normal(0, 0.2))),
            one.kind + 1,
        )
        for one in scene.clear
    ]
    chosen = []
    present = sorted({row[2] for row in some})
    for _ in range(count):
        if some and (rng.random() < 0.5 or not none):
            wanted = present[int(rng.integers(len(present)))]
            of_kind = [row for row in some if row[2] == wanted]
            chosen.append(of_kind[int(rng.integers(len(of_kind)))])
        elif none:
            chosen.append(none[min(int(np.searchsorted(likely, rng.random())), len(none) - 1)])
    return (
        np.asarray([row[0] for row in chosen], float).reshape(-1, 3),
        np.asarray([row[1] for row in chosen], float),
        np.asarray([row[2] for row in chosen], np.int64),
    )


def train_views(
    finder: LesionFinder,
    gathered: Mapping[str, npt.NDArray[np.generic]],
    folder: Path,
    *,
    steps: int,
    rate: float = 3e-3,
    batch: int = 128,
    draws: int = 0,
) -> None:
    """Train the CNN of one view, where it is; `draws`: seed of what is drawn."""
    device = next(finder.parameters()).device
    trained = Averaged(finder.views, folder, "views", steps=steps, rate=rate)
    classes = torch.from_numpy(gathered["classes"])

    def loss_of(step: int) -> Tensor:
        rng = np.random.default_rng([2, step, draws])
        torch.manual_seed(step + 100_000 * draws)
        rows = rng.integers(0, len(classes), batch)
        views = varied(rng, torch.from_numpy(gathered["views"][rows].astype(np.float32)))
        if rng.random() < 0.5:
            views = views.transpose(2, 3)
        logits = finder.views(views.to(device))
        return functional.cross_entropy(logits, classes[rows].to(device), label_smoothing=0.02)

    trained.run(loss_of)
