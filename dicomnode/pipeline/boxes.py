"""Boxes from a heatmap: what lies above a threshold and hangs together, within an organ."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Map = npt.NDArray[np.float32]
"""(rows, columns)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A box on a map; edges, not centres of pixels, count: the first pixel ends at 1."""

    left: float
    top: float
    right: float
    bottom: float
    peak: float
    """Highest value of the heatmap inside."""


def boxes_of(heat: Map, inside: npt.NDArray[np.bool_], *, share: float, most: int) -> list[Box]:
    """At most `most` boxes, the highest peak first; none where the heat is nowhere above 0.

    Args:
        heat: the heatmap.
        inside: where a finding may lie; heat elsewhere counts for nothing.
        share: of the highest heat inside, from which on a pixel belongs to a box.
        most: boxes at most.
    """
    masked = np.where(inside, heat, 0.0)
    highest = float(masked.max(initial=0.0))
    if highest <= 0:
        return []
    parts, count = ndimage.label(masked >= share * highest)
    smallest = max(1, round(heat.size / 1000))
    found = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(parts), start=1):
        part = parts[rows, columns] == number
        if part.sum() < smallest and count > 1:
            continue
        peak = float(masked[rows, columns][part].max())
        found.append(
            Box(left=columns.start, top=rows.start, right=columns.stop, bottom=rows.stop, peak=peak)
        )
    return sorted(found, key=lambda box: -box.peak)[:most]


def box_around(mask: npt.NDArray[np.bool_]) -> list[Box]:
    """The box of a whole mask; none if it is empty."""
    if not mask.any():
        return []
    rows, columns = ndimage.find_objects(mask.astype(np.int8))[0]
    return [Box(left=columns.start, top=rows.start, right=columns.stop, bottom=rows.stop, peak=1.0)]
