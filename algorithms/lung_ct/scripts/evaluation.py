"""Dice against the truth that exists, beside the plain baseline and for every output of the net."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose
from safetensors.torch import load_file
from torch import Tensor, nn

from scripts.cases import CASES, LEFT, RIGHT, Case, Labels, baseline, split_sides

log = logging.getLogger("lung_ct.evaluation")


class OneOutput(nn.Module):
    """The network as if it ended at one of its stages."""

    def __init__(self, network: nn.Module, stage: int) -> None:
        super().__init__()
        self.network = network
        self.stage = stage

    def forward(self, x: Tensor) -> Tensor:
        outputs: list[Tensor] = self.network.progressive_outputs(x)
        return outputs[self.stage]


class Bundle:
    """The bundle as the node runs it: its own preprocessing, inferer and postprocessing."""

    def __init__(self, root: Path, weights: Path | None = None) -> None:
        parser = ConfigParser()
        parser.read_config(root / "configs/inference.json")
        self.network: nn.Module = parser.get_parsed_content("network_def")
        self.network.load_state_dict(load_file(weights or root / "models/model.safetensors"))
        self.network.eval()
        self.inferer: Any = parser.get_parsed_content("inferer")
        skipped = {"LoadImaged", "EnsureChannelFirstd", "SaveImaged"}
        parser.read_config(root / "configs/inference.json")
        for chain in ("preprocessing", "postprocessing"):
            kept = [t for t in parser[chain]["transforms"] if t["_target_"] not in skipped]
            parser[chain]["transforms"] = kept
        self.preprocessing: Compose = parser.get_parsed_content("preprocessing")
        self.postprocessing: Compose = parser.get_parsed_content("postprocessing")

    @torch.no_grad()
    def segment(
        self, hu: npt.NDArray[np.float32], affine: npt.NDArray[np.float64], stage: int = -1
    ) -> Labels:
        """Return labels on the grid of the CT; `stage` picks one of the network's outputs."""
        image = MetaTensor(torch.from_numpy(np.ascontiguousarray(hu))[None], affine=affine)
        data = self.preprocessing({"image": image})
        network = self.network if stage == -1 else OneOutput(self.network, stage)
        data["pred"] = self.inferer(data["image"][None], network)[0]
        labels: Labels = self.postprocessing(data)["pred"][0].numpy()
        return labels


def dice(found: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> float:
    """Return Dice; 1 where both are empty."""
    total = int(found.sum()) + int(true.sum())
    return 2 * int((found & true).sum()) / total if total else 1.0


def scores(found: Labels, true: Labels) -> dict[str, float]:
    """Return the Dice of each lung, of lung against the rest."""
    known = true <= LEFT
    return {
        "right": dice((found == RIGHT) & known, (true == RIGHT) & known),
        "left": dice((found == LEFT) & known, (true == LEFT) & known),
        "both": dice((found > 0) & known, np.isin(true, (RIGHT, LEFT))),
    }


def slice_bootstrap(found: Labels, true: Labels, draws: int = 2000) -> tuple[float, float]:
    """Return the 2.5 and 97.5 percentile of lung Dice when the slices of this one CT are redrawn.

    It says how even the slices of one patient are, nothing about other patients.
    """
    is_lung, is_found = np.isin(true, (RIGHT, LEFT)), (found > 0) & (true <= LEFT)
    both = (is_lung & is_found).sum(axis=(0, 1))
    total = is_lung.sum(axis=(0, 1)) + is_found.sum(axis=(0, 1))
    random = np.random.default_rng(0)
    index = random.integers(0, len(both), (draws, len(both)))
    values = 2 * both[index].sum(1) / total[index].sum(1)
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def baseline_labels(case: Case) -> Labels:
    """Return the plain baseline with its sides told apart, if they can be."""
    mask = baseline(case.hu)
    try:
        return split_sides(mask, case.spacing)
    except ValueError:
        return mask.astype(np.uint8)


def evaluate(
    *,
    bundle_root: str,
    data_root: str,
    cases: Sequence[str],
    output: str,
    ablate: Sequence[str] = (),
    weights: str | None = None,
    threads: int = 2,
) -> dict[str, Any]:
    """Write and return the scores of the named cases; of `ablate`, also those of every output."""
    torch.set_num_threads(threads)
    bundle = Bundle(Path(bundle_root), Path(weights) if weights else None)
    report: dict[str, Any] = {}
    for name in cases:
        case = CASES[name](Path(data_root))
        started = time.monotonic()
        found = bundle.segment(case.hu, case.affine)
        seconds = time.monotonic() - started
        voxel = float(np.prod(case.spacing)) / 1000
        stages = len(bundle.network.sides)
        report[name] = {
            "truth": case.truth,
            "dice": scores(found, case.labels),
            "slice_bootstrap_95": slice_bootstrap(found, case.labels),
            "baseline": scores(baseline_labels(case), case.labels),
            "outputs": [
                scores(bundle.segment(case.hu, case.affine, stage), case.labels)
                for stage in range(stages if name in ablate else 0)
            ],
            "ml_found": {n: float((found == v).sum()) * voxel for n, v in SIDES.items()},
            "ml_truth": {n: float((case.labels == v).sum()) * voxel for n, v in SIDES.items()},
            "seconds": seconds,
        }
        log.info("evaluation.case %s %s", name, json.dumps(report[name]))
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    Path(output).write_text(json.dumps(report, indent=1))
    return report


SIDES = {"right": RIGHT, "left": LEFT}
