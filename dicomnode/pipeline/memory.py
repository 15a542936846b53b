"""How much memory a run on a volume will take, said before it begins; and slabs if it is too much.

The figures are upper bounds of what is held at once, worked out from grids and channels: the volume
and its copies, classes on the network's grid (sums of windows, a copy, a softmax), what goes back
to the volume's grid, and a mask a segment. They know nothing of a bundle's own Python code.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from dicomnode.domain.volumes import Grid
from dicomnode.pipeline.manifest import Segments

Affine = npt.NDArray[np.float64]

_FLOAT = 4
_BASE = 700_000_000
"""Program, libraries, weights and what a forward pass takes."""
_SHARE = 0.8
"""Of the memory that is free now; the rest is for everything else on the machine."""
_COPIES = 3
"""The volume, its tensor, and one that a transform is making."""
_CLASS_COPIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a run takes, in bytes."""

    standing: int
    """Whatever the slabs: the volume, its labels, its masks."""
    a_slice: float
    """For each slice of the volume that is read at a time."""
    slices: int

    def of(self, slices: int) -> int:
        """With so many slices at a time."""
        return int(self.standing + self.a_slice * slices)

    @property
    def whole(self) -> int:
        """With the whole volume at a time."""
        return self.of(self.slices)


def need_of(grid: Grid, wanted: Segments, preprocessing: Any, postprocessing: Any) -> Need:
    """What a bundle of segments takes on a volume of this grid.

    Args:
        grid: of the volume.
        wanted: the bundle's segments.
        preprocessing: its `Compose`, which says the spacing of the network's grid.
        postprocessing: its `Compose`, which says whether classes or labels go back.
    """
    classes = len(wanted.segments) + (wanted.encoding == "labels")
    voxels = prod(grid.shape)
    working = voxels * _denser(grid, preprocessing)
    back = 1 if _labels_go_back(postprocessing) else 2 * classes
    a_volume = (
        voxels * _FLOAT * (_COPIES - 1)
        + working * _FLOAT * (1 + _CLASS_COPIES * classes)
        + voxels * _FLOAT * back
    )
    masks = voxels * (2 + len(wanted.segments))
    return Need(
        standing=_BASE + voxels * _FLOAT + masks,
        a_slice=a_volume / grid.shape[0],
        slices=grid.shape[0],
    )


def _denser(grid: Grid, preprocessing: Any) -> float:
    """Voxels of the network's grid for each of the volume's; 1 if nothing says another spacing."""
    for transform in getattr(preprocessing, "transforms", ()):
        spacing = getattr(transform, "spacing", None)
        if spacing is None:
            spacer = getattr(transform, "spacing_transform", None)
            spacing = getattr(spacer, "pixdim", None)
        if spacing is not None and len(spacing) >= 3:
            return float(grid.voxel_mm3 / prod(float(mm) for mm in list(spacing)[:3]))
    return 1.0


def _labels_go_back(postprocessing: Any) -> bool:
    """False if every class is brought back to the volume's grid as a map of its own."""
    for transform in getattr(postprocessing, "transforms", ()):
        name = type(transform).__name__
        if name.startswith("AsDiscrete") or name == "OntoImageGridd":
            return True
        if name.startswith("Invert"):
            return False
    return True


def allowed_memory(asked: int | None) -> int:
    """Bytes that a run may take: what was asked, but not more than is free."""
    free = int(psutil.virtual_memory().available * _SHARE)
    return free if asked is None else min(asked, free)


def slabs_that_fit(need: Need, allowed: int, margin: int) -> int | None:
    """Into how many slabs a volume has to be cut; None: not even one slice at a time fits.

    `margin` is how many slices each slab reaches over its ends.
    """
    if need.whole <= allowed:
        return 1
    for count in range(2, need.slices + 1):
        if need.of(ceil(need.slices / count) + 2 * margin) <= allowed:
            return count
    return None


def slabs(slices: int, count: int, margin: int) -> Iterator[tuple[range, range]]:
    """(slices to read, slices to keep) of each slab; those to keep follow without a gap."""
    depth = ceil(slices / count)
    for first in range(0, slices, depth):
        last = min(first + depth, slices)
        yield range(max(0, first - margin), min(slices, last + margin)), range(first, last)


def in_gigabytes(count: int) -> str:
    """For people."""
    return f"{count / 1e9:.1f} GB"


def shifted(affine: Affine, slices: int) -> Affine:
    """The affine of a volume (slice, row, column) that begins so many slices later."""
    moved = affine.copy()
    moved[:3, 3] += affine[:3, 0] * slices
    return moved
