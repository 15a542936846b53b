"""The sheet a phantom is painted on: a grid, its deformed coordinates, smooth noise."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from dicomnode.phantom.structures import Organ, Tissue

Floats: TypeAlias = npt.NDArray[np.float32]
Bools: TypeAlias = npt.NDArray[np.bool_]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Point: TypeAlias = tuple[float, float, float]
Box: TypeAlias = tuple[slice, slice, slice]


class Painting:
    """A phantom being painted: HU `(slice, row, column)` and what every voxel is, in place.

    Args:
        rng: what is drawn.
        hu: before the scanner.
        labels: `Organ` of every voxel.
        tissue: `Tissue` of every voxel.
        spacing: mm, (slice, row, column).
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        hu: Floats,
        labels: Bytes,
        tissue: Bytes,
        spacing: Point | npt.NDArray[np.float64],
    ) -> None:
        self.rng, self.hu, self.labels, self.tissue = rng, hu, labels, tissue
        self.spacing: npt.NDArray[np.float64] = np.array(spacing, np.float64)


def smooth_noise(
    rng: np.random.Generator, shape: Sequence[int], spacing: Sequence[float], grain_mm: float
) -> Floats:
    """Noise of unit variance that varies over about `grain_mm`, of `shape`.

    Cubic B-splines on random knots: three small matrix products, so large grids stay cheap.
    """
    knots: Floats = rng.standard_normal(
        [int(n * s / grain_mm) + 5 for n, s in zip(shape, spacing, strict=True)]
    ).astype(np.float32)
    for axis, (count, step) in enumerate(zip(shape, spacing, strict=True)):
        weights = _spline_weights(count, step / grain_mm, knots.shape[axis])
        knots = np.moveaxis(np.tensordot(weights, knots, axes=(1, axis)), 0, axis)
    return np.asarray(knots * np.float32(2.4), np.float32)


def _spline_weights(count: int, step: float, knots: int) -> Floats:
    at = np.arange(count) * step + 1.0
    weights = np.abs(at[:, None] - np.arange(knots)[None, :])
    inner = 2 / 3 - weights**2 + weights**3 / 2
    outer = np.clip(2 - weights, 0, None) ** 3 / 6
    return np.asarray(np.where(weights < 1, inner, outer), np.float32)


class Canvas:
    """Labels being painted, and where each voxel lies in the body plan.

    Arrays are (slice, row, column) = (z, y, x). `x`, `y`, `z` are coordinates of the body plan in
    mm, LPS: x to the left, y to the back, z to the head; they are those of the patient, scaled,
    turned and elastically deformed, so that every shape written in them comes out varied.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        shape: tuple[int, int, int],
        spacing: tuple[float, float, float],
        origin: Point,
        scale: Point,
        turn: float,
        elastic_mm: float,
    ) -> None:
        self.shape, self.spacing, self.origin = shape, spacing, origin
        self.scale, self.turn = scale, turn
        self.slack = 3.0 * elastic_mm
        lines = [
            ((np.arange(n) * s + o) / c).astype(np.float32)
            for n, s, o, c in zip(shape, spacing, reversed(origin), reversed(scale), strict=True)
        ]
        z, y, x = np.meshgrid(*lines, indexing="ij", sparse=True)
        cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        self.x = self._bent(rng, x * cos + y * sin, elastic_mm)
        self.y = self._bent(rng, y * cos - x * sin, elastic_mm)
        self.z = self._bent(rng, z, elastic_mm)
        self.coarse = smooth_noise(rng, shape, spacing, 45.0)
        self.fine = smooth_noise(rng, shape, spacing, 16.0)
        self.labels = np.zeros(shape, np.uint8)
        self.tissue = np.zeros(shape, np.uint8)

    def _bent(self, rng: np.random.Generator, line: Floats, amount: float) -> Floats:
        bend = smooth_noise(rng, self.shape, self.spacing, 80.0) * np.float32(amount)
        return np.asarray(line + np.clip(bend, -self.slack, self.slack), np.float32)

    def box(self, low: Point, high: Point) -> Box | None:
        """The part of the grid that can hold points of the plan between two corners, or None."""
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        corners = np.array([(x, y) for x in (low[0], high[0]) for y in (low[1], high[1])])
        turned = np.stack(
            [corners[:, 0] * cos - corners[:, 1] * sin, corners[:, 0] * sin + corners[:, 1] * cos]
        )
        first = (*(turned.min(1) - self.slack), low[2] - self.slack)
        last = (*(turned.max(1) + self.slack), high[2] + self.slack)
        parts = []
        for axis in (2, 1, 0):
            n, step = self.shape[2 - axis], self.spacing[2 - axis]
            # Sorted, because a mirrored axis runs the other way.
            start, end = sorted(
                (value[axis] * self.scale[axis] - self.origin[axis]) / step
                for value in (first, last)
            )
            begin, stop = max(int(np.floor(start)), 0), min(int(np.ceil(end)) + 1, n)
            if begin >= stop:
                return None
            parts.append(slice(begin, stop))
        return parts[0], parts[1], parts[2]

    def paint(
        self,
        organ: Organ,
        inside: Bools,
        box: Box | None = None,
        *,
        over: Iterable[Organ] | None = None,
        tissue: Tissue = Tissue.WALL,
    ) -> None:
        """Give the voxels `inside` (of `box`) to `organ`, where they belong to `over` so far."""
        part = box if box is not None else (slice(None),) * 3
        labels = self.labels[part]
        if over is not None:
            allowed = np.zeros(256, np.bool_)
            allowed[[int(o) for o in over]] = True
            inside = inside & allowed[labels]
        labels[inside] = organ
        self.tissue[part][inside] = tissue
