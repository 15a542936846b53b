"""An invented trunk of 280 mm that can be cut, moved and given lesions: for follow-up over CTs.

Unlike the boxes and ellipses elsewhere it has enough shape to lay two scans of it on each other.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomnode.testing.studies import SeriesGeometry

Field = npt.NDArray[np.floating[Any]]
Place = tuple[float, float, float]

BALL_HU = 300
"""Of planted lesions; bone is denser, everything else less dense than 150."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ball:
    """A lesion: an ellipsoid, two thirds as deep as it is wide and high."""

    center: Place
    """LPS, mm, in the trunk at rest: x and y from its middle, z from its lower end."""
    diameter_mm: float


def trunk(x: Field, y: Field, z: Field) -> npt.NDArray[np.float32]:
    """Hounsfield units at points of the trunk at rest (LPS, mm): lungs, liver, spine, ribs."""
    values = np.full(np.broadcast_shapes(x.shape, y.shape, z.shape), -1000.0, dtype=np.float32)
    wide, deep = 150 + 12 * np.sin(z / 60), 100 + 8 * np.cos(z / 45)
    values[(x / wide) ** 2 + (y / deep) ** 2 < 1] = -90
    values[(x / (wide - 18)) ** 2 + (y / (deep - 15)) ** 2 < 1] = 45
    for side, size in ((-1, 1.0), (1, 0.85)):
        lung = ((x - side * 70) / 50) ** 2 + (y / 70) ** 2 + ((z - 190) / (110 * size)) ** 2 < 1
        values[lung] = -820
    values[((x + 50) / 75) ** 2 + ((y + 5) / 65) ** 2 + ((z - 40) / 55) ** 2 < 1] = 100
    spine = (x / 20) ** 2 + ((y - 62) / 20) ** 2 < 1
    values[spine & (np.sin(z / 5) > -0.8)] = 600
    rib = np.abs(np.sqrt((x / (wide - 14)) ** 2 + (y / (deep - 12)) ** 2) - 1) < 0.04
    values[rib & (np.sin(z / 9 + np.abs(x) / 40) > 0.6)] = 700
    return values


def torso_ct(
    geometry: SeriesGeometry, balls: Iterable[Ball] = (), *, moved: Place = (0, 0, 0)
) -> npt.NDArray[np.int16]:
    """The trunk with lesions as an axial CT of `geometry`; `moved` is where the table stood.

    (slices, rows, columns), Hounsfield units.
    """
    between, down, across = geometry.spacing_mm
    left, back, low = geometry.origin_mm
    x = left + np.arange(geometry.columns)[None, None, :] * across - moved[0]
    y = back + np.arange(geometry.rows)[None, :, None] * down - moved[1]
    z = low + np.arange(geometry.slices)[:, None, None] * between - moved[2]
    values = trunk(x, y, z)
    for ball in balls:
        radius = ball.diameter_mm / 2
        apart = ((x - ball.center[0]) / radius) ** 2 + ((z - ball.center[2]) / radius) ** 2
        values[apart + ((y - ball.center[1]) / (radius / 1.5)) ** 2 < 1] = BALL_HU
    return values.astype(np.int16)
