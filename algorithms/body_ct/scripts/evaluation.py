"""Dice of every organ on synthetic people and on real CT, beside plain baselines.

python -m monai.bundle run --config_file configs/evaluate.json --data_root DATA --output scores.json
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from safetensors.torch import load_file
from scipy import ndimage

from dicomnode.evaluation.masks import fit_of, mean_interval
from dicomnode.networks.partial import UNKNOWN
from dicomnode.phantom import draw_pathology, make_case
from dicomnode.phantom.masks import body_mask, totalsegmentator_example
from scripts.classes import CLASSES, class_table
from scripts.others import others

BONE, VERTEBRAE = CLASSES.index("bone"), CLASSES.index("vertebrae")
ONE_PIECE = ("liver", "spleen", "right kidney", "left kidney", "pancreas", "aorta")
Labels = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float32]
_SKIPPED = {"LoadImaged", "EnsureChannelFirstd", "SaveImaged"}
REGION = (80.0, 300.0)
"""Millimetres of the body plan: from L4 to the heart."""
FIRST_UNSEEN = 1
"""Seeds of people from here on; training used seeds from 100,000."""


class Bundle:
    """The bundle as the node runs it; labels come back as channels of the network.

    `every`: all classes instead of those that leave the bundle.
    """

    def __init__(self, root: Path, weights: Path | None = None, *, every: bool = False) -> None:
        parser = ConfigParser()
        parser.read_config(root / "configs/inference.json")
        for chain in ("preprocessing", "postprocessing"):
            kept = [t for t in parser[chain]["transforms"] if t["_target_"] not in _SKIPPED]
            parser[chain]["transforms"] = kept
        steps = parser["postprocessing"]["transforms"]
        keep = next(s for s in steps if "wanted" in s)
        if every:
            keep["wanted"] = list(range(1, len(CLASSES)))
            keep["single"] = [CLASSES.index(name) for name in ONE_PIECE]
        wanted = keep["wanted"]
        self.wanted: list[int] = [w if isinstance(w, int) else w[0] for w in wanted]
        onto = next(s for s in steps if s["_target_"].endswith("OntoImageGridd"))
        onto["halves"] = [self.wanted.index(organ) + 1 for organ in keep["halves"]]
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


def ball_baseline(
    true: npt.NDArray[np.bool_],
    voxel_ml: float,
    typical_ml: float,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
) -> float:
    """Dice of a ball of the organ's usual volume put at its true centre: better than any atlas."""
    at = np.argwhere(true).mean(0)
    grid = (np.indices(true.shape).reshape(3, -1).T - at) * np.asarray(spacing)
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
        if channel == BONE:
            a, b = a | ((found == VERTEBRAE) & known), b | (true == VERTEBRAE)
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
            fit = fit_of(a, b, spacing, float(np.prod(spacing)))
            row["asd"], row["hd95"] = fit.asd_mm, fit.hd95_mm
        rows[name] = row
    return rows


def summary(rows: list[Any]) -> Any:
    """Mean, 95 % interval across people, least, and n, by class and score."""
    told: Any = defaultdict(dict)
    for name in sorted({name for row in rows for name in row}):
        shown = [(str(n), row[name]) for n, row in enumerate(rows) if name in row]
        for key in sorted({key for _, values in shown for key in values}):
            people = [n for n, values in shown if key in values]
            x = np.array([values[key] for _, values in shown if key in values])
            mean = mean_interval(x, people)
            told[name][key] = {
                "mean": round(mean.value, 3),
                "low": round(mean.low, 3),
                "high": round(mean.high, 3),
                "least": round(float(x.min()), 3),
                "n": len(people),
            }
    return told


def person(seed: int, cases: Path | None) -> tuple[Values, Labels, npt.NDArray[np.float64]]:
    """HU, `Organ` numbers and affine; kept in `cases`, if given, for the next evaluation."""
    path = None if cases is None else cases / f"body_{seed}.npz"
    if path is not None and path.exists():
        with np.load(path) as kept:
            return kept["hu"].astype(np.float32), kept["labels"], kept["affine"]
    case = make_case(seed, region=REGION, pathology=draw_pathology(seed) if seed % 2 else {})
    if path is not None:
        hu = case.hu.astype(np.int16)
        np.savez(path, hu=hu, labels=case.labels, affine=case.grid.affine_lps_mm)
    return case.hu, case.labels, case.grid.affine_lps_mm


def synthetic(bundle: Bundle, people: int, keep: Path, cases: Path | None) -> list[Any]:
    """Lower chest and abdomen of people never trained on, half of them with disease.

    `keep`: where the rows so far are written after each.
    """
    table, rows = class_table(), []
    for seed in range(FIRST_UNSEEN, FIRST_UNSEEN + people):
        hu, labels, affine = person(seed, cases)
        found = bundle.segment(hu, affine)
        rows.append(score(found, table[labels], hu, (3.0, 3.0, 3.0), bundle.wanted))
        keep.write_text(json.dumps(rows))
        print(seed, {k: round(v.get("dice", -1), 3) for k, v in rows[-1].items()}, flush=True)
    return rows


def core_hu(hu: Values, found: Labels, true: Labels) -> dict[str, float]:
    """Median HU deeper than 6 mm in the vertebrae, as found and by the masks: marrow."""
    told = {}
    for name, labels in (("found", found), ("masks", true)):
        vertebrae = labels == VERTEBRAE
        core = ndimage.distance_transform_edt(vertebrae, sampling=3.0) > 6
        told[name] = float(np.median(hu[core])) if core.any() else float("nan")
    return told


def real(bundle: Bundle, root: Path) -> Any:
    """The example CT of TotalSegmentator against its masks (silver)."""
    hu, organs = totalsegmentator_example(root)
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
    told["spine's core"] = core_hu(hu, found, true)
    told["muscle"] = {"recall": float((found[named] == CLASSES.index("muscle")).mean())}
    return told


def evaluate(
    data: Path,
    output: Path,
    *,
    people: int = 20,
    weights: str | None = None,
    every: bool = False,
    cases: str | None = None,
) -> None:
    """Score real and synthetic CT and write it to `output`; `configs/evaluate.json` calls it.

    `weights`: others than those shipped. `every`: all classes the network knows. `cases`: a folder
    where synthetic people are kept from one evaluation to the next.
    """
    root = Path(__file__).resolve().parents[1]
    bundle = Bundle(root, Path(weights) if weights else None, every=every)
    started = time.process_time()
    told: Any = {"real, TotalSegmentator example": real(bundle, data)}
    told["real, outlines drawn for this bundle"] = others(bundle, data)
    print(json.dumps(told), flush=True)
    kept = Path(cases) if cases else None
    rows = synthetic(bundle, people, output.with_suffix(".rows.json"), kept)
    told["synthetic, unseen people"] = summary(rows)
    told["processor_seconds"] = round(time.process_time() - started)
    output.write_text(json.dumps(told, indent=1))
