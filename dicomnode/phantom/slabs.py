"""Endless training slabs: a painted or real anatomy varied, made ill and scanned. Seeded.

A `Stock` is made once and read many times; no two slabs of it are alike (`variation`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicomnode.domain.volumes import Grid
from dicomnode.phantom.anatomy import Anatomy
from dicomnode.phantom.atrophy import atrophy, collapse
from dicomnode.phantom.canvas import smooth_noise
from dicomnode.phantom.case import draw_pathology, render
from dicomnode.phantom.scanner import draw_scan
from dicomnode.phantom.structures import Organ
from dicomnode.phantom.variation import (
    deformed_positions,
    flood,
    lose_fat,
    paint_fluid,
    recolour,
    strands,
)

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """Labels ready to be varied. Arrays are (slice, row, column)."""

    labels: Bytes
    """`Organ`."""
    tissue: Bytes
    """`Tissue`."""
    age: float
    spacing_mm: tuple[float, float, float] = (3.0, 3.0, 3.0)
    unlabelled: Bools | None = None
    """Voxels of the body that no label names; None where every voxel has one."""
    hu: Floats | None = None
    """The real CT the labels are of, if there is one."""
    means: Floats | None = None
    """Mean HU there by `Organ`, `(256,)`; with `hu`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlabShape:
    """What a slab is like."""

    size: tuple[int, int, int]
    """Slices, rows, columns."""
    spacing_mm: tuple[float, float, float] = (3.0, 3.0, 3.0)
    around: Organ | None = None
    """The slab's middle lies on this organ, where the stock has it; else anywhere along z."""
    own_share: float = 0.6
    """Of slabs of a real CT, how many keep its own HU (mostly in another phase)."""
    flooded_share: float = 0.0
    """Of slabs, in how many fluid takes part of the lungs."""
    atrophic_share: float = 0.0
    """Of slabs of painted anatomies, in how many the pancreas is thinner and lobulated."""
    collapsed_share: float = 0.0
    """Of those, in how many stretches of bowel and stomach are empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slab:
    """One training slab; arrays of the shape asked for."""

    hu: Floats
    labels: Bytes
    """`Organ`."""
    neutral: Bools
    """Where no label says which tissue this is, but none of the organs that have masks."""


def keep_stock(anatomy: Anatomy, path: Path) -> None:
    """Write the anatomy; a reader never sees half a file."""
    part = path.with_name("part_" + path.name)
    np.savez_compressed(
        part,
        labels=anatomy.labels,
        tissue=anatomy.tissue,
        age=np.float32(anatomy.age),
        affine=anatomy.grid.affine_lps_mm,
    )
    part.replace(path)


def read_stock(path: Path) -> Stock:
    """What `keep_stock` wrote."""
    with np.load(path) as kept:
        steps = np.abs(kept["affine"][[2, 1, 0], [0, 1, 2]])
        return Stock(
            labels=kept["labels"],
            tissue=kept["tissue"],
            age=float(kept["age"]),
            spacing_mm=(float(steps[0]), float(steps[1]), float(steps[2])),
        )


def make_slab(stocks: Sequence[Stock], seed: int, shape: SlabShape) -> Slab:
    """Draw one of `stocks` and vary it; equal arguments give equal arrays."""
    rng = np.random.default_rng([9, seed])
    stock = stocks[int(rng.integers(len(stocks)))]
    places = deformed_positions(rng, stock.labels, shape.size, shape.spacing_mm, stock.spacing_mm)
    if shape.around is not None:
        _centre(rng, places, stock.labels, shape.around)
    inside = np.ones(shape.size, np.bool_)
    index = []
    for axis, place in enumerate(places):
        top = stock.labels.shape[axis] - 1
        at = np.rint(place).astype(np.intp)
        if axis:
            inside &= (at >= 0) & (at <= top)
        index.append(np.clip(at, 0, top))
    where = (index[0], index[1], index[2])
    labels = np.where(inside, stock.labels[where], 0).astype(np.uint8)
    tissue = np.where(inside, stock.tissue[where], 0).astype(np.uint8)
    fluid = np.zeros(shape.size, np.bool_)
    flooding = np.random.default_rng([12, seed])
    if flooding.random() < shape.flooded_share:
        fluid = flood(flooding, labels, tissue, shape.spacing_mm)
    if stock.hu is None:
        _vary_belly(np.random.default_rng([13, seed]), labels, tissue, shape)
    neutral = np.zeros(shape.size, np.bool_)
    if stock.unlabelled is not None:
        neutral = inside & stock.unlabelled[where]
    if stock.hu is not None and rng.random() < shape.own_share:
        hu = _own(rng, stock, places, inside, labels, tissue, fluid, shape.spacing_mm)
    else:
        hu, labels, drawn = _rendered(rng, stock, seed, labels, tissue, shape.spacing_mm)
        neutral |= drawn
    if rng.random() < 0.7:
        air = np.isin(labels, (Organ.OUTSIDE, Organ.TABLE))
        hu[ndimage.binary_erosion(air, np.ones((1, 3, 3)), border_value=1)] = -1000.0
    return Slab(hu=hu, labels=labels, neutral=neutral)


def _vary_belly(rng: np.random.Generator, labels: Bytes, tissue: Bytes, shape: SlabShape) -> None:
    """As often as asked; the stream is its own, so that other slabs stay as they are."""
    if rng.random() < shape.atrophic_share:
        atrophy(rng, labels, tissue, shape.spacing_mm)
    if rng.random() < shape.collapsed_share:
        collapse(rng, labels, tissue, shape.spacing_mm)


def _centre(rng: np.random.Generator, places: list[Floats], labels: Bytes, organ: Organ) -> None:
    """Move the places so that the slab's middle lies on a voxel of the organ."""
    found = np.argwhere(labels == organ)
    if not len(found):
        return
    target = found[int(rng.integers(len(found)))]
    middle = tuple(n // 2 for n in places[0].shape)
    for axis in range(3):
        places[axis] += np.float32(target[axis] - places[axis][middle])


def _own(
    rng: np.random.Generator,
    stock: Stock,
    places: Sequence[Floats],
    inside: Bools,
    labels: Bytes,
    tissue: Bytes,
    fluid: Bools,
    spacing: tuple[float, float, float],
) -> Floats:
    """The real CT's own HU, mostly in another phase; more noise, a little off."""
    if stock.hu is None or stock.means is None:
        raise ValueError("a stock with HU of its own needs the organs' means too")
    hu = ndimage.map_coordinates(stock.hu, places, order=1, mode="nearest", prefilter=False)
    hu = np.where(inside, hu, -1000).astype(np.float32)
    if fluid.any():
        paint_fluid(rng, hu, labels, fluid)
    if rng.random() < 0.7:
        hu = recolour(rng, hu, labels, tissue, stock.means, stock.age, spacing)
    noise = rng.standard_normal(hu.shape, dtype=np.float32)
    if rng.random() < 0.5:
        noise = 2 * ndimage.gaussian_filter(noise, (0, 0.6, 0.6), truncate=2.0)
    hu += np.float32(rng.uniform(0, 18)) * noise + np.float32(rng.normal(0, 8))
    if rng.random() < 0.3:
        hu = ndimage.gaussian_filter(hu, rng.uniform(0, 0.7, 3), truncate=2.0)
    return np.asarray(hu, np.float32)


def _rendered(
    rng: np.random.Generator,
    stock: Stock,
    seed: int,
    labels: Bytes,
    tissue: Bytes,
    spacing: tuple[float, float, float],
) -> tuple[Floats, Bytes, Bools]:
    """HU by the generator, labels with disease, and where the mesentery was drawn in."""
    if rng.random() < 0.5:
        lose_fat(rng, labels, tissue, spacing[0])
    age = float(np.clip(stock.age + rng.normal(0, 0.2), 0, 1))
    grid = Grid(
        affine_lps_mm=np.diag([0.0, 0, 0, 1]), shape=labels.shape, frame_of_reference_uid=None
    )
    grid.affine_lps_mm[[0, 1, 2], [2, 1, 0]] = spacing[::-1]
    fine = smooth_noise(rng, labels.shape, spacing, 16.0)
    anatomy = Anatomy(labels=labels, tissue=tissue, grid=grid, age=age, fine=fine)
    wish = draw_pathology(seed) if rng.random() < 0.4 else {}
    variety = float(rng.uniform(3, 18)) if rng.random() < 0.75 else 0.0
    scan = draw_scan(rng, spacing, variety_hu=variety)
    case = render(anatomy, seed, pathology=wish, scan=scan)
    hu = case.hu
    if rng.random() < 0.6:
        return hu, case.labels, strands(rng, hu, case.labels, spacing)
    return hu, case.labels, np.zeros(hu.shape, np.bool_)
