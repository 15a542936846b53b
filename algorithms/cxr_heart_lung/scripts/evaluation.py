"""The evaluation behind `configs/evaluate.json`: scores on the image's own grid, with intervals."""

import csv
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.inferers.inferer import Inferer
from monai.transforms.compose import Compose
from monai.transforms.io.dictionary import LoadImaged, SaveImaged
from monai.transforms.utility.dictionary import EnsureChannelFirstd
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from scripts.ctr import cardiothoracic_ratio
from scripts.data import SEGMENTS
from scripts.window import window

log = logging.getLogger(__name__)

Masks = NDArray[np.bool_]
"""(3, rows, columns): heart, right lung, left lung."""
Row = dict[str, str | float]


def _stretched(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """A detector of 2500 x 2048 pixels: the same field, other spacing on each side."""
    picture = Image.fromarray(image)
    wide = picture.resize((1843, 2250), Image.Resampling.BICUBIC)
    return np.clip(np.pad(np.asarray(wide), ((125, 125), (102, 103))), 0, 1)


CHANGES: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "gamma 0.5": lambda image: image**0.5,
    "gamma 2": lambda image: image**2,
    "narrow window": lambda image: window(image, 0.15, 0.85),
    "bright end cut": lambda image: window(image, 0.0, 0.7),
    "dark end cut": lambda image: window(image, 0.3, 1.0),
    "noise": lambda image: np.clip(
        image + np.random.default_rng(0).normal(0, 0.04, image.shape), 0, 1
    ).astype(np.float32),
    "2500 x 2048": _stretched,
}
"""Changes of the image (rows, columns; 0 to 1) under which the scores are repeated."""


class Segmenter:
    """The bundle as the node runs it: an array goes in, masks on the same grid come out."""

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Compose,
        inferer: Inferer,
        postprocessing: Compose,
        device: torch.device,
    ) -> None:
        skipped = (LoadImaged, EnsureChannelFirstd, SaveImaged)
        self.before = Compose([t for t in preprocessing.transforms if not isinstance(t, skipped)])
        self.after = Compose([t for t in postprocessing.transforms if not isinstance(t, skipped)])
        self.network, self.inferer, self.device = network.to(device).eval(), inferer, device

    @torch.no_grad()
    def __call__(self, image: NDArray[np.float32]) -> Masks:
        """Return the masks of `image` (rows, columns; 0 to 1)."""
        tensor = MetaTensor(torch.from_numpy(image.T.copy())[None], affine=torch.eye(4))
        data = self.before({"image": tensor})
        data["pred"] = self.inferer(data["image"][None].to(self.device), self.network)[0].cpu()
        found: Masks = self.after(data)["pred"].numpy().transpose(0, 2, 1) > 0.5
        return found


def read_masks(item: Mapping[str, str]) -> Masks:
    """Return the reference masks of one item."""
    return np.stack([np.asarray(Image.open(item[s]).convert("L")) > 127 for s in SEGMENTS])


def read_image(item: Mapping[str, str]) -> NDArray[np.float32]:
    """Return the image (rows, columns) from 0 to 1."""
    grey = np.asarray(Image.open(item["image"]).convert("L"), dtype=np.float32)
    image: NDArray[np.float32] = grey / np.float32(255)
    return image


def dice(found: Masks, true: Masks) -> list[float]:
    """Return the Dice coefficient of each mask."""
    both = (found & true).sum((1, 2))
    return [float(v) for v in 2 * both / np.maximum(1, found.sum((1, 2)) + true.sum((1, 2)))]


def interval(values: Sequence[float], draws: int = 2000, seed: int = 0) -> list[float]:
    """Return the mean of `values` and its bootstrap 95 % interval."""
    sample = np.asarray(values)
    picks = np.random.default_rng(seed).integers(0, len(sample), (draws, len(sample)))
    low, high = np.percentile(sample[picks].mean(1), [2.5, 97.5])
    return [round(float(v), 4) for v in (sample.mean(), low, high)]


class Evaluator:
    """Scores one part of the data; writes a row an image to `output_dir`, a summary to `output`."""

    def __init__(
        self,
        *,
        network: nn.Module,
        preprocessing: Compose,
        inferer: Inferer,
        postprocessing: Compose,
        items: Sequence[Mapping[str, str]],
        ratios: Mapping[str, float],
        device: torch.device,
        output_dir: str,
        output: str,
    ) -> None:
        self.segment = Segmenter(network, preprocessing, inferer, postprocessing, device)
        self.items, self.ratios = items, ratios
        self.output_dir, self.output = Path(output_dir), Path(output)

    def run(self) -> None:
        """Score every image as stored, and every fourth under each change."""
        plain = [self._row(item, lambda image: image) for item in self.items]
        some = self.items[::4]
        changed = {name: [self._row(i, change) for i in some] for name, change in CHANGES.items()}
        changed["as stored"] = plain[::4]
        self.output_dir.mkdir(parents=True, exist_ok=True)
        with (self.output_dir / "images.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(plain[0]))
            writer.writeheader()
            writer.writerows(plain)
        summary = {
            "scores": "mean, lower and upper end of the bootstrap 95 % interval",
            "all": summarise(plain),
            **{s: summarise([r for r in plain if r["source"] == s]) for s in ("jsrt", "wingspan")},
            "worst": worst(plain),
            "every fourth image": {name: summarise(rows) for name, rows in changed.items()},
        }
        self.output.write_text(json.dumps(summary, indent=1) + "\n")
        log.info("%s", json.dumps(summary["all"]))

    def _row(
        self,
        item: Mapping[str, str],
        change: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    ) -> Row:
        true = read_masks(item)
        found = self.segment(change(read_image(item)))
        if found.shape != true.shape:
            # the reference takes the way of the image: nearest neighbour on the new grid
            true = np.stack([_stretched(m.astype(np.float32)) > 0.5 for m in true])
        heart, right, left = dice(found, true)
        (as_one,) = dice(found[1:].any(0)[None], true[1:].any(0)[None])
        wanted, got = cardiothoracic_ratio(*true), cardiothoracic_ratio(*found)
        published = self.ratios.get(item["id"])
        return {
            "id": item["id"],
            "source": item["source"],
            "heart": heart,
            "right_lung": right,
            "left_lung": left,
            "lungs_as_one": as_one,
            "ctr": got if got is not None else float("nan"),
            "ctr_of_masks": wanted if wanted is not None else float("nan"),
            "ctr_published": published if published is not None else float("nan"),
        }


def summarise(rows: Sequence[Row]) -> dict[str, object]:
    """Return the number of images and the mean scores with their intervals."""

    def errors(reference: str) -> list[float]:
        pairs = [(float(r["ctr"]), float(r[reference])) for r in rows]
        return [abs(a - b) if np.isfinite(a) else 1.0 for a, b in pairs if np.isfinite(b)]

    published = errors("ctr_published")
    summary: dict[str, object] = {
        "n": len(rows),
        "dice_heart": interval([float(r["heart"]) for r in rows]),
        "dice_right_lung": interval([float(r["right_lung"]) for r in rows]),
        "dice_left_lung": interval([float(r["left_lung"]) for r in rows]),
        "dice_lungs": interval(
            [(float(r["right_lung"]) + float(r["left_lung"])) / 2 for r in rows]
        ),
        "dice_lungs_as_one": interval([float(r["lungs_as_one"]) for r in rows]),
        "ctr_error_to_masks": interval(errors("ctr_of_masks")),
    }
    if published:
        summary["n_published_ctr"] = len(published)
        summary["ctr_error_to_published"] = interval(published)
    return summary


def worst(rows: Sequence[Row], count: int = 3) -> dict[str, list[dict[str, object]]]:
    """Return the lowest Dice by segment and the largest CTR errors."""
    tables = {
        s: sorted(((float(r[s]), r["id"]) for r in rows), key=lambda pair: pair[0])[:count]
        for s in SEGMENTS
    }
    tables["ctr_error"] = sorted(
        ((abs(float(r["ctr"]) - float(r["ctr_of_masks"])), r["id"]) for r in rows),
        key=lambda pair: -pair[0],
    )[:count]
    return {k: [{"value": round(v, 4), "id": i} for v, i in t] for k, t in tables.items()}
