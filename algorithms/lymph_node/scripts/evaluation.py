"""FROC figures of the detectors on scenes that training has not seen."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from dicomnode.evaluation.froc import (
    FoundLesion,
    Marked,
    TrueLesion,
    candidate_recall,
    mark,
    over_volumes,
    sensitivity_gain,
    sensitivity_interval,
    threshold_at,
)
from dicomnode.networks.lesion_finder import FoundInferer, LesionFinder, joint_score
from dicomnode.phantom.planting import Kind
from scripts.scenes import SPACING, TEST_MOST, Planted, Scene, scenes_in, write_scenes

log = logging.getLogger("lesions.evaluation")

MARGIN_MM = 2.0
RATES = (0.5, 1.0, 2.0, 3.0, 4.0, 8.0)
CANDIDATES = (60, 60, 150, 150, 150, 150, 150)
"""Of each kind at most, as in `configs/inference.json` of universal_lesion."""
HEAT_SHARES = (0.75, 0.5, 0.75, 0.75, 0.75, 0.75, 0.75)
"""Of each kind, as in `configs/inference.json`."""
SHIPPED_VIEWS = 20
"""As in `configs/inference.json`."""
CERTAIN = 5.0
"""Visibility from which on a lesion can be found for certain (Rose)."""


def read_scenes(
    network: LesionFinder, scenes: Sequence[Scene], folder: Path, *, views: int
) -> None:
    """Candidates of every scene with the probabilities of all views; kept on disk."""
    inferer = FoundInferer(spacing=SPACING, candidates=CANDIDATES, bfloat16=None)
    for scene in scenes:
        path = folder / f"{scene.name}.npz"
        if path.exists():
            continue
        with torch.inference_mode():
            volume = torch.from_numpy(scene.hu.astype(np.float32))
            points, kinds, heats, radii = inferer.find(volume, network)
            probabilities = inferer.views_of(volume, network, points, radii, views)
        np.savez(path, points=points, kinds=kinds, heats=heats, views=probabilities.numpy())
        log.info("evaluation.read %s", scene.name)


def marked(
    scenes: Sequence[Scene],
    folder: Path,
    kind: Kind,
    views: int,
    heat_share: float | None = None,
    wanted: Callable[[Planted], bool] = lambda _: True,
) -> Marked:
    """Marks of one kind held against the planted lesions; 0 views: the candidates' heat alone.

    `heat_share`: of the score; None: as shipped.
    Lesions that are not `wanted` are neither hit nor missed, and marks on them not false.
    """
    truths, found = [], []
    for scene in scenes:
        for one in scene.lesions:
            centre, reach = np.asarray(one.centre), one.radius + MARGIN_MM
            truths.append(
                TrueLesion(
                    volume=scene.name,
                    low_mm=tuple(centre - reach),
                    high_mm=tuple(centre + reach),
                    is_sphere=True,
                    size_mm=one.diameter,
                    kind=Kind(one.kind).name,
                    counts=one.kind == kind and wanted(one),
                )
            )
        told = np.load(folder / f"{scene.name}.npz")
        heats = torch.from_numpy(told["heats"])
        scores = heats
        if views:
            seen = torch.from_numpy(told["views"][:, :views].mean(1)[:, kind + 1])
            share = HEAT_SHARES[kind] if heat_share is None else heat_share
            scores = joint_score(heats, seen, share)
        found += [
            FoundLesion(
                volume=scene.name, point_mm=tuple(told["points"][row]), score=float(scores[row])
            )
            for row in np.flatnonzero(told["kinds"] == kind)
        ]
    return mark([scene.name for scene in scenes], truths, found)


def figures(
    scenes: Sequence[Scene], folder: Path, kind: Kind, draws: int, views: int = 100
) -> dict[str, object]:
    """What the card tells of one kind; `views`: how many of each candidate were read."""
    steps = [n for n in (1, 10, SHIPPED_VIEWS, 50, 100) if n <= views]
    by_views = {n: marked(scenes, folder, kind, n) for n in (0, *steps)}
    alone = {n: marked(scenes, folder, kind, n, 0.0) for n in steps}
    chosen = by_views[SHIPPED_VIEWS]
    large = chosen.part(lambda one: (one.size_mm or 0) >= 10)
    clear = marked(
        scenes, folder, kind, SHIPPED_VIEWS, wanted=lambda one: one.visibility >= CERTAIN
    )

    def at(what: Marked, rate: float) -> dict[str, float]:
        return asdict(sensitivity_interval(what, rate, draws=draws))

    def recall(what: Marked) -> dict[str, float]:
        return asdict(over_volumes(lambda t: candidate_recall(what, t), len(scenes), draws=draws))

    told: dict[str, object] = {"thresholds": {str(r): threshold_at(chosen, r) for r in RATES}}
    for name, part in (("all", chosen), ("large", large), ("clear", clear)):
        told[name] = {
            "lesions": len(part.lesions),
            "recall": recall(part),
            "sensitivity": {str(rate): at(part, rate) for rate in RATES},
        }
    told["by views at 3"] = {str(n): at(one, 3) for n, one in by_views.items()}
    told["views alone at 3"] = {str(n): at(one, 3) for n, one in alone.items()}
    for name, each in (("score", by_views), ("views alone", alone)):
        told[f"{name}, gain over 1 view at 3"] = {
            str(n): asdict(sensitivity_gain(each[n], each[1], 3, draws=draws)) for n in steps[1:]
        }
    return told


def evaluate(
    network: LesionFinder,
    weights: dict[str, torch.Tensor],
    output: str,
    seeds: Sequence[int],
    draws: int = 200,
    views: int = 100,
) -> None:
    """Write `froc.json` for the scenes of `seeds`."""
    torch.set_num_threads(1)
    network.load_state_dict(weights)
    network.eval()
    root = Path(output)
    write_scenes(root / "scenes", seeds, TEST_MOST)
    scenes = scenes_in(root / "scenes")
    read = root / "read"
    read.mkdir(exist_ok=True)
    read_scenes(network, scenes, read, views=views)
    told = {kind.name: figures(scenes, read, kind, draws, views) for kind in Kind}
    (root / "froc.json").write_text(json.dumps(told, indent=1))
