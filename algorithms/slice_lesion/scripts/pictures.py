"""Key slices with what is marked on them (green) and what the network marks (orange)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from dicomnode.networks.deep_lesion import Part
from dicomnode.networks.slice_detector import SliceDetections, SliceDetector
from scripts.judging import detections_of, name_of
from scripts.slabs import Item, items_of

_LOW, _HIGH = -160.0, 240.0
_LUNG_LOW, _LUNG_HIGH = -1350.0, 150.0
_GREEN, _ORANGE = (0, 200, 120), (240, 140, 0)
_SIDE = 400


def draw(
    network: SliceDetector,
    site: str,
    output: Path | str,
    *,
    least: float,
    names: Sequence[str] | None = None,
    columns: int = 6,
) -> None:
    """Write one picture of the named key slices of the part to judge by; None: of all."""
    torch.set_num_threads(1)
    items = [item for item in items_of(site, Part.TEST) if not names or name_of(item) in names]
    tiles = [_tile(item, detections_of(network, item), least) for item in items]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[n : n + columns]) for n in range(0, len(tiles), columns)]
    Image.fromarray(np.vstack(rows)).save(output)


def _tile(item: Item, found: SliceDetections, least: float) -> np.ndarray:
    plane = item.slab(1)[0]
    lung = set(item.key.marks.types.tolist()) == {4}
    low, high = (_LUNG_LOW, _LUNG_HIGH) if lung else (_LOW, _HIGH)
    grey = ((plane.clamp(low, high) - low) / (high - low) * 255).byte().numpy()
    image = Image.fromarray(grey).convert("RGB").resize((_SIDE, _SIDE))
    pen = ImageDraw.Draw(image)
    x, y = _SIDE / plane.shape[1], _SIDE / plane.shape[0]
    for box in item.key.marks.boxes.tolist():
        pen.rectangle([box[0] * x, box[1] * y, box[2] * x, box[3] * y], outline=_GREEN, width=2)
    for score, box, ends in zip(
        found.scores.tolist(), found.boxes.tolist(), found.ends.tolist(), strict=True
    ):
        if score < least:
            continue
        pen.rectangle([box[0] * x, box[1] * y, box[2] * x, box[3] * y], outline=_ORANGE)
        for one, other in (ends[:2], ends[2:]):
            pen.line([one[0] * x, one[1] * y, other[0] * x, other[1] * y], fill=_ORANGE)
        pen.text((box[0] * x, box[3] * y), f"{score:.2f}", fill=_ORANGE)
    return np.asarray(image)
