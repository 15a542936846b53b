"""Do boxes lie where they should? IoBB and IoU, Acc. and AFP, as ChestX-ray8's table 4 has them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

THRESHOLDS = (0.1, 0.25, 0.5, 0.75, 0.9)
"""T(IoBB) of ChestX-ray8 (Wang et al. 2017, table 4)."""

Corners = tuple[float, float, float, float]
"""Left, top, right, bottom, in any one unit."""


def area(box: Corners) -> float:
    """Of a box; 0 if it is inside out."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def intersection(first: Corners, second: Corners) -> float:
    """The area two boxes share."""
    return area(
        (
            max(first[0], second[0]),
            max(first[1], second[1]),
            min(first[2], second[2]),
            min(first[3], second[3]),
        )
    )


def iobb(found: Corners, true: Corners) -> float:
    """Shared area over that of the box that was found; 0 if that is empty."""
    size = area(found)
    return intersection(found, true) / size if size > 0 else 0.0


def iou(found: Corners, true: Corners) -> float:
    """Shared area over that of both together."""
    shared = intersection(found, true)
    both = area(found) + area(true) - shared
    return shared / both if both > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One threshold of one measure."""

    threshold: float
    accuracy: float
    """Share of images with a true box in which a box that was found overlaps one by more than
    the threshold."""
    false_positives: float
    """Boxes an image that overlap none by as much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Localisation:
    """The table of one finding."""

    images: int
    """With a true box; false positives are counted on these."""
    by_iobb: tuple[Row, ...]
    by_iou: tuple[Row, ...]


def localisation(
    found: Mapping[str, Sequence[Corners]], true: Mapping[str, Sequence[Corners]]
) -> Localisation:
    """The table over the images that have true boxes; an image without a found box is missed."""
    images = [name for name, boxes in true.items() if boxes]
    return Localisation(
        images=len(images),
        by_iobb=_rows(found, true, images, iobb),
        by_iou=_rows(found, true, images, iou),
    )


def _rows(
    found: Mapping[str, Sequence[Corners]],
    true: Mapping[str, Sequence[Corners]],
    images: Sequence[str],
    measure: Callable[[Corners, Corners], float],
) -> tuple[Row, ...]:
    best = [
        [max(measure(box, one) for one in true[name]) for box in found.get(name, ())]
        for name in images
    ]
    count = max(1, len(images))
    return tuple(
        Row(
            threshold=threshold,
            accuracy=sum(any(v > threshold for v in values) for values in best) / count,
            false_positives=sum(v <= threshold for values in best for v in values) / count,
        )
        for threshold in THRESHOLDS
    )
