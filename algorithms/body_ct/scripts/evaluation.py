"""Dice of every organ on synthetic people and on real CT, beside plain baselines.

python -m scripts.evaluation --data ../../../shared/data --people 20 --output scores.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from safetensors.torch import load_file
from scipy import ndimage

from dicomnode.networks.partial import UNKNOWN
from dicomnode.phantom import draw_pathology, make_case
from dicomnode.phantom.masks import body_mask, totalsegmentator_example
from scripts.classes import CLASSES, class_table

Labels = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float32]
_SKIPPED = {"LoadImaged", "EnsureChannelFirstd", "SaveImaged"}
REGION = (80.0, 300.0)
"""Millimetres of the body plan: from L4 to the heart."""
FIRST_UNSEEN = 1
"""Seeds of people from here on; training used seeds from 100,000."""


class Bundle:
    """The bundle as the node runs it; labels come back as channels of the network."""

    def __init__(self, root: Path, weights: Path | None = None) -> None:
        parser = ConfigParser()
        parser.read_config(root / "configs/inference.json")
        for chain in ("preprocessing", "postprocessing"):
            kept = [t for t in parser[chain]["transforms"] if t["_target_"] not in _SKIPPED]
            parser[chain]["transforms"] = kept
        steps = parser["postprocessing"]["transforms"]
        wanted = next(s["wanted"] for s in steps if "wanted" in s)
        self.wanted: list[int] = [w if isinstance(w, int) else w[0] for w in wanted]
        self.network: Any = parser.get_parsed_content("network_def")
        self.network.load_state_dict(load_file(weights or root / "models/model.safetensors"))
        self.network.eval()
        self.inferer: Any = parser.get_parsed_content("inferer")
        self.preprocessing: Any = parser.get_parsed_content("preprocessing")
        self.postprocessing: Any = parser.get_parsed_content("postprocessing")

    @torch.no_grad()
    def segment(self, hu: Values, affine_lps: npt.NDArray[np.float64]) -> Labels:
        """Channels of the network at every voxel of `hu` (slice, row, column); 0: none wanted."""
        order = np.eye(4)[[2, 1, 0, 3]]
        ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_lps @ order
        volume = np.ascontiguousarray(hu.transpose(2, 1, 0))
        image = MetaTensor(torch.from_numpy(volume)[None], affine=torch.from_numpy(ras))
        data = self.preprocessing({"image": image})
        data["pred"] = self.inferer(data["image"][None], self.network)[0]
        out = self.postprocessing(data)["pred"][0].numpy().astype(np.uint8)
        table = np.array([0, *self.wanted], np.uint8)
        return np.ascontiguousarray(table[out].transpose(2, 1, 0))


def dice(found: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> float:
    """Dice; 1 where both are empty."""
    total = int(found.sum()) + int(true.sum())
    return 2 * int((found & true).sum()) / total if total else 1.0


def surface_distances(
    found: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_], spacing: tuple[float, float, float]
) -> tuple[float, float]:
    """Average and 95th percentile of the distances between both surfaces, in mm."""
    both = np.argwhere(found | true)
    low, high = np.maximum(both.min(0) - 1, 0), both.max(0) + 2
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    rims = []
    for mask in (np.pad(found[box], 1), np.pad(true[box], 1)):
        rims.append(mask & ~ndimage.binary_erosion(mask))
    far = [ndimage.distance_transform_edt(~rim, sampling=spacing) for rim in rims]
    every = np.concatenate([far[1][rims[0]], far[0][rims[1]]])
    return float(every.mean()), float(np.percentile(every, 95))


def ball_baseline(true: npt.NDArray[np.bool_], voxel_ml: float, typical_ml: float) -> float:
    """Dice of a ball of the organ's usual volume put at its true centre: better than any atlas."""
    at = np.argwhere(true).mean(0)
    grid = np.indices(true.shape).reshape(3, -1).T - at
    far = (grid**2).sum(1)
    count = min(int(typical_ml / voxel_ml), far.size - 1)
    return dice((far <= np.partition(far, count)[count]).reshape(true.shape), true)


TYPICAL_ML = {
    "liver": 1500,
    "spleen": 200,
    "right kidney": 160,
    "left kidney": 160,
    "pancreas": 75,
    "stomach": 400,
    "gallbladder": 35,
    "urinary bladder": 150,
    "heart": 650,
    "aorta": 200,
    "vertebrae": 600,
}


def threshold_baseline(name: str, hu: Values, body: npt.NDArray[np.bool_]) -> Any:
    """What a plain threshold inside the body finds; None where there is no such rule."""
    limits = {
        "bone": (160, 4000),
        "muscle": (-29, 150),
        "subcutaneous fat": (-190, -30),
        "visceral fat": (-190, -30),
    }.get(name)
    return None if limits is None else body & (hu >= limits[0]) & (hu <= limits[1])


def score(found: Labels, true: Labels, hu: Values, spacing: Any, channels: list[int]) -> Any:
    """Scores of one CT by class; unknown voxels are left out."""
    known = true != UNKNOWN
    body = body_mask(hu)
    voxel_ml = float(np.prod(spacing)) / 1000
    rows = {}
    for channel in channels:
        name = CLASSES[channel]
        a, b = (found == channel) & known, true == channel
        if name == "bone":
            vertebrae = CLASSES.index("vertebrae")
            a, b = a | ((found == vertebrae) & known), b | (true == vertebrae)
        if b.sum() * voxel_ml < 3:
            rows[name] = {"false_ml": float(a.sum()) * voxel_ml}
            continue
        row = {"dice": dice(a, b), "ml": float(a.sum()) * voxel_ml}
        row["true_ml"] = float(b.sum()) * voxel_ml
        rule = threshold_baseline(name, hu, body)
        if rule is not None:
            row["baseline"] = dice(rule & known, b)
        elif name in TYPICAL_ML and name != "vertebrae":
            row["baseline"] = ball_baseline(b, voxel_ml, TYPICAL_ML[name])
        if name in ("pancreas", "liver", "spleen") and a.any():
            row["asd"], row["hd95"] = surface_distances(a, b, spacing)
        rows[name] = row
    return rows


def summary(rows: list[Any]) -> Any:
    """Mean, 95 % bootstrap interval across people, worst, and n, by class."""
    rng = np.random.default_rng(0)
    gathered: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in rows:
        for name, values in one.items():
            for key, value in values.items():
                gathered[name][key].append(value)
    told: Any = {}
    for name, values in gathered.items():
        told[name] = {}
        for key, numbers in values.items():
            x = np.asarray(numbers)
            means = [rng.choice(x, x.size).mean() for _ in range(1000)]
            told[name][key] = {
                "mean": round(float(x.mean()), 3),
                "low": round(float(np.percentile(means, 2.5)), 3),
                "high": round(float(np.percentile(means, 97.5)), 3),
                "least": round(float(x.min()), 3),
                "n": int(x.size),
            }
    return told


def synthetic(bundle: Bundle, people: int, keep: Path) -> list[Any]:
    """Lower chest and abdomen of people never trained on, half of them with disease.

    `keep`: where the rows so far are written after each.
    """
    table, rows = class_table(), []
    for seed in range(FIRST_UNSEEN, FIRST_UNSEEN + people):
        case = make_case(
            seed,
            region=REGION,
            pathology=draw_pathology(seed) if seed % 2 else {},
        )
        found = bundle.segment(case.hu, case.grid.affine_lps_mm)
        rows.append(score(found, table[case.labels], case.hu, (3.0, 3.0, 3.0), bundle.wanted))
        keep.write_text(json.dumps(rows))
        print(seed, {k: round(v.get("dice", -1), 3) for k, v in rows[-1].items()}, flush=True)
    return rows


def real(bundle: Bundle, root: str) -> Any:
    """The example CT of TotalSegmentator against its masks (silver)."""
    hu, organs = totalsegmentator_example(Path(root))
    true = class_table()[organs]
    true[(organs == 0) & body_mask(hu)] = 0
    for name in ("muscle", "subcutaneous fat", "visceral fat"):
        true[true == CLASSES.index(name)] = 0
    affine = np.zeros((4, 4))
    affine[[0, 1, 2], [2, 1, 0]] = 3.0
    affine[3, 3] = 1
    found = bundle.segment(hu, affine)
    told = score(found, true, hu, (3.0, 3.0, 3.0), bundle.wanted)
    named = class_table()[organs] == CLASSES.index("muscle")
    told["muscle"] = {"recall": float((found[named] == CLASSES.index("muscle")).mean())}
    return told


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    bundle = Bundle(Path(__file__).resolve().parents[1], asked.weights)
    started = time.process_time()
    told = {"real, TotalSegmentator example": real(bundle, asked.data)}
    print(json.dumps(told), flush=True)
    rows = synthetic(bundle, asked.people, asked.output.with_suffix(".rows.json"))
    told["synthetic, unseen people"] = summary(rows)
    told["processor_seconds"] = round(time.process_time() - started)
    asked.output.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
