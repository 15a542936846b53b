"""Overlays for the model card: what the bundle outlines, and the label it is compared with."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

from scripts.cases import CASES, LEFT, RIGHT, Case, Labels
from scripts.evaluation import Bundle

mpl.use("Agg")
from matplotlib import pyplot as plt

COLORS = {RIGHT: "#E69F00", LEFT: "#56B4E9"}


def draw(case: Case, found: Labels, path: Path, columns: int = 6) -> None:
    """Write axial slices from the lowest to the highest lung, seen from the feet."""
    slices = np.where((found > 0).any(axis=(0, 1)))[0]
    if not len(slices):
        slices = np.arange(case.hu.shape[2])
    chosen = np.linspace(slices[0] + 1, slices[-1] - 1, columns).astype(int)
    x, y, _ = case.spacing
    figure, axes = plt.subplots(1, columns, figsize=(2.2 * columns, 2.2))
    for axis, z in zip(axes, chosen, strict=True):
        # columns run from the patient's right (left of the picture), rows from the front
        axis.imshow(case.hu[::-1, ::-1, z].T, cmap="gray", vmin=-1100, vmax=300, aspect=y / x)
        for side, color in COLORS.items():
            for labels, style in ((case.labels, "--"), (found, "-")):
                mask = (labels[::-1, ::-1, z] == side).T
                if mask.any():
                    line = "white" if style == "--" else color
                    axis.contour(mask, [0.5], colors=line, linewidths=0.9, linestyles=style)
        axis.axis("off")
    figure.subplots_adjust(0, 0, 1, 1, 0.02, 0)
    figure.savefig(path, dpi=75)
    plt.close(figure)


def draw_all(*, bundle_root: str, data_root: str, cases: list[str], output: str) -> None:
    """Write one picture a case into the folder `output`."""
    bundle = Bundle(Path(bundle_root))
    for name in cases:
        case = CASES[name](Path(data_root))
        draw(case, bundle.segment(case.hu, case.affine), Path(output) / f"{name}.png")
