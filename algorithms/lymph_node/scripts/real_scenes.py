"""Scenes whose background is a real CT: lesions are planted, everything else is no lesion.

What a network takes for lesions in patients no phantom shows: mesentery, bronchi, real noise. A
list in JSON names the images (NIfTI, HU) of a site:

```
[{"name": "a", "image": "a.nii.gz", "labels": "a_organs.nii.gz", "organs": {"5": "LIVER"},
  "unknown_kinds": ["LIVER"], "ignored": [{"centre_ras_mm": [0, 0, 0], "radius_mm": 12}]}]
```
`labels` is optional: fat, muscle, bone and lung are told by their density. Of `unknown_kinds` the
patient may have lesions that nobody marked, and `ignored` are lesions of any kind.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicomnode.phantom.planting import Kind, Planter, counts_of
from dicomnode.phantom.structures import Organ, Tissue
from scripts.scenes import SPACING

log = logging.getLogger("lesions.scenes")

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Background:
    """A real CT on the working grid; arrays (slice, row, column) in LPS."""

    name: str
    hu: Floats
    labels: Labels
    tissue: Labels
    slices_mm: float
    """Distance of the slices that it was read from."""
    pixels_mm: float
    noise_hu: float
    origin_ras: npt.NDArray[np.float64]
    """Of voxel 0 of the scene's own axes, x, y, z in RAS mm."""
    unknown_kinds: tuple[Kind, ...]
    ignored: tuple[tuple[tuple[float, float, float], float], ...]
    """Centres in RAS mm, radii in mm."""


def read_background(told: dict[str, Any], root: Path) -> Background:
    """One image of the list, resampled to `SPACING`."""
    image = nib.as_closest_canonical(nib.load(root / told["image"]))
    step = np.asarray(image.header.get_zooms()[:3], float)
    zoom = step / SPACING
    hu = ndimage.zoom(
        np.asarray(image.dataobj, np.float32), zoom, order=1, mode="nearest", grid_mode=True
    )
    hu = np.clip(hu, -1024, 3071)
    organs = np.zeros(hu.shape, np.uint8)
    if "labels" in told:
        numbers = np.asarray(nib.as_closest_canonical(nib.load(root / told["labels"])).dataobj)
        table = np.zeros(int(numbers.max()) + 1, np.uint8)
        for number, organ in told["organs"].items():
            if int(number) < len(table):
                table[int(number)] = Organ[organ]
        organs = ndimage.zoom(
            table[numbers.astype(int)], zoom, order=0, mode="nearest", grid_mode=True
        )
    # From (x, y, z) in RAS to (slice, row, column) in LPS.
    hu, organs = (np.ascontiguousarray(a[::-1, ::-1].transpose(2, 1, 0)) for a in (hu, organs))
    labels, tissue = by_density(hu, organs)
    soft = ndimage.binary_erosion((hu > 0) & (hu < 120), iterations=2)
    rough = hu - ndimage.gaussian_filter(hu, 1.5)
    noise = 1.4826 * float(np.median(np.abs(rough[soft]))) if soft.any() else 10.0
    first = image.affine[:3, 3] + (np.asarray(SPACING) - step) / 2
    return Background(
        name=told["name"],
        hu=hu,
        labels=labels,
        tissue=tissue,
        slices_mm=float(step[2]),
        pixels_mm=float(step[:2].mean()),
        noise_hu=float(np.clip(noise, 2.0, 30.0)),
        origin_ras=first,
        unknown_kinds=tuple(Kind[k] for k in told.get("unknown_kinds", ())),
        ignored=tuple(
            (tuple(one["centre_ras_mm"]), float(one["radius_mm"]))
            for one in told.get("ignored", ())
        ),
    )


def by_density(hu: Floats, organs: Labels) -> tuple[Labels, Labels]:
    """Labels and tissues good enough to plant in: what is certain, `OUTSIDE` where it is not."""
    smooth = ndimage.gaussian_filter(hu, 0.8)
    body = ndimage.binary_opening(smooth > -350, iterations=2)
    parts, count = ndimage.label(body)
    if count:
        body = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    body = np.stack([ndimage.binary_fill_holes(one) for one in body])
    deep = np.stack([ndimage.distance_transform_edt(one, sampling=SPACING[1:]) for one in body])
    labels, tissue = organs.copy(), np.zeros(hu.shape, np.uint8)
    free = (organs == 0) & body
    fat = free & (smooth > -140) & (smooth < -50)
    labels[fat & (deep > 28)] = Organ.VISCERAL_FAT
    labels[fat & (deep <= 28)] = Organ.SUBCUTANEOUS_FAT
    labels[free & (smooth > 15) & (smooth < 85) & (deep < 45)] = Organ.MUSCLE
    air, _ = ndimage.label(free & (smooth < -500) & (deep > 6))
    sizes = np.bincount(air.ravel()) * float(np.prod(SPACING)) / 1000
    lungs = np.isin(air, np.flatnonzero(sizes > 350)[1:]) if len(sizes) > 1 else air > 0
    labels[lungs] = Organ.LUNG_RIGHT
    bone, _ = ndimage.label(smooth > 170)
    sizes = np.bincount(bone.ravel()) * float(np.prod(SPACING)) / 1000
    large = np.isin(bone, np.flatnonzero(sizes > 40)[1:])
    closed = ndimage.binary_closing(large, iterations=3) & (smooth > 0)
    labels[free & closed] = Organ.VERTEBRA_L1
    tissue[ndimage.binary_erosion(closed) & (labels == Organ.VERTEBRA_L1)] = Tissue.INNER
    tissue[(labels == Organ.COLON) & ((smooth < -300) | (smooth > 180))] = Tissue.INNER
    return labels, tissue


def planted_scene(
    background: Background, rng: np.random.Generator, most: Sequence[int]
) -> tuple[Floats, Labels, list[dict[str, object]]]:
    """HU and instances `(x, y, z)` of the background with lesions, and the lesions."""
    painted = background.hu.copy()
    planter = Planter(
        rng,
        hu=painted,
        labels=background.labels,
        tissue=background.tissue,
        spacing=SPACING,
        phase=2 if rng.random() < 0.7 else 0,
    )
    planted = planter.plant(counts_of(rng, most))
    # Lesions are as blurred and as noisy as what is around them, or they would give themselves
    # away; the change is blurred, so that the image's own noise stays.
    width = np.array([background.slices_mm / 2.6, *[background.pixels_mm / 2.0 + 0.5] * 2])
    change = ndimage.gaussian_filter(painted - background.hu, width / SPACING, truncate=3.0)
    cover = ndimage.gaussian_filter((painted != background.hu).astype(np.float32), 0.7)
    grain = ndimage.gaussian_filter(
        rng.standard_normal(painted.shape, dtype=np.float32), (width / SPACING) * 0.8
    )
    grain *= background.noise_hu / max(float(grain.std()), 1e-6)
    seen = background.hu + change + 0.8 * cover * grain
    size = np.array(seen.shape[::-1])
    lesions: list[dict[str, object]] = []
    for one in planted:
        centre = np.array(one.centre[::-1])
        centre[:2] = size[:2] - 1 - centre[:2]
        lesions.append(
            {
                "kind": int(one.kind),
                "number": one.number,
                "centre": (centre * SPACING).tolist(),
                "diameter": one.diameter_mm,
                "organ": int(background.labels[tuple(np.round(one.centre).astype(int))]),
                "plan_z": 0.0,
                "visibility": one.visibility(background.noise_hu, SPACING[1] * SPACING[2]),
            }
        )
    turned = [
        np.ascontiguousarray(a.transpose(2, 1, 0)[::-1, ::-1]) for a in (seen, planter.instances)
    ]
    return turned[0], turned[1], lesions


def write_real_scenes(
    folder: str | Path, listed: str | Path, variants: int, most: Sequence[int]
) -> None:
    """Make what is missing of `variants` scenes for each image of the list."""
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    for told in json.loads(Path(listed).read_text()):
        last = root / f"{told['name']}_{variants - 1}.json"
        if last.exists():
            continue
        background = read_background(told, Path(listed).parent)
        ignored = [
            {
                "kind": 0,
                "number": 0,
                "centre": (np.asarray(centre) - background.origin_ras).tolist(),
                "diameter": 2 * radius,
                "organ": 0,
                "plan_z": 0.0,
            }
            for centre, radius in background.ignored
        ]
        for variant in range(variants):
            rng = np.random.default_rng([79, *map(ord, told["name"]), variant])
            hu, instances, lesions = planted_scene(background, rng, most)
            name = root / f"{told['name']}_{variant}"
            np.save(f"{name}_hu.npy", np.clip(hu, -1024, 3071).astype(np.int16))
            np.save(f"{name}_inst.npy", instances)
            written = {
                "lesions": lesions,
                "ignored": ignored,
                "unknown_kinds": [int(k) for k in background.unknown_kinds],
            }
            Path(f"{name}.json").write_text(json.dumps(written))
        log.info("scenes.made %s", told["name"])
