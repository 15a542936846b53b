"""The vocabulary, and words for a place and a size."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DISEASES = (
    *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule"),
    *("Pneumonia", "Pneumothorax", "Consolidation", "Edema", "Emphysema", "Fibrosis"),
    *("Pleural_Thickening", "Hernia", "Lung_Opacity"),
)
ORGANS = ("lung", "heart", "pleura", "diaphragm")
LOCATIONS = ("upper zone", "middle zone", "lower zone", "hilum", "several zones")
SIDES = ("right", "left", "bilateral")
SIZES = ("small", "medium", "large")
DEGREES = ("borderline", "mild", "moderate", "marked")
VOCABULARY = ("", *DISEASES, *ORGANS, *LOCATIONS, *SIDES, *SIZES, *DEGREES)
"""The first one ends a sequence."""
NUMBER = {word: number for number, word in enumerate(VOCABULARY)}
LENGTH = 4
"""Words after the disease: organ, location, side, size or degree."""
SLOTS = {"location": LOCATIONS, "side": SIDES, "size or degree": SIZES + DEGREES}

ORGAN_OF = {
    "Cardiomegaly": "heart",
    "Effusion": "pleura",
    "Pneumothorax": "pleura",
    "Pleural_Thickening": "pleura",
    "Hernia": "diaphragm",
}
"""All others are the lung's."""
SIZE_LIMITS = (0.15, 0.30)
"""Of an opacity: area of its boxes as a share of the box around both lungs."""
NODULE_LIMITS_MM = (10.0, 20.0)
RATIO_LIMITS = (0.50, 0.55, 0.60)
"""Cardiothoracic ratios between the degrees of a large heart."""

Corners = tuple[float, float, float, float]
"""Left, top, right, bottom, as shares of the square around the thorax."""


@dataclass(frozen=True)
class Lungs:
    """Where the lungs lie in the square around the thorax, as shares of it."""

    left: float
    """Of the image: the patient's right."""
    top: float
    right: float
    bottom: float
    middle: float
    """Column between both."""


def lungs_of(organs: NDArray[np.floating]) -> Lungs | None:
    """Return where the lungs lie; None if one was not found.

    `organs` is (3, rows, columns): probabilities of heart, right lung, left lung.
    """
    right, left = organs[1] > 0.5, organs[2] > 0.5
    if not (right.any() and left.any()):
        return None
    rows, columns = right.shape
    down, across = np.nonzero(right | left)
    return Lungs(
        left=across.min() / columns,
        top=down.min() / rows,
        right=(across.max() + 1) / columns,
        bottom=(down.max() + 1) / rows,
        middle=(np.nonzero(right)[1].max() + 1 + np.nonzero(left)[1].min()) / 2 / columns,
    )


def zone_of(box: Corners, lungs: Lungs) -> str:
    """Return the third of the lungs' height in which a box's centre lies, or what stands for it."""
    height = lungs.bottom - lungs.top
    if (box[3] - box[1]) / height > 0.6:
        return "several zones"
    third = int(np.clip(((box[1] + box[3]) / 2 - lungs.top) / height * 3, 0, 2))
    aside = abs((box[0] + box[2]) / 2 - lungs.middle) / ((lungs.right - lungs.left) / 2)
    if third == 1 and aside < 0.35:
        return "hilum"
    return LOCATIONS[third]


def side_of(box: Corners, lungs: Lungs) -> str:
    """Return the patient's side on which a box's centre lies."""
    return "right" if (box[0] + box[2]) / 2 < lungs.middle else "left"


def place_words(boxes: list[Corners], lungs: Lungs) -> tuple[str, str]:
    """Return location and side of what all the boxes mark."""
    zones = {zone_of(box, lungs) for box in boxes}
    sides = {side_of(box, lungs) for box in boxes}
    return (
        zones.pop() if len(zones) == 1 else "several zones",
        sides.pop() if len(sides) == 1 else "bilateral",
    )


def graded(value: float, limits: tuple[float, ...], words: tuple[str, ...]) -> str:
    """Return the word for a value between limits."""
    return words[int(np.searchsorted(limits, value, side="right"))]


def size_word(boxes: list[Corners], lungs: Lungs) -> str:
    """Return small, medium or large, by the share of the lungs' box that the boxes cover."""
    whole = (lungs.right - lungs.left) * (lungs.bottom - lungs.top)
    covered = sum((box[2] - box[0]) * (box[3] - box[1]) for box in boxes)
    return graded(covered / whole, SIZE_LIMITS, SIZES)
