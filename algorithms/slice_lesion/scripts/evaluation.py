"""What the card says: FROC an image, beside a filter for blobs, and points for whole volumes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from dicomnode.evaluation.froc import (
    FoundLesion,
    Marked,
    TrueLesion,
    mark,
    over_volumes,
    sensitivity_at,
    threshold_at,
)
from dicomnode.networks.blobs import Channel, find_blobs
from dicomnode.networks.deep_lesion import Part, plane_of
from dicomnode.networks.slice_detector import SliceDetections, SliceDetector, overlap
from dicomnode.networks.slice_inferer import (
    APART_MM,
    PIXEL_MM,
    SliceInferer,
    resized,
)
from dicomnode.networks.slice_lesions import join_slices
from scripts.judging import LEAST, RATES, detections_of, found_of, name_of, truths_of
from scripts.slabs import Item, items_of

log = logging.getLogger("slices.evaluation")

CHANNELS = {
    "bright blobs": Channel(low=-100.0, high=200.0, sign=1),
    "dark blobs": Channel(low=-50.0, high=150.0, sign=-1),
}
_MOST = 30
_OVERLAP = 0.5
_SLICES = 5
_NEAR = 3
"""Slices: a lesion is marked on two of its slices, not on all."""


def evaluate(
    network: SliceDetector,
    site: str,
    output: str,
    *,
    part: str = "TEST",
    baseline: bool = True,
    every: int = 1,
) -> dict[str, object]:
    """Write `slices.json` on the key slices of one part, or on each `every`-th of them."""
    torch.set_num_threads(1)
    items = items_of(site, Part[part])[::every]
    patients = [item.key.patient for item in items]
    found = [detections_of(network, item) for item in items]
    marks = [one for item, each in zip(items, found, strict=True) for one in found_of(item, each)]
    told: dict[str, object] = {
        "slices": len(items),
        "patients": len(set(patients)),
        "lesions": sum(len(truths_of(item)) for item in items),
        "middle in the box": _figures(_held(items, marks), patients),
        "overlap of one half": _figures(_overlapping(items, found), patients),
        "by type": _by_type(items, marks),
    }
    if baseline:
        for name, channel in CHANNELS.items():
            blobs = [one for item in items for one in blobs_of(item, channel)]
            told[name] = _figures(_held(items, blobs), patients)
            told[f"gain over {name}"] = _gain(_held(items, marks), _held(items, blobs), patients)
    Path(output).mkdir(parents=True, exist_ok=True)
    (Path(output) / "slices.json").write_text(json.dumps(told, indent=1) + "\n")
    return told


def blobs_of(item: Item, channel: Channel) -> list[FoundLesion]:
    """The strongest blobs in the body of a key slice, as marks."""
    x_mm, y_mm, _ = item.key.spacing_mm
    slab = resized(item.slab(_SLICES), (x_mm, y_mm))
    body = torch.nn.functional.max_pool2d((slab > -300).float()[None], 9, 1, 4)[0] > 0
    blobs = find_blobs(
        slab.permute(2, 1, 0).contiguous(),
        (PIXEL_MM, PIXEL_MM, APART_MM),
        channel,
        most=_MOST,
        inside=body.permute(2, 1, 0).contiguous(),
    )
    return [
        FoundLesion(
            volume=name_of(item),
            point_mm=((x + 0.5) * PIXEL_MM / x_mm, (y + 0.5) * PIXEL_MM / y_mm, 0.0),
            score=float(strength),
        )
        for (x, y, _), strength in zip(blobs.points.tolist(), blobs.strengths, strict=True)
    ]


def volume_points(
    network: SliceDetector, site: str, volumes: Sequence[str], rates: Sequence[float]
) -> dict[str, float]:
    """Least score of a joined lesion for so many false ones a volume, where all are marked.

    A volume: what lies below `Images_png` of phantoms, 60 mm each. A joined lesion is true if a
    mark on one of its slices, or on one near them, has its middle in the lesion's box.
    """
    items = items_of(site, Part.VALIDATION)
    truths: list[TrueLesion] = []
    found: list[FoundLesion] = []
    for volume in volumes:
        own = [item for item in items if item.key.volume == volume]
        numbers = sorted(int(path.stem) for path in (own[0].images / volume).glob("*.png"))
        folder = own[0].images / volume
        planes = torch.stack([plane_of(folder / f"{number:03d}.png") for number in numbers])
        inferer = SliceInferer(least_score=LEAST)
        with torch.inference_mode():
            lesions = join_slices(inferer.detections(planes, network.eval()))
        for lesion in lesions[:60]:
            if not _is_true(lesion.box, numbers[lesion.first], numbers[lesion.last], own):
                found.append(
                    FoundLesion(volume=volume, point_mm=(0.0, 0.0, 0.0), score=lesion.score)
                )
        log.info("slices.read %s", volume)
    marked = mark(list(volumes), truths, found)
    return {f"{rate:g}": threshold_at(marked, rate) for rate in rates}


def _is_true(box: torch.Tensor, first: int, last: int, items: Sequence[Item]) -> bool:
    """Whether a mark on its slices, or near them, has its middle in the lesion's box."""
    for item in items:
        if first - _NEAR <= item.key.number <= last + _NEAR:
            middles = (item.key.marks.boxes[:, :2] + item.key.marks.boxes[:, 2:]) / 2
            if ((middles >= box[:2]) & (middles <= box[2:])).all(1).any():
                return True
    return False


def _held(items: Sequence[Item], marks: Sequence[FoundLesion]) -> Marked:
    return mark(
        [name_of(item) for item in items], [one for item in items for one in truths_of(item)], marks
    )


def _overlapping(items: Sequence[Item], found: Sequence[SliceDetections]) -> Marked:
    """As `_held`, but a mark hits the lesion whose box it shares half of the union with."""
    marks: list[FoundLesion] = []
    for item, one in zip(items, found, strict=True):
        if not len(one.scores):
            continue
        boxes = item.key.marks.boxes
        shared = overlap(one.boxes, boxes)
        best = shared.argmax(1)
        for row, score in enumerate(one.scores.tolist()):
            hit = float(shared[row, best[row]]) >= _OVERLAP
            box = boxes[best[row]]
            middle = ((box[:2] + box[2:]) / 2).tolist() if hit else [-1.0, -1.0]
            marks.append(
                FoundLesion(volume=name_of(item), point_mm=(*middle, 0.0), score=score)  # type: ignore[arg-type]
            )
    return _held(items, marks)


def _figures(marked: Marked, patients: Sequence[str]) -> dict[str, list[float]]:
    return {
        f"{rate:g}": _interval(lambda times, r=rate: sensitivity_at(marked, r, times), patients)
        for rate in RATES
    }


def _gain(marked: Marked, other: Marked, patients: Sequence[str]) -> dict[str, list[float]]:
    return {
        f"{rate:g}": _interval(
            lambda times, r=rate: (
                sensitivity_at(marked, r, times) - sensitivity_at(other, r, times)
            ),
            patients,
        )
        for rate in RATES
    }


def _interval(statistic: Callable[..., float], patients: Sequence[str]) -> list[float]:
    one = over_volumes(statistic, len(patients), patients=patients, draws=1000)
    return [one.value, one.low, one.high]


def _by_type(items: Sequence[Item], marks: Sequence[FoundLesion]) -> dict[str, list[float]]:
    """Lesions of a type, and share found at 4 false positives an image, of whatever type."""
    marked = _held(items, marks)
    kinds = sorted({one.kind for one in marked.lesions})
    return {
        kind or "not known": [
            float(sum(one.kind == kind for one in marked.lesions)),
            sensitivity_at(marked.part(lambda one, k=kind: one.kind == k), 4.0),
        ]
        for kind in kinds
    }
