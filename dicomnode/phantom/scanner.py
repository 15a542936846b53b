"""From labels to Hounsfield units: tissue, contents, then what a scanner does to them."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from dicomnode.phantom.canvas import Bytes, Floats, smooth_noise
from dicomnode.phantom.structures import LUNGS, Organ, Tissue
from dicomnode.phantom.tissues import KINDS, Phase, draw_means, texture_table

AIR: Final = -1000.0
_TEXTURE: Final = texture_table()
_HOLLOW: Final = (Organ.STOMACH, Organ.DUODENUM, Organ.SMALL_BOWEL, Organ.COLON)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """How the scanner and its surroundings were; lengths in mm."""

    phase: Phase
    noise_hu: float
    blur_mm: float
    """Standard deviation of the point spread in the plane."""
    thickness_mm: float
    """Slice thickness: full width at half maximum along z."""
    sharp: bool
    """A sharp kernel: edges overshoot and noise is fine-grained."""
    outside_hu: float
    """What pixels outside the scan circle hold; -1024 where there is no circle."""
    table: bool
    streaks: bool
    motion: bool
    oral_contrast: bool
    variety_hu: float = 0.0
    """How far means of organs stray beyond what is usual; see `tissues.draw_means`."""


def draw_scan(
    rng: np.random.Generator,
    spacing: tuple[float, float, float],
    phase: Phase | None = None,
    *,
    variety_hu: float = 0.0,
) -> Scan:
    """Settings of a plausible scan of this voxel size."""
    chosen = phase if phase is not None else Phase(rng.choice(4, p=(0.35, 0.15, 0.38, 0.12)))
    outside = rng.choice((-1024.0, -2048.0, -3024.0), p=(0.7, 0.15, 0.15))
    return Scan(
        phase=chosen,
        noise_hu=float(2 + 33 * rng.beta(1.2, 2.6)),
        blur_mm=float(rng.uniform(0.35, 1.1) * max(1.0, 0.4 * spacing[1])),
        thickness_mm=float(spacing[0] * rng.uniform(0.6, 1.3)),
        sharp=bool(rng.random() < 0.25),
        outside_hu=float(outside),
        table=bool(rng.random() < 0.85),
        streaks=bool(rng.random() < 0.08),
        motion=bool(rng.random() < 0.08),
        oral_contrast=bool(rng.random() < 0.3),
        variety_hu=variety_hu,
    )


def tissue_hu(
    rng: np.random.Generator,
    labels: Bytes,
    tissue: Bytes,
    spacing: tuple[float, float, float],
    scan: Scan,
    age: float,
) -> Floats:
    """HU of the tissues before the scanner; no noise, no blur, air outside."""
    means = draw_means(rng, scan.phase, age, variety_hu=scan.variety_hu)
    hu: Floats = means.reshape(-1)[labels.astype(np.uint16) * np.uint16(KINDS) + tissue]
    grain = smooth_noise(rng, labels.shape, spacing, float(rng.uniform(5, 9)))
    hu += _TEXTURE[labels] * grain * np.float32(rng.uniform(0.5, 1.6))
    _shade_lungs(rng, hu, labels, tissue)
    _fill_hollow(rng, hu, labels, tissue, spacing, scan)
    hu[labels == Organ.OUTSIDE] = AIR
    return hu


def _shade_lungs(rng: np.random.Generator, hu: Floats, labels: Bytes, tissue: Bytes) -> None:
    """Denser towards the back, where blood collects."""
    lung = ((labels == LUNGS[0]) | (labels == LUNGS[1])) & (tissue == Tissue.WALL)
    rise = np.linspace(-1, 1, labels.shape[1], dtype=np.float32)[None, :, None]
    slope = np.float32(rng.uniform(-5, 110))
    hu += lung * (rise * slope)


def _fill_hollow(
    rng: np.random.Generator,
    hu: Floats,
    labels: Bytes,
    tissue: Bytes,
    spacing: tuple[float, float, float],
    scan: Scan,
) -> None:
    """Gas above fluid, stool, contrast medium: changing from stretch to stretch."""
    inside = (tissue == Tissue.INNER) & (labels >= Organ.STOMACH) & (labels <= Organ.COLON)
    if not inside.any():
        return
    stretch = smooth_noise(rng, labels.shape, spacing, 35.0)
    level = smooth_noise(rng, labels.shape, spacing, 50.0)
    crumbs = smooth_noise(rng, labels.shape, spacing, 7.0)
    for organ in _HOLLOW:
        at = np.nonzero(inside & (labels == organ))
        if not at[0].size:
            continue
        s, v, c = stretch[at], level[at], crumbs[at]
        content = rng.uniform(0, 40) + 4 * c
        if scan.oral_contrast:
            content = np.where(v > rng.uniform(-1, 0.8), rng.uniform(120, 450) + 15 * c, content)
        if organ is Organ.COLON and not scan.oral_contrast:
            stool = rng.uniform(-90, 60) + 90 * c - 250 * (c > 1.2)
            content = np.where(v > rng.uniform(-1.2, 0.6), stool, content)
        rows = at[1].astype(np.float32)
        gassy = {Organ.COLON: 0.1, Organ.STOMACH: 0.3}.get(organ, 1.2)
        surface = rows.mean() + 25 / spacing[1] * v
        gas = (s > gassy) & (rows < surface + 10)
        hu[at] = np.where(gas, rng.uniform(-995, -900), content)


def scanned(
    rng: np.random.Generator,
    hu: Floats,
    spacing: tuple[float, float, float],
    scan: Scan,
    body_bottom: int | None = None,
) -> Floats:
    """What the scanner makes of `hu`: table, blur, streaks, motion, noise, outside value.

    `body_bottom`: row beneath which the table lies; None where the body's back is out of view.
    """
    if scan.table and body_bottom is not None:
        _lay_on_table(rng, hu, spacing, body_bottom)
    sigma = (
        scan.thickness_mm / 2.355 / spacing[0],
        scan.blur_mm / spacing[1],
        scan.blur_mm / spacing[2],
    )
    seen = ndimage.gaussian_filter(hu, sigma, mode="nearest", truncate=3.0)
    if scan.motion:
        seen = 0.6 * seen + 0.4 * np.roll(seen, int(rng.integers(1, 3)), axis=1)
    if scan.sharp:
        soft = ndimage.gaussian_filter(seen, (0, 1.0, 1.0), mode="nearest", truncate=2.0)
        seen = seen + 0.6 * (seen - soft)
    if scan.streaks:
        seen = seen + _streaks(rng, seen)
    noise = rng.standard_normal(seen.shape, dtype=np.float32)
    if not scan.sharp:
        noise = ndimage.gaussian_filter(noise, (0, 0.6, 0.6), mode="nearest", truncate=2.0)
        noise *= np.float32(1 / max(float(noise.std()), 1e-3))
    seen = seen + np.float32(scan.noise_hu) * noise
    np.clip(seen, -1024, 3071, out=seen)
    if scan.outside_hu < -1024:
        _cut_circle(seen, scan.outside_hu)
    return np.asarray(seen, np.float32)


def _lay_on_table(
    rng: np.random.Generator, hu: Floats, spacing: tuple[float, float, float], bottom: int
) -> None:
    """A bowed shell of carbon fibre over foam, some millimetres under the back."""
    rows, columns = hu.shape[1:]
    across = (np.arange(columns) - columns / 2) * spacing[2]
    sag = across**2 * rng.uniform(0, 0.0012)
    top = bottom + (rng.uniform(2, 14) - sag) / spacing[1]
    depth = np.arange(rows)[:, None] - top[None, :]
    thick = rng.uniform(15, 60) / spacing[1]
    skin = max(2.5 / spacing[1], 1.0)
    shell = (np.abs(depth) < skin / 2) | (np.abs(depth - thick) < skin / 2)
    foam = (depth > 0) & (depth < thick)
    wide = np.abs(across)[None, :] < rng.uniform(180, 240)
    air = hu < -900
    hu[air & (foam & wide)[None]] = rng.uniform(-980, -880)
    hu[air & (shell & wide)[None]] = rng.uniform(-350, 150)


def _streaks(rng: np.random.Generator, hu: Floats) -> Floats:
    """Dark and bright rays from a point, as metal gives, fading with distance."""
    rows, columns = hu.shape[1:]
    y = np.arange(rows)[:, None] - rng.uniform(0.2, 0.8) * rows
    x = np.arange(columns)[None, :] - rng.uniform(0.2, 0.8) * columns
    angle = np.arctan2(y, x)
    rays = sum(
        float(rng.uniform(0.3, 1)) * np.sin(k * angle + rng.uniform(0, 6.3))
        for k in (6, 11, 17, 23)
    )
    fade = np.exp(-np.hypot(y, x) / (rng.uniform(0.15, 0.5) * columns))
    z = np.exp(-(((np.arange(hu.shape[0]) - rng.uniform(0, hu.shape[0])) / 6.0) ** 2))
    strength = rng.uniform(20, 150)
    return np.asarray(z[:, None, None] * (rays * fade * strength)[None], np.float32)


def _cut_circle(hu: Floats, value: float) -> None:
    rows, columns = hu.shape[1:]
    y = (np.arange(rows)[:, None] + 0.5) / rows * 2 - 1
    x = (np.arange(columns)[None, :] + 0.5) / columns * 2 - 1
    size = max(rows, columns)
    far = np.hypot(y * rows / size, x * columns / size)
    hu[:, far > 1.0] = value
