"""Pictures for the model card: what was found over what the readers drew."""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_erosion

from scripts.data import items
from scripts.evaluation import Segmenter, read_image, read_masks

COLORS = ((213, 94, 0), (230, 159, 0), (86, 180, 233))
"""Heart, right lung, left lung: the colours of `configs/dicom.json`."""


def draw(segment: Segmenter, data_root: str, part: str, table: str, path: str) -> None:
    """Write a row of Wingspan images: two near the median heart Dice, then the two lowest.

    `table` is the `images.csv` of the evaluation. Found outlines are coloured, the readers' white.
    """
    with Path(table).open(newline="") as stream:
        rows = [r for r in csv.DictReader(stream) if r["source"] == "wingspan"]
    rows.sort(key=lambda r: float(r["heart"]))
    middle = len(rows) // 2
    wanted = [rows[i]["id"] for i in (middle, middle + 1, 0, 1)]
    by_id = {item["id"]: item for item in items(data_root, part)}
    tiles = []
    for item in (by_id[name] for name in wanted):
        image = read_image(item)
        tile = overlay(image, segment(image), read_masks(item))
        tiles.append(tile.resize((380, 380), Image.Resampling.LANCZOS))
    sheet = Image.new("RGB", (380 * len(tiles), 380))
    for i, tile in enumerate(tiles):
        sheet.paste(tile, (380 * i, 0))
    sheet.save(path, quality=88)


def overlay(
    image: NDArray[np.float32], found: NDArray[np.bool_], true: NDArray[np.bool_]
) -> Image.Image:
    """Return the stretched image with both sets of outlines, at twice its size."""
    low, high = np.percentile(image, [0.5, 99.5])
    grey = np.clip((image - low) / max(float(high - low), 1e-6), 0, 1) * 255
    canvas = np.repeat(np.kron(grey, np.ones((2, 2)))[..., None], 3, axis=2).astype(np.uint8)
    for masks, colors, width in ((found, COLORS, 3), (true, ((255, 255, 255),) * 3, 1)):
        for mask, color in zip(masks, colors, strict=True):
            large = np.kron(mask, np.ones((2, 2))) > 0
            canvas[large & ~binary_erosion(large, iterations=width)] = color
    return Image.fromarray(canvas)
