"""The small vessels of lungs, which phantoms lack beyond the hila: dots, lines and forks."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
import numpy.typing as npt

from scripts.scenes import SPACING

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float64]

_POINT_SPREAD_MM = 0.9
"""Of a scanner and of voxels of 2 mm together, standard deviation."""
_STEP_MM = 1.3
_LEAST_MM = 0.45
"""Radius of the thinnest vessel."""
_REACH = 3
"""Voxels to each side that a point of a vessel changes."""
SIDE = 80
"""Of a cube of vessels, in voxels."""
THICKETS = 10
_A_LITRE = (20.0, 110.0)
"""Trees in a litre of lung: about as many voxels of vessel as CTs show."""


def add_twigs(rng: np.random.Generator, hu: Floats, lung: Bools) -> Floats:
    """Paint trees of vessels into the lung.

    What they show is what a scanner shows of tubes that are thinner than its voxels: the area of
    the tube spread out, so that thin ones are faint.

    Args:
        rng: what is drawn.
        hu: HU `(x, y, z)` on the grid of scenes.
        lung: where there may be vessels; lesions are none of it.

    Returns:
        HU with vessels.
    """
    if not lung.any():
        return hu
    cover = _part(rng, thicket(int(rng.integers(THICKETS))), hu.shape) * lung
    blood = np.float32(rng.uniform(10, 70) if rng.random() < 0.4 else rng.uniform(60, 260))
    return np.asarray(hu + cover * np.maximum(blood - hu, 0), np.float32)


@cache
def thicket(number: int) -> Floats:
    """Share of each voxel that is vessel, in a cube full of trees; the same for every call."""
    rng = np.random.default_rng([81, number])
    size = np.full(3, SIDE) * np.asarray(SPACING)
    litres = float(np.prod(size)) / 1e6
    count = int(litres * rng.uniform(*_A_LITRE))
    tubes = [_tree(rng, start) for start in rng.uniform(0, size, (count, 3))]
    points, radii = (np.concatenate(part) for part in zip(*tubes, strict=True))
    return _cover(points, radii, (SIDE, SIDE, SIDE))


def _part(rng: np.random.Generator, whole: Floats, shape: tuple[int, ...]) -> Floats:
    """A part of a cube, which is turned over at random and mirrored at its faces."""
    turned = whole.transpose(rng.permutation(3))
    rows = []
    for count in shape:
        at = (int(rng.integers(2 * SIDE)) + np.arange(count)) % (2 * SIDE)
        rows.append(np.where(at < SIDE, at, 2 * SIDE - 1 - at))
    return np.asarray(turned[np.ix_(*rows)], np.float32)


def _tree(rng: np.random.Generator, start: Points) -> tuple[Points, Floats]:
    """Points in mm and radii of one vessel that divides until it is thinner than can be seen."""
    way = rng.standard_normal(3)
    growing = [(start, way / np.linalg.norm(way), float(rng.uniform(0.7, 2.4)))]
    points, radii = [], []
    while growing:
        at, way, radius = growing.pop()
        length = rng.uniform(4, 9) * (1 + radius)
        steps = np.arange(0, length, _STEP_MM)
        bend = rng.normal(0, 0.012, 3)
        line = at + steps[:, None] * way + (steps**2)[:, None] * bend
        thin = radius * np.linspace(1, 0.88, len(steps))
        points.append(line)
        radii.append(thin)
        # The areas of the two branches are about that of their stem (Murray's law, nearly).
        share = rng.uniform(0.25, 0.75)
        aside = np.cross(way, rng.standard_normal(3))
        aside /= max(float(np.linalg.norm(aside)), 1e-6)
        for sign, part in ((1, share), (-1, 1 - share)):
            branch = radius * 0.9 * part**0.4
            if branch > _LEAST_MM:
                on = way + sign * aside * rng.uniform(0.15, 0.95) * (1.2 - part)
                growing.append((line[-1], on / np.linalg.norm(on), branch))
    return np.concatenate(points), np.concatenate(radii).astype(np.float32)


def _cover(points: Points, radii: Floats, shape: tuple[int, ...]) -> Floats:
    """Share of each voxel that is vessel, as a scanner shows it."""
    index = points / np.asarray(SPACING)
    inside = ((index > -1) & (index < np.asarray(shape))).all(1)
    index, radii = index[inside], radii[inside]
    padded = np.zeros([n + 2 * _REACH + 2 for n in shape], np.float32)
    middle = np.round(index).astype(int)
    width2 = _POINT_SPREAD_MM**2 + radii**2 / 4
    most = np.minimum(radii**2 / (2 * width2), 1)
    reach = range(-_REACH, _REACH + 1)
    for shift in product(reach, reach, reach):
        far2 = (((middle + shift - index) * np.asarray(SPACING)) ** 2).sum(1)
        near = far2 < 9 * width2
        at = middle[near] + shift + _REACH + 1
        flat = np.ravel_multi_index(tuple(at.T), padded.shape)
        value = most[near] * np.exp(-far2[near] / (2 * width2[near]))
        np.maximum.at(padded.reshape(-1), flat, value.astype(np.float32))
    cut = slice(_REACH + 1, -_REACH - 1)
    return padded[cut, cut, cut]
