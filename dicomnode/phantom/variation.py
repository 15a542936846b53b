"""What makes slabs of one anatomy differ: bent, organs swollen and moved, fat lost, other HU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicomnode.phantom import Organ
from dicomnode.phantom.canvas import smooth_noise
from dicomnode.phantom.structures import Tissue
from dicomnode.phantom.tissues import Phase, draw_means

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

MOVABLE = (
    Organ.LIVER,
    Organ.SPLEEN,
    Organ.KIDNEY_RIGHT,
    Organ.KIDNEY_LEFT,
    Organ.PANCREAS,
    Organ.STOMACH,
    Organ.DUODENUM,
    Organ.SMALL_BOWEL,
    Organ.COLON,
    Organ.GALLBLADDER,
    Organ.AORTA,
    Organ.HEART,
    Organ.BLADDER,
)
RECOLOURED = (
    Organ.LIVER,
    Organ.SPLEEN,
    Organ.KIDNEY_RIGHT,
    Organ.KIDNEY_LEFT,
    Organ.ADRENAL_RIGHT,
    Organ.ADRENAL_LEFT,
    Organ.PANCREAS,
    Organ.AORTA,
    Organ.INFERIOR_VENA_CAVA,
    Organ.PORTAL_VEIN,
    Organ.ARTERY,
    Organ.VEIN,
    Organ.PSOAS,
    Organ.PARASPINAL_MUSCLE,
    Organ.GALLBLADDER,
)


def deformed_positions(
    rng: np.random.Generator,
    labels: Bytes,
    size: Sequence[int],
    spacing: Sequence[float],
    labels_spacing: Sequence[float],
) -> list[Floats]:
    """Place in `labels` of each voxel of a slab of `size`, in voxels of `labels`, along each axis.

    Scaled along each axis, turned, bent by up to about 12 mm, and up to four organs shrunk,
    swollen or moved with what surrounds them.
    """
    zoom = rng.uniform(0.82, 1.2)
    scale = zoom * np.array([rng.uniform(0.8, 1.2), rng.uniform(0.87, 1.13), rng.uniform(0.9, 1.1)])
    scale = scale * np.asarray(labels_spacing) / np.asarray(spacing)
    lines = [(np.arange(n) - (n - 1) / 2).astype(np.float32) for n in size]
    z, y, x = np.meshgrid(*lines, indexing="ij", sparse=True)
    bend = np.float32(rng.uniform(0.9, 9.0) / labels_spacing[1])
    grain = float(rng.uniform(35, 75))
    move = [smooth_noise(rng, size, spacing, grain) * bend for _ in range(3)]
    turn = rng.normal(0, 0.09)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    shape = labels.shape
    reach = (size[0] / 2) / scale[0]
    at = rng.uniform(min(reach, shape[0] / 2), max(shape[0] - reach, shape[0] / 2))
    lean, tip = rng.normal(0, 0.04, 2)
    places = [
        z / scale[0] + at + lean * y + tip * x + 0.7 * move[0],
        (y * cos - x * sin) / scale[1]
        + shape[1] / 2
        + rng.normal(0, 15) / labels_spacing[1]
        + move[1],
        (x * cos + y * sin) / scale[2]
        + shape[2] / 2
        + rng.normal(0, 15) / labels_spacing[2]
        + move[2],
    ]
    places = [np.asarray(p, np.float32) for p in places]
    return _swell(rng, places, labels, at, size[0] / scale[0])


def _swell(
    rng: np.random.Generator, places: list[Floats], labels: Bytes, middle: float, depth: float
) -> list[Floats]:
    low, high = max(int(middle - depth / 2), 0), int(middle + depth / 2) + 1
    part = labels[low:high]
    for organ in rng.permutation([int(o) for o in MOVABLE])[:4]:
        found = np.argwhere(part == organ)
        if len(found) < 30 or rng.random() < 0.3:
            continue
        centre = found.mean(0) + (low, 0, 0)
        radius = np.clip(found.std(0) * 1.6, 4, 45)
        near: Floats = np.asarray(
            sum(
                ((p - c) / r) ** 2
                for p, c, r in zip(places, centre.tolist(), radius.tolist(), strict=True)
            ),
            np.float32,
        )
        weight = np.exp(-0.5 * near)
        size = rng.uniform(-0.35, 0.35)
        for axis in range(3):
            step = rng.normal(0, 0.18) * radius[axis]
            places[axis] = places[axis] + weight * (
                np.float32(size) * (places[axis] - np.float32(centre[axis])) + np.float32(step)
            )
    return places


def lose_fat(rng: np.random.Generator, labels: Bytes, tissue: Bytes, voxel_mm: float) -> None:
    """Let organs grow into the fat between them, as in thin people; changes both arrays."""
    fat = labels == Organ.VISCERAL_FAT
    grow = rng.uniform(0, 8) / voxel_mm
    if grow < 1 or not fat.any():
        return
    far, nearest = ndimage.distance_transform_edt(fat, return_indices=True)
    taken = fat & (far <= grow)
    source = tuple(axis[taken] for axis in nearest)
    wall = (labels[source] == Organ.DIAPHRAGM) | (labels[source] == Organ.MUSCLE)
    wall |= labels[source] == Organ.OUTSIDE
    new = labels[source]
    new[wall] = Organ.VISCERAL_FAT
    inner = tissue[source]
    inner[wall] = 0
    labels[taken], tissue[taken] = new, inner


def flood(
    rng: np.random.Generator, labels: Bytes, tissue: Bytes, spacing: Sequence[float]
) -> npt.NDArray[np.bool_]:
    """Let pleural fluid take the lowest part of either lung; changes both arrays, returns where.

    It gathers at the back and over the diaphragm, up to the whole of what is seen of a lung.
    """
    taken = np.zeros(labels.shape, np.bool_)
    uneven = smooth_noise(rng, labels.shape, spacing, 40.0)
    for lung in (Organ.LUNG_RIGHT, Organ.LUNG_LEFT):
        there = labels == lung
        if rng.random() < 0.25 or there.sum() < 50:
            continue
        z, y, _ = np.indices(there.shape, np.float32, sparse=True)
        depth = spacing[1] * y - rng.uniform(0.2, 1.5) * spacing[0] * z
        depth = depth + rng.uniform(0, 15) * uneven
        share = rng.uniform(0.05, 1.0) ** 1.5
        taken |= there & (depth >= np.quantile(depth[there], 1 - share))
    labels[taken], tissue[taken] = Organ.EFFUSION, Tissue.WALL
    return taken


def paint_fluid(
    rng: np.random.Generator, hu: Floats, labels: Bytes, fluid: npt.NDArray[np.bool_]
) -> None:
    """Paint fluid into the HU of a real CT, as noisy as its soft tissue, now and then with
    collapsed lung beside it; changes `hu`."""
    soft = np.isin(labels, (Organ.LIVER, Organ.SPLEEN, Organ.PARASPINAL_MUSCLE, Organ.MUSCLE))
    rough = hu - ndimage.gaussian_filter(hu, 1.0, truncate=2.0)
    spread = 1.4826 * np.median(np.abs(rough[soft])) if soft.any() else 10.0
    grain = ndimage.gaussian_filter(rng.standard_normal(hu.shape, dtype=np.float32), 0.5)
    grain *= np.float32(spread) / grain.std()
    lungs = np.isin(labels, (Organ.LUNG_RIGHT, Organ.LUNG_LEFT))
    # What masks leave of a lung at its edge would stay as a rim of air.
    rim = ndimage.binary_dilation(fluid, iterations=2) & (hu < -130) & ~lungs
    hu[fluid | rim] = rng.normal(10, 9) + grain[fluid | rim]
    if rng.random() < 0.5:
        away = ndimage.distance_transform_edt(~fluid)
        collapsed = lungs & (away <= rng.uniform(1, 6))
        hu[collapsed] = rng.uniform(15, 90) + grain[collapsed]


def strands(
    rng: np.random.Generator, hu: Floats, labels: Bytes, spacing: Sequence[float]
) -> npt.NDArray[np.bool_]:
    """Vessels and strands of the mesentery, drawn into the fat of `hu`; returns where."""
    share, grain = rng.uniform(0.8, 2.2), float(rng.uniform(5, 11))
    noise = smooth_noise(rng, labels.shape, spacing, grain)
    there = (labels == Organ.VISCERAL_FAT) & (noise > share)
    hu[there] += np.float32(rng.uniform(60, 190)) * np.clip(noise[there] - share + 0.3, 0, 1)
    return np.asarray(there)


def recolour(
    rng: np.random.Generator,
    hu: Floats,
    labels: Bytes,
    tissue: Bytes,
    own: Floats,
    age: float,
    spacing: Sequence[float],
) -> Floats:
    """Another phase of contrast medium and another person's HU in a real CT.

    The CT's own noise, texture and borders stay: each organ is moved from its own mean
    (`own`, by `Organ`) to one that `draw_means` gives.
    """
    phase = Phase(rng.choice(4, p=(0.3, 0.2, 0.35, 0.15)))
    table = draw_means(rng, phase, age, variety_hu=float(rng.uniform(0, 12)))
    change = np.zeros((256, table.shape[1]), np.float32)
    for organ in RECOLOURED:
        change[organ] = table[organ] - own[organ]
    change[Organ.MUSCLE] = table[Organ.MUSCLE, 0] - own[Organ.PSOAS]
    added = change[labels, tissue]
    if rng.random() < 0.4:
        contents = (labels >= Organ.STOMACH) & (labels <= Organ.COLON) & (hu > -100)
        opaque = smooth_noise(rng, labels.shape, spacing, 50.0) > rng.uniform(-0.5, 1.0)
        added[contents & opaque & (tissue == 1)] = rng.uniform(60, 350)
    added[(hu < -50) & (labels != Organ.MUSCLE)] *= 0.2
    added[(hu < -20) & (labels == Organ.MUSCLE)] = 0
    return np.asarray(hu + ndimage.gaussian_filter(added, 0.5, truncate=2.0), np.float32)
