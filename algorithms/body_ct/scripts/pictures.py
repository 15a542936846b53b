"""Overlays for the card: what the bundle outlines on the real CTs at hand.

python -m scripts.pictures --data DATA --output docs
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib as mpl
import numpy as np

from dicomnode.phantom.masks import totalsegmentator_example
from dicomnode.pipeline.volume import read_series
from scripts.evaluation import Bundle, Labels, Values

mpl.use("Agg")
from matplotlib import pyplot as plt


def draw(hu: Values, found: Labels, spacing: tuple[float, float, float], path: Path) -> None:
    """Six axial slices and a coronal one, from low to high, seen from the feet."""
    root = Path(__file__).resolve().parents[1]
    segments = json.loads((root / "configs/dicom.json").read_text())["outputs"]["pred"]["segments"]
    steps = json.loads((root / "configs/inference.json").read_text())["postprocessing"]
    wanted = next(s["wanted"] for s in steps["transforms"] if "wanted" in s)
    first = [w if isinstance(w, int) else w[0] for w in wanted]
    colors = {c: segments[str(i + 1)]["color"] for i, c in enumerate(first)}
    planes = [(hu[k], found[k], spacing[1] / spacing[2]) for k in _levels(len(hu))]
    middle = hu.shape[1] // 2
    planes.append((hu[::-1, middle], found[::-1, middle], spacing[0] / spacing[2]))
    figure, axes = plt.subplots(1, len(planes), figsize=(2.4 * len(planes), 2.4))
    for axis, (gray, labels, aspect) in zip(axes, planes, strict=True):
        base = np.clip((gray + 160) / 400, 0, 1)[..., None].repeat(3, -1)
        for channel, color in colors.items():
            mask = labels == channel
            base[mask] = 0.55 * base[mask] + 0.45 * np.asarray(color) / 255
        axis.imshow(base, aspect=aspect)
        axis.axis("off")
    figure.subplots_adjust(0, 0, 1, 1, 0.01, 0)
    figure.savefig(path, dpi=70)
    plt.close(figure)


def _levels(count: int) -> list[int]:
    return [int(k) for k in np.linspace(0.08, 0.95, 6) * (count - 1)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=None)
    asked = parser.parse_args()
    bundle = Bundle(Path(__file__).resolve().parents[1], asked.weights)
    affine = np.zeros((4, 4))
    affine[[0, 1, 2], [2, 1, 0]] = 3.0
    affine[3, 3] = 1
    hu, _ = totalsegmentator_example(asked.data)
    found = bundle.segment(hu, affine)
    draw(hu, found, (3.0, 3.0, 3.0), asked.output / "totalsegmentator.jpg")
    for name in ("crlm_1004", "lidc_0314", "cip_ct64"):
        volume = read_series(sorted((asked.data / "ct" / name / "dicom").glob("*.dcm")))
        found = bundle.segment(volume.array, volume.grid.affine_lps_mm)
        draw(volume.array, found, volume.grid.spacing_mm, asked.output / f"{name}.jpg")
        litres = {
            str(c): round(float((found == c).sum()) * volume.grid.voxel_mm3 / 1000, 1)
            for c in bundle.wanted
        }
        print(name, litres, flush=True)


if __name__ == "__main__":
    main()
