"""Whole key slices read and held against their marks: FROC an image, as the literature counts."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dicomnode.evaluation.froc import FoundLesion, Marked, TrueLesion, mark
from dicomnode.networks.deep_lesion import TYPES
from dicomnode.networks.slice_detector import SliceDetections, SliceDetector
from dicomnode.networks.slice_inferer import PIXEL_MM, SliceInferer, resized, scaled
from dicomnode.networks.slice_losses import UNKNOWN_TYPE
from scripts.slabs import Item

LEAST = 0.01
RATES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives an image, as Yan et al. 2018 read the curve."""


def detections_of(network: SliceDetector, item: Item) -> SliceDetections:
    """What the network finds on a key slice, in its own pixels."""
    slab = item.slab(network.slices)
    x_mm, y_mm, _ = item.key.spacing_mm
    with torch.inference_mode():
        (found,) = SliceInferer(least_score=LEAST).read(
            resized(slab, (x_mm, y_mm))[None], network.eval()
        )
    return scaled(found, (PIXEL_MM / x_mm, PIXEL_MM / y_mm))


def name_of(item: Item) -> str:
    """Of the slice: `000001_01_01_109`."""
    return f"{item.key.volume}_{item.key.number:03d}"


def truths_of(item: Item) -> list[TrueLesion]:
    """Its marks, in pixels; the third place is 0."""
    x_mm = item.key.spacing_mm[0]
    return [
        TrueLesion(
            volume=name_of(item),
            low_mm=(box[0], box[1], 0.0),
            high_mm=(box[2], box[3], 0.0),
            is_sphere=False,
            size_mm=max(box[2] - box[0], box[3] - box[1]) * x_mm,
            kind="" if kind == UNKNOWN_TYPE else TYPES[kind],
        )
        for box, kind in zip(
            item.key.marks.boxes.tolist(), item.key.marks.types.tolist(), strict=True
        )
    ]


def found_of(item: Item, found: SliceDetections) -> list[FoundLesion]:
    """Detections as marks in the middle of their boxes."""
    return [
        FoundLesion(
            volume=name_of(item),
            point_mm=((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, 0.0),
            score=score,
            kind=TYPES[kind],
        )
        for box, score, kind in zip(
            found.boxes.tolist(), found.scores.tolist(), found.types.tolist(), strict=True
        )
    ]


def marked_of(network: SliceDetector, items: Sequence[Item]) -> Marked:
    """All items: a mark hits the lesion in whose box its middle lies, whatever its type."""
    return mark(
        [name_of(item) for item in items],
        [one for item in items for one in truths_of(item)],
        [one for item in items for one in found_of(item, detections_of(network, item))],
    )
