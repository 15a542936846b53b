"""How well places of unseen phantoms are classified, and how healthy ones are left alone."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dicomnode.networks.patterns import PatternInferer
from dicomnode.networks.views import ViewNet
from dicomnode.phantom.patterns import Pattern
from dicomnode.phantom.structures import LUNGS, Organ
from scripts.patches import SPACING, cells_of, scene_of

log = logging.getLogger("patterns")

Rows = npt.NDArray[np.float64]
Cells = dict[str, npt.NDArray[np.generic]]
DRAWS = 500


def read(network: ViewNet, inferer: PatternInferer, seed: int) -> Cells:
    """Truth, prediction, organ and density of every cell of one person that is not mixed."""
    hu, painted, organs = scene_of(seed)
    points, kinds, told = cells_of(hu, painted, organs)
    with torch.inference_mode():
        probabilities = inferer.probabilities(hu, network)
    step = inferer.every * np.array(SPACING)
    cells = np.round((points + np.array(SPACING) / 2) / step - 0.5).astype(int)
    of_cell = probabilities[:, *torch.from_numpy(cells.T)].numpy()
    best = of_cell[1:].max(0)
    said = np.where(best >= inferer.at_least, of_cell[1:].argmax(0) + 1, 0)
    clear = kinds >= 0
    density = torch.nn.functional.avg_pool3d(hu[None, None], inferer.every, ceil_mode=True)[0, 0]
    mean = density[tuple(torch.from_numpy(cells.T))].numpy()
    return {
        "truth": kinds[clear],
        "said": said[clear],
        "organ": told[clear],
        "mean_hu": mean[clear],
    }


def shares(people: Sequence[Cells], pattern: int) -> Rows:
    """Per person: cells of the pattern, of them found, cells without, of them falsely called."""
    rows = []
    for one in people:
        home = np.isin(one["organ"], (Organ.COLON,) if pattern == Pattern.COLITIS else LUNGS)
        is_one, said = one["truth"] == pattern, one["said"] == pattern
        without = home & ~is_one
        rows.append([is_one.sum(), (is_one & said).sum(), without.sum(), (without & said).sum()])
    return np.array(rows, float)


def figures(rows: Rows) -> dict[str, object]:
    """Sensitivity by cell and share of other cells of the organ called so, with intervals."""
    rng = np.random.default_rng(0)
    drawn = rows[rng.integers(0, len(rows), (DRAWS, len(rows)))].sum(1)
    told: dict[str, object] = {
        "people": int((rows[:, 0] > 0).sum()),
        "cells": int(rows[:, 0].sum()),
    }
    for name, whole, part in (("sensitivity", 0, 1), ("false share", 2, 3)):
        sums = rows.sum(0)
        value = sums[part] / sums[whole] if sums[whole] else float("nan")
        each = drawn[:, part] / np.where(drawn[:, whole] > 0, drawn[:, whole], np.nan)
        told[name] = [float(value), *np.nanquantile(each, (0.025, 0.975)).tolist()]
    return told


def by_density(people: Sequence[Cells]) -> None:
    """Replace what the network said by the simple baseline: thresholds on the mean of a cell."""
    for one in people:
        lung, mean = np.isin(one["organ"], LUNGS), one["mean_hu"]
        said = np.zeros(len(mean), int)
        said[lung & (mean < -930)] = Pattern.EMPHYSEMA
        said[lung & (mean > -680)] = Pattern.GROUND_GLASS
        said[lung & (mean > -250)] = Pattern.CONSOLIDATION
        one["said"] = said


def evaluate(
    network: ViewNet, weights: dict[str, torch.Tensor], output: str, seeds: Sequence[int]
) -> None:
    """Write `patterns.json` for the people of `seeds`."""
    torch.set_num_threads(1)
    network.load_state_dict(weights)
    network.eval()
    inferer = PatternInferer(spacing=SPACING)
    people = []
    for seed in seeds:
        people.append(read(network, inferer, seed))
        log.info("patterns.read %d", seed)
    told = {one.name: figures(shares(people, one)) for one in Pattern}
    by_density(people)
    told |= {f"{one.name}, by density": figures(shares(people, one)) for one in Pattern}
    Path(output).mkdir(parents=True, exist_ok=True)
    (Path(output) / "patterns.json").write_text(json.dumps(told, indent=1))
