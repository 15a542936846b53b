"""Images as numbers and the sequences that belong to them.

What people said: labels (ChestX-ray14: mined from reports), boxes of opacities (RSNA), places and
sizes of nodules (JSRT). What is derived: zone and side from a box and the lungs' mask, the degree
of a large heart from the cardiothoracic ratio of the masks.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts import words

Array = NDArray[np.float64]
JSRT = 2
"""Source of JSRT's images; 0 and 1 are ChestX-ray14's (`paired`, `mixed`)."""


@dataclass(frozen=True)
class Images:
    """What is cached of all images (`cxr_thorax`'s scripts.features)."""

    names: list[str]
    patients: NDArray[np.int_]
    sources: NDArray[np.int_]
    test: NDArray[np.bool_]
    """Of the test part of cxr_thorax, JSRT's never."""
    truth: Array
    """(images, 14); NaN for JSRT."""
    pooled: Array
    geometry: Array
    maps: NDArray[np.float16]
    organs: NDArray[np.float16]
    place: Array
    inside: NDArray[np.float32]
    """(images, 32, 32): 1 in a box of an opacity."""
    graded: NDArray[np.bool_]
    """A reader said whether there is an opacity."""


@dataclass(frozen=True)
class Sequences:
    """One row for each disease of each image."""

    image: NDArray[np.int_]
    words: NDArray[np.int_]
    """(rows, 1 + LENGTH): the disease, then what belongs to it."""


def load(nih: tuple[Path, Path], jsrt: tuple[Path, Path]) -> tuple[Images, Sequences]:
    """Return both collections, each from its folder (`scripts.prepare`) and its features."""
    parts, places = [], {}
    for (folder, features), source in ((nih, None), (jsrt, JSRT)):
        stored = np.load(features)
        rows = _rows(folder / "labels.csv", [str(name) for name in stored["image"]])
        places.update(_boxes(folder / "boxes.csv"))
        parts.append((rows, {key: stored[key] for key in stored.files}, source))
    rows = [row for part, _, _ in parts for row in part]
    names = [row["image"] for row in rows]
    sources = np.concatenate(
        [
            [JSRT if source == JSRT else int(row["source"] == "mixed") for row in part]
            for part, _, source in parts
        ]
    )
    joined = {
        key: np.concatenate([stored[key] for _, stored, _ in parts])
        for key in ("pooled", "geometry", "maps", "organs", "place")
    }
    known = [[float(row.get(one) or "nan") for one in words.DISEASES[:-1]] for row in rows]
    truth = np.array(known)
    truth[sources == JSRT] = np.nan
    boxes = [_in_square(places.get(n, []), joined["place"][k]) for k, n in enumerate(names)]
    opacity = [row.get("Lung_Opacity", "") for row in rows]
    size = joined["maps"].shape[2]
    images = Images(
        names=names,
        patients=np.unique(
            [f"{s == JSRT} {row['patient']}" for s, row in zip(sources, rows, strict=True)],
            return_inverse=True,
        )[1],
        sources=sources,
        test=np.array([row.get("split") == "test" for row in rows]),
        truth=truth,
        pooled=joined["pooled"].astype(np.float64),
        geometry=joined["geometry"].astype(np.float64),
        maps=joined["maps"],
        organs=joined["organs"],
        place=joined["place"].astype(np.float64),
        inside=np.stack(
            [
                _filled(some if s != JSRT else [], size)
                for some, s in zip(boxes, sources, strict=True)
            ]
        ),
        graded=np.array([value != "" for value in opacity]),
    )
    return images, _sequences(images, boxes, opacity, _nodule_sizes(jsrt[0]))


def _rows(path: Path, names: list[str]) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        table = {row["image"]: row for row in csv.DictReader(stream)}
    return [table[name] for name in names]


def _boxes(path: Path) -> dict[str, list[words.Corners]]:
    """Return image -> boxes as shares of the picture."""
    found: dict[str, list[words.Corners]] = {}
    with path.open(newline="") as stream:
        for row in csv.DictReader(stream):
            x, y, w, h = (float(row[key]) / 1024 for key in ("x", "y", "width", "height"))
            found.setdefault(row["image"], []).append((x, y, x + w, y + h))
    return found


def _nodule_sizes(folder: Path) -> dict[str, float]:
    """Return image -> millimetres; boxes are squares of 0.175 mm / 2 a pixel."""
    with (folder / "boxes.csv").open(newline="") as stream:
        return {row["image"]: float(row["width"]) * 2 * 0.175 for row in csv.DictReader(stream)}


def _in_square(boxes: list[words.Corners], place: Array) -> list[words.Corners]:
    across, down, half = place
    left, top = across - half, down - half
    return [
        (
            (b[0] - left) / (2 * half),
            (b[1] - top) / (2 * half),
            (b[2] - left) / (2 * half),
            (b[3] - top) / (2 * half),
        )
        for b in boxes
    ]


def _filled(boxes: list[words.Corners], size: int) -> NDArray[np.float32]:
    inside = np.zeros((size, size), np.float32)
    middle = (np.arange(size) + 0.5) / size
    for left, top, right, bottom in boxes:
        down = (middle > top) & (middle < bottom)
        inside[np.ix_(down, (middle > left) & (middle < right))] = 1
    return inside


def _sequences(
    images: Images,
    boxes: list[list[words.Corners]],
    opacity: list[str],
    sizes: dict[str, float],
) -> Sequences:
    found: list[tuple[int, list[str]]] = []
    for n, name in enumerate(images.names):
        lungs = words.lungs_of(images.organs[n].astype(np.float32))
        for k, disease in enumerate(words.DISEASES[:-1]):
            # A nodule whose place nobody told would teach to say none.
            if images.truth[n, k] == 1 and disease != "Nodule":
                organ = words.ORGAN_OF.get(disease, "lung")
                context = [organ]
                if disease == "Cardiomegaly":
                    ratio = float(images.geometry[n, 0])
                    context.append(words.graded(ratio, words.RATIO_LIMITS, words.DEGREES))
                found.append((n, [disease, *context]))
        if boxes[n] and lungs is not None:
            location, side = words.place_words(boxes[n], lungs)
            if images.sources[n] == JSRT:
                size = words.graded(sizes[name], words.NODULE_LIMITS_MM, words.SIZES)
                found.append((n, ["Nodule", "lung", location, side, size]))
            elif opacity[n] == "1":
                size = words.size_word(boxes[n], lungs)
                found.append((n, ["Lung_Opacity", "lung", location, side, size]))
    table = np.zeros((len(found), 1 + words.LENGTH), int)
    for k, (_, said) in enumerate(found):
        table[k, : len(said)] = [words.NUMBER[word] for word in said]
    return Sequences(image=np.array([n for n, _ in found]), words=table)
