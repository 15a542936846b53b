"""Which image is in which part, and where its files are.

The data root holds `jsrt/` and `wingspan/`, each with `png/`, `mask/heart`, `mask/right_lung`
and `mask/left_lung`, one PNG of the same name in each. Laterality is the patient's: the right
lung is on the left of the image.
"""

import csv
import json
import random
from collections import Counter
from pathlib import Path

SOURCES = ("jsrt", "wingspan")
SEGMENTS = ("heart", "right_lung", "left_lung")
PARTS = ("train", "dev", "test")


def make_split(
    data_root: str, path: str, seed: int = 20240, dev: float = 0.1, test: float = 0.2
) -> None:
    """Write a seeded split, by source, as ids only.

    JSRT has one image a patient. Wingspan names no patients, but its ids are UIDs that end in
    a time: a dev or test image goes to train when its UID says that another one was taken by
    the same device, or in the same examination, on the same day.
    """
    split: dict[str, dict[str, list[str]]] = {part: {} for part in PARTS}
    for source in SOURCES:
        ids = sorted(p.stem for p in (Path(data_root) / source / "png").glob("*.png"))
        random.Random(f"{seed}-{source}").shuffle(ids)
        n_test, n_dev = round(len(ids) * test), round(len(ids) * dev)
        split["test"][source] = sorted(ids[:n_test])
        split["dev"][source] = sorted(ids[n_test : n_test + n_dev])
        alone = {key for key, n in Counter(map(occasion, ids)).items() if n == 1}
        for part in ("test", "dev"):
            split[part][source] = [i for i in split[part][source] if occasion(i) in alone]
        split["train"][source] = sorted(
            set(ids) - set(split["test"][source] + split["dev"][source])
        )
    Path(path).write_text(json.dumps(split, indent=1) + "\n")


def occasion(name: str) -> str:
    """Return what the images of one device or examination share on one day."""
    stem, _, last = name.rpartition(".")
    is_time = last.isdigit() and len(last) >= 12
    return f"{stem}.{last[:-6]}" if is_time else name


def items(data_root: str, part: str, split: str = "configs/split.json") -> list[dict[str, str]]:
    """Return MONAI's data list of one part: id, source, image and one path for each segment."""
    ids = json.loads(Path(split).read_text())[part]
    return [
        {
            "id": name,
            "source": source,
            "image": str(Path(data_root) / source / "png" / f"{name}.png"),
            **{s: str(Path(data_root) / source / "mask" / s / f"{name}.png") for s in SEGMENTS},
        }
        for source in SOURCES
        for name in ids[source]
    ]


def published_ratios(data_root: str) -> dict[str, float]:
    """Return the published cardiothoracic ratios (some of the Wingspan images) by id."""
    with (Path(data_root) / "ctr_ground_truth.csv").open(newline="") as stream:
        return {row["id"].removesuffix(".png"): float(row["ctr"]) for row in csv.DictReader(stream)}
