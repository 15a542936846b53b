"""What training anew changes of this bundle: weights, network, calibration, what is switched on.

The packed bundle itself reads the validation part, so that its gate, its reading of files and its
precision are in the calibration.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dicomnode.domain.errors import StudyError
from dicomnode.evaluate.scoring import Scored, classes_of, score
from dicomnode.evaluate.summary import ClassFigures, summarise
from dicomnode.evaluate.truths import Labelled, read_truths
from dicomnode.evaluation.calibration import fit_scaling, point_of_specificity
from dicomnode.pipeline.bundle import load_bundle
from dicomnode.training.packing import pack
from scripts.training import items

log = logging.getLogger(__name__)
SPECIFICITY = 0.9
FEWEST = 20
"""Positive images below which a class stays off."""
PARTS = ("train", "val")


def publish(
    weights: Path,
    data: Path,
    changed: Path,
    *,
    labels: Sequence[str],
    pooling: str,
    size: int,
    device: str,
    at_most: int,
    draws: int = 500,
) -> None:
    """Leave the bundle's new files in `changed`.

    A class is switched on if, on the validation part, it beats view, age and sex and chance with
    intervals that say so. That part also chose the epoch: `dicomnode evaluate` on images that
    training never saw has the last word.

    Args:
        weights: of `ChestXray8Reader`.
        data: what was trained on, its splits with it.
        changed: folder to write to.
        labels: in the order of the network's channels.
        pooling, size: as trained.
        device: that reads the validation part.
        at_most: images of it to read, drawn by seed.
        draws: bootstrap draws.

    Raises:
        StudyError: no image of the validation part can be read.
    """
    (changed / "models").mkdir(parents=True, exist_ok=True)
    (changed / "configs").mkdir(exist_ok=True)
    shutil.copyfile(weights, changed / "models/model.safetensors")
    _write(changed / "configs/inference.json", _inference(len(labels), pooling, size))
    every = read_truths(data)
    parts = {part: {one["image"] for one in items(str(data), labels, part)} for part in PARTS}
    learned = [one for one in every if str(one.path) in parts["train"]]
    described = _described(labels, learned)
    _write(changed / "configs/dicom.json", described)

    judging = [one for one in every if str(one.path) in parts["val"]]
    drawn = np.random.default_rng(0).permutation(len(judging))[:at_most]
    draft = changed.parent / "draft"
    pack(Path.cwd(), changed, draft)
    bundle = load_bundle(draft)
    chosen = [judging[n] for n in sorted(drawn)]
    scored = score(bundle, chosen, device=device, tick=iter)
    if all(one.refused for one in scored):
        reason = scored[0].refused if scored else "there are none"
        raise StudyError(f"no image of the validation part could be read: {reason}")
    scored = [one for one in scored if not one.refused]
    summary = summarise(
        scored,
        classes_of(bundle),
        learned,
        like_nih=False,
        box_labels={},
        draws=draws,
    )
    classes = described["outputs"]["pred"]["classes"]
    for one, figures in zip(classes.values(), summary.classes, strict=True):
        one.update(_calibrated(figures, scored))
        log.info("class %s %s auc %s", one["name"], one["reported"], figures.auc)
    _write(changed / "configs/dicom.json", described)
    shutil.rmtree(draft)


def _inference(classes: int, pooling: str, size: int) -> dict[str, Any]:
    inference: dict[str, Any] = json.loads(Path("configs/inference.json").read_text())
    inference["network_def"] = {
        "_target_": "dicomnode.networks.thorax.ChestXray8Reader",
        "classes": classes,
        "pooling": pooling,
    }
    *_, fitted = inference["preprocessing"]["transforms"]
    fitted["side"] = size
    return inference


def _described(labels: Sequence[str], learned: Sequence[Labelled]) -> dict[str, Any]:
    """`dicom.json` without the class that only boxes teach, every class off."""
    described: dict[str, Any] = json.loads(Path("configs/dicom.json").read_text())
    pred = described["outputs"]["pred"]
    del pred["ratio_check"]
    pred["classes"] = {str(n): pred["classes"][str(n)] for n in range(len(labels))}
    for one in pred["classes"].values():
        one.update(temperature=1.0, bias=0.0, operating_point=0.5, reported=False)
        if one.get("boxes", {}).get("within") == "heart":
            del one["boxes"]  # this network outlines no heart
    patients = len({one.patient for one in learned})
    described["intended_use"] = (
        "Research use only. Probabilities of diseases on upright frontal chest radiographs, by a "
        f"network trained at this site on {len(learned)} images of {patients} patients with labels "
        "mined from reports; not a medical device, not for diagnosis. A class that is not named "
        "was not looked for."
    )
    return described


def _calibrated(figures: ClassFigures, scored: Sequence[Scored]) -> dict[str, object]:
    if figures.auc is None or figures.gain is None:
        return {}
    known = ~np.isnan(figures.truth)
    truth = figures.truth[known]
    logits = np.array([one.logits[figures.name] for one in scored])[known]
    scaling = fit_scaling(logits, truth, np.ones(len(truth)))
    likely = scaling.probabilities(logits)
    good = figures.gain.low > 0 and figures.auc.low > 0.5 and figures.positive >= FEWEST
    return {
        "temperature": round(scaling.temperature, 4),
        "bias": round(scaling.bias, 4),
        "operating_point": round(
            point_of_specificity(truth, likely, np.ones(len(truth)), SPECIFICITY), 4
        ),
        "reported": bool(good),
    }


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
