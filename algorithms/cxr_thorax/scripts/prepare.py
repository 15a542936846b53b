"""Puts public images into a folder that `features`, `fit` and `dicomnode evaluate` read.

python -m scripts.prepare nih <nih_cxr> OUT     ChestX-ray14 images with their source and split
python -m scripts.prepare jsrt <jsrt_wingspan> OUT   JSRT's nodules, for localisation alone
"""

import csv
import sys
from pathlib import Path

import numpy as np

LABELS = (
    *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule"),
    *("Pneumonia", "Pneumothorax", "Consolidation", "Edema", "Emphysema", "Fibrosis"),
    *("Pleural_Thickening", "Hernia"),
)
OPACITY = "Lung_Opacity"
FROM_BASES = "Effusion"
"""The class that is told from the lungs' bases."""
TEST_SHARE = 0.15
_PNEUMONIA_BELOW = 15_000
_NORMAL = range(1_280, 4_101)


def source_of(patient: int, labels: set[str]) -> str:
    """Return which public subset an image seems to come from, by patient and labels.

    One subset holds images labelled Pneumonia, from patients below 15,000, and images without a
    finding of the patients 1280 to 4100; in it, what is framed and processed alike is either all
    ill or all well. The rest is a mixture. The publishers do not say; a few may be in the wrong
    one.
    """
    paired = ("Pneumonia" in labels and patient < _PNEUMONIA_BELOW) or (
        labels == {"No Finding"} and patient in _NORMAL
    )
    return "paired" if paired else "mixed"


def patients_of_test(patients: dict[int, set[str]], seed: int = 2024) -> set[int]:
    """Return the patients of the test part: a seeded share of those with and without a `mixed`
    image."""
    rng = np.random.default_rng(seed)
    chosen: set[int] = set()
    for mixed in (True, False):
        some = np.array([p for p in sorted(patients) if ("mixed" in patients[p]) == mixed])
        rng.shuffle(some)
        chosen |= {int(p) for p in some[: round(TEST_SHARE * len(some))]}
    return chosen


def nih(root: Path, out: Path) -> None:
    """Write labels.csv and boxes.csv (in the frame of 1024 pixels), link the images."""
    with (root / "dev_labels.csv").open(newline="") as stream:
        rows = sorted(csv.DictReader(stream), key=lambda row: row["image"])
    patients: dict[int, set[str]] = {}
    for row in rows:
        row["source"] = source_of(int(row["patient"]), set(row["labels"].split("|")))
        patients.setdefault(int(row["patient"]), set()).add(row["source"])
    test = patients_of_test(patients)
    out.mkdir(parents=True, exist_ok=True)
    _link(root / "dev", out / "images")
    with (out / "labels.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(
            ["image", "patient", "age", "sex", "view", "source", "split", *LABELS, OPACITY]
        )
        for row in rows:
            named = row["labels"].split("|")
            graded = row["rsna_class"]
            opacity = "" if not graded else int(graded == "Lung Opacity")
            writer.writerow(
                [
                    *(row[name] for name in ("image", "patient", "age", "sex", "view", "source")),
                    "test" if int(row["patient"]) in test else "train",
                    *(int(label in named) for label in LABELS),
                    opacity,
                ]
            )
    with (root / "dev_boxes.csv").open(newline="") as stream:
        boxes = [
            (row["image"], OPACITY, *(float(row[name]) for name in ("x", "y", "w", "h")))
            for row in csv.DictReader(stream)
        ]
    _write_boxes(out, boxes)


def jsrt(root: Path, out: Path) -> None:
    """Write JSRT's nodules as squares of their size, in the frame of 1024 pixels."""
    with (root / "nodules.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    out.mkdir(parents=True, exist_ok=True)
    _link(root / "jsrt" / "png", out / "images")
    boxes = []
    with (out / "labels.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "patient", "age", "sex", "view", "Nodule"])
        for row in rows:
            name = row["image"]
            there = row["has_nodule"] == "1"
            known = (row.get("age", ""), row.get("gender", "")[:1], "PA", int(there))
            writer.writerow([name, name, *known])
            if there:
                # 0.175 mm a pixel of the 2048 grid
                side = float(row["size_mm"]) / 0.175 / 2
                x, y = float(row["x_512"]) * 2, float(row["y_512"]) * 2
                boxes.append((name, "Nodule", x - side / 2, y - side / 2, side, side))
    _write_boxes(out, boxes)


def _write_boxes(out: Path, boxes: list[tuple[object, ...]]) -> None:
    with (out / "boxes.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "finding", "x", "y", "width", "height"])
        writer.writerows(boxes)


def _link(target: Path, link: Path) -> None:
    if not link.exists():
        link.symlink_to(target.resolve(), target_is_directory=True)


if __name__ == "__main__":
    {"nih": nih, "jsrt": jsrt}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
