"""Comparing what a viewer paints with masks: all pure functions of pictures and masks."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from skimage.draw import polygon2mask

from dicomnode.domain.findings import SegmentFinding
from tests.acceptance.ohif_pages import Picture, Points, Viewport

LEAST_OVERLAP = 0.97
LEAST_COLORFULNESS = 12
"""Largest minus smallest of R, G, B. The images are grey."""

Seen = npt.NDArray[np.bool_]


def colorfulness(picture: Picture) -> npt.NDArray[np.int16]:
    channels = picture.astype(np.int16)
    return np.asarray(channels.max(axis=-1) - channels.min(axis=-1))


def overlays(before: Picture, after: Picture, organs: tuple[SegmentFinding, ...]) -> list[Seen]:
    """Which pixels turned from grey to the hue of which organ.

    A colour laid over grey keeps its direction once the grey part of it is taken away.
    """
    painted = colorfulness(after) - colorfulness(before) >= LEAST_COLORFULNESS
    hues = after.astype(np.float64) - after.min(axis=-1, keepdims=True)
    wanted = np.array([organ.color for organ in organs], dtype=np.float64)
    wanted -= wanted.min(axis=1, keepdims=True)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    nearest = (hues @ wanted.T).argmax(axis=-1)
    return [painted & (nearest == number) for number in range(len(organs))]


def overlap(one: Seen, other: Seen) -> float:
    """Intersection over union."""
    return float((one & other).sum() / max((one | other).sum(), 1))


def flipped(mask: Seen) -> Mapping[str, Seen]:
    return {"left-right": mask[:, ::-1], "up-down": mask[::-1], "both": mask[::-1, ::-1]}


def same_color(picture: Picture, color: tuple[int, int, int]) -> Seen:
    """Display colours go through CIELab in 16 bits and back; that costs a level or two."""
    return np.asarray(np.abs(picture.astype(np.int16) - color).max(axis=-1) <= 4)


def outlines_found(lines: list[Points], viewport: Viewport, mask: Seen) -> list[float]:
    """How well each closed outline on the screen encloses a mask (row, column)."""
    shape = (round(viewport.height), round(viewport.width))
    wanted = viewport.projected(mask)
    closed = [line for line in lines if len(line) > 2]
    # skimage has no types.
    enclosed: Callable[..., Seen] = polygon2mask
    return [overlap(enclosed(shape, line[:, ::-1]), wanted) for line in closed]


def telltale(organs: tuple[SegmentFinding, ...]) -> int:
    """The slice on which every organ is least like on the next ones, and still not small."""
    alike = {}
    for index in range(1, len(organs[0].mask) - 1):
        if all(organ.mask[index].sum() >= 150 for organ in organs):
            alike[index] = max(
                overlap(organ.mask[index], organ.mask[index + step])
                for organ in organs
                for step in (-1, 1)
            )
    index = min(alike, key=alike.__getitem__)
    assert alike[index] < LEAST_OVERLAP - 0.05, "a shift by one slice would go unnoticed"
    return index


def largest(organ: SegmentFinding) -> int:
    return int(organ.mask.sum(axis=(1, 2)).argmax())
