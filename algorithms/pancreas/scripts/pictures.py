"""Outlines for the card: what the bundle draws on the real CTs at hand, refusals included.

python -m scripts.pictures --data DATA --output docs
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt

from dicomnode.phantom import Organ
from dicomnode.phantom.masks import totalsegmentator_example
from dicomnode.pipeline.volume import read_series
from scripts.evaluation import Mask, in_hu, run, upright_grid

mpl.use("Agg")
from matplotlib import pyplot as plt


def draw(hu: npt.NDArray[np.float32], found: Mask, true: Mask | None, path: Path) -> None:
    """Six axial slices through what was found (or is true): red found, dashed white true."""
    shown = found if found.any() or true is None else true
    rows = np.flatnonzero(shown.any((1, 2)))
    levels = np.linspace(rows[0], rows[-1], 8)[1:-1] if rows.size else np.linspace(0, len(hu), 8)
    figure, axes = plt.subplots(1, 6, figsize=(15, 2.2))
    for axis, level in zip(axes, levels[:6], strict=True):
        at = min(round(float(level)), len(hu) - 1)
        axis.imshow(np.clip(hu[at], -120, 200), cmap="gray")
        if found[at].any():
            axis.contour(found[at], [0.5], colors="red", linewidths=0.9)
        if true is not None and true[at].any():
            axis.contour(true[at], [0.5], colors="white", linewidths=0.8, linestyles="dashed")
        axis.axis("off")
    figure.subplots_adjust(0, 0, 1, 1, 0.01, 0)
    figure.savefig(path, dpi=70)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, default=Path("/tmp"))
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    hu, organs = totalsegmentator_example(asked.data)
    found, _ = run(in_hu(hu, upright_grid(hu.shape)), asked.scratch)
    draw(hu, found, organs == Organ.PANCREAS, asked.output / "totalsegmentator.jpg")
    for name in ("crlm_1004", "lidc_0314"):
        volume = read_series(sorted((asked.data / "ct" / name / "dicom").glob("*.dcm")))
        found, reason = run(volume, asked.scratch)
        print(name, reason or "drawn")
        draw(volume.array, found, None, asked.output / f"{name}.jpg")


if __name__ == "__main__":
    main()
