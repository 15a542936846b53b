"""Training slabs of 3 mm with the classes of this network, and the slices it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomnode.networks.partial import NEUTRAL, UNKNOWN
from dicomnode.phantom.slabs import SlabShape, Stock
from dicomnode.phantom.slabs import make_slab as make_varied
from scripts.classes import class_table

OFFSETS = (-4, -2, -1, 0, 1, 2, 4)
"""Slices around the one that is labelled, in slices of 3 mm."""
ROWS, COLUMNS = 112, 144
DEPTH = 22
"""Slices of a slab."""
SHAPE = SlabShape(size=(DEPTH, ROWS, COLUMNS), flooded_share=0.3)
PAD, MULTIPLE = -1.5, 16
"""Air in the network's scale, and what sides of a picture are multiples of: as the inferer pads."""
TABLE = class_table()


def network_scale(hu: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """HU as the network reads them, about -1.5..1.5: fine in soft tissue, coarse in air and bone.

    `dicomnode.networks.ScaleSoftTissued` does the same at inference.
    """
    fine = np.clip((hu - 50) / 250, -1, 1)
    return np.asarray(fine + 0.5 * np.clip(hu / 1000, -1, 1), np.float32)


def make_slab(
    stocks: Sequence[Stock], seed: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Network input `(DEPTH, ROWS, COLUMNS)` and classes of the same shape."""
    slab = make_varied(stocks, seed, SHAPE)
    classes = TABLE[slab.labels]
    classes[slab.neutral] = NEUTRAL
    hu = slab.hu
    _narrow_view(np.random.default_rng([10, seed]), hu, classes)
    return network_scale(hu), classes


def _narrow_view(
    rng: np.random.Generator, hu: npt.NDArray[np.float32], classes: npt.NDArray[np.uint8]
) -> None:
    """Now and then a field of view that cuts the patient, or a scan that ends within the slab."""
    if rng.random() < 0.12:
        y = np.arange(ROWS)[:, None] - ROWS / 2 - rng.normal(0, 6)
        x = np.arange(COLUMNS)[None, :] - COLUMNS / 2 - rng.normal(0, 8)
        radius = rng.uniform(38, 62)
        out = np.hypot(y, x) > radius
        if rng.random() < 0.5:
            out = (np.abs(y) > radius * 0.9) | (np.abs(x) > radius)
        hu[:, out] = -1024
        classes[:, out] = 0
    if rng.random() < 0.2:
        end = int(rng.integers(4, DEPTH - 8))
        if rng.random() < 0.5:
            hu[:end] = hu[end]
            classes[:end] = UNKNOWN
        else:
            hu[DEPTH - end :] = hu[DEPTH - end - 1]
            classes[DEPTH - end :] = UNKNOWN


def slab_samples(
    image: npt.NDArray[np.float32], classes: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Inputs `(n, len(OFFSETS), rows, columns)` and classes `(n, rows, columns)`, consecutive."""
    middles = range(max(OFFSETS), len(image) - max(OFFSETS))
    inputs = np.stack([np.stack([image[m + o] for o in OFFSETS]) for m in middles])
    return inputs, np.stack([classes[m] for m in middles])


def body_only(
    rng: np.random.Generator, image: npt.NDArray[np.float32], classes: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Rows and columns of the body and up to 8 around it, as the inferer reads no more of a CT.

    Where the box begins differs from slab to slab, so that no place is tied to the halvings of
    the picture.
    """
    box = []
    for axis in (1, 2):
        found = np.flatnonzero((classes != 0).any(axis=(0, 3 - axis)))
        if not found.size:
            return image, classes
        low, high = found[0] - rng.integers(0, 9), found[-1] + 1 + rng.integers(0, 9)
        box.append(slice(max(int(low), 0), int(high)))
    return image[:, box[0], box[1]], classes[:, box[0], box[1]]


def padded(pictures: npt.NDArray[Any], rows: int, columns: int, value: float) -> npt.NDArray[Any]:
    """Pictures `(..., rows, columns)` filled up at the end."""
    wide = [(0, 0)] * (pictures.ndim - 2)
    wide += [(0, rows - pictures.shape[-2]), (0, columns - pictures.shape[-1])]
    return np.pad(pictures, wide, constant_values=value)
