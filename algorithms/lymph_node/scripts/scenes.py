"""Scenes on disk: parts of phantoms with planted lesions, made once, read as memory maps."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomnode.phantom.anatomy import Anatomy, make_anatomy
from dicomnode.phantom.planting import Kind, Lesion, Planter, counts_of
from dicomnode.phantom.scanner import draw_scan, scanned, tissue_hu

log = logging.getLogger("lesions.scenes")

SPACING = (2.0, 2.0, 2.0)
TALL_MM = 128.0
HALF_WIDTH_MM, HALF_DEPTH_MM = 165.0, 128.0
ABDOMEN = (-20.0, 190.0)
"""Lowest height of a scene that holds kidneys, most of the colon or liver, in the body plan."""
TRAIN_MOST = (9, 6, 6, 8, 7, 6, 7)
REAL_MOST = (9, 7, 6, 8, 6, 5, 7)
TEST_MOST = (6, 4, 5, 4, 3, 2, 3)
"""Lesions of each kind at most, in the order of `planting.Kind`."""
AIR_HU = -1024
"""What is lower was not scanned."""
LEAST_VISIBILITY = 3.0
"""Below this a lesion is drowned in noise: training leaves it out, evaluation counts it."""


@dataclass(frozen=True)
class Planted:
    """One lesion; millimetres from the centre of voxel 0, axes as the scene's."""

    kind: int
    number: int
    centre: tuple[float, float, float]
    diameter: float
    organ: int
    """`Organ` it was planted in."""
    plan_z: float
    """Height in the body plan, mm above the top of the sacrum."""
    visibility: float = np.inf
    """Signal over noise of its largest slice, see `planting.Lesion`."""

    @property
    def radius(self) -> float:
        return self.diameter / 2


@dataclass(frozen=True)
class Scene:
    """Arrays `(x, y, z)` as `ToWorkingGridd` leaves them (RAS), 2 mm."""

    folder: Path
    name: str
    kinds: tuple[int, ...] | None = None
    """What is looked for, in this order; other lesions are none here. None: all, as planted."""

    @cached_property
    def hu(self) -> npt.NDArray[np.int16]:
        return np.load(self.folder / f"{self.name}_hu.npy", mmap_mode="r")

    @cached_property
    def instances(self) -> npt.NDArray[np.uint8]:
        """Number of the lesion at each voxel; all 0 where lesions are marked and not outlined."""
        path = self.folder / f"{self.name}_inst.npy"
        if not path.exists():
            return np.broadcast_to(np.uint8(0), self.hu.shape)
        return np.load(path, mmap_mode="r")

    @cached_property
    def labels(self) -> npt.NDArray[np.uint8]:
        return np.load(self.folder / f"{self.name}_lab.npy", mmap_mode="r")

    @cached_property
    def has_labels(self) -> bool:
        """Whether every voxel's organ is known, as in phantoms."""
        return (self.folder / f"{self.name}_lab.npy").exists()

    @cached_property
    def nodes(self) -> tuple[int, ...]:
        """Numbers of the lymph nodes, looked for or not."""
        planted = self._balls("lesions")
        return tuple(one.number for one in planted if one.kind == Kind.LYMPH_NODE)

    @cached_property
    def lesions(self) -> tuple[Planted, ...]:
        planted = self._balls("lesions")
        if self.kinds is None:
            return planted
        return tuple(
            replace(one, kind=self.kinds.index(one.kind))
            for one in planted
            if one.kind in self.kinds
        )

    @cached_property
    def clear(self) -> tuple[Planted, ...]:
        """The lesions that training may ask for."""
        return tuple(one for one in self.lesions if one.visibility >= LEAST_VISIBILITY)

    @cached_property
    def ignored(self) -> tuple[Planted, ...]:
        """What is neither lesion nor none: drowned in noise, or a real patient's own."""
        hidden = [one for one in self.lesions if one.visibility < LEAST_VISIBILITY]
        return (*self._balls("ignored"), *hidden)

    @cached_property
    def unknown_kinds(self) -> tuple[int, ...]:
        """Kinds of which a real image may hold others than were planted."""
        told = tuple(self._told.get("unknown_kinds", ()))
        if self.kinds is None:
            return told
        return tuple(self.kinds.index(kind) for kind in told if kind in self.kinds)

    @cached_property
    def _told(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.folder / f"{self.name}.json").read_text())
        return told

    def _balls(self, key: str) -> tuple[Planted, ...]:
        return tuple(
            Planted(**{**one, "centre": tuple(one["centre"])}) for one in self._told.get(key, ())
        )


def scenes_in(folder: str | Path, kinds: Sequence[int] | None = None) -> list[Scene]:
    """All scenes of a folder, by name; `kinds`: what is looked for in them."""
    wanted = None if kinds is None else tuple(kinds)
    return [Scene(path.parent, path.stem, wanted) for path in sorted(Path(folder).glob("*.json"))]


def write_scenes(
    folder: str | Path,
    seeds: Sequence[int],
    most: Sequence[int],
    variants: int = 1,
    *,
    abdomens: float = 0.0,
) -> None:
    """Make what is missing; each person is scanned `variants` times with other lesions.

    `abdomens`: share of people of whom the abdomen is scanned; of the others any part.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        if (root / f"{seed}_{variants - 1}.json").exists():
            continue
        place = np.random.default_rng([77, seed])
        low = float(place.uniform(-150, 385))
        if place.random() < abdomens:
            low = float(place.uniform(*ABDOMEN))
        anatomy = make_anatomy(
            seed,
            region=(low, low + TALL_MM),
            spacing_mm=SPACING,
            half_width_mm=HALF_WIDTH_MM,
            half_depth_mm=HALF_DEPTH_MM,
        )
        for variant in range(variants):
            _write(root, f"{seed}_{variant}", anatomy, low, [78, seed, variant], most)
        log.info("scenes.made %s", seed)


def _write(
    root: Path, name: str, anatomy: Anatomy, low: float, seed: list[int], most: Sequence[int]
) -> None:
    rng = np.random.default_rng(seed)
    scan = draw_scan(rng, SPACING)
    hu = tissue_hu(rng, anatomy.labels, anatomy.tissue, SPACING, scan, anatomy.age)
    planter = Planter(
        rng,
        hu=hu,
        labels=anatomy.labels,
        tissue=anatomy.tissue,
        spacing=SPACING,
        phase=int(scan.phase),
    )
    planted = planter.plant(counts_of(rng, most))
    seen = scanned(rng, hu, SPACING, scan)
    planted = in_image(planted, seen)
    size = np.array(seen.shape[::-1])
    lesions = []
    for one in planted:
        centre = np.array(one.centre[::-1])
        centre[:2] = size[:2] - 1 - centre[:2]
        organ = anatomy.labels[tuple(np.round(one.centre).astype(int))]
        lesions.append(
            {
                "kind": int(one.kind),
                "number": one.number,
                "centre": (centre * SPACING).tolist(),
                "diameter": one.diameter_mm,
                "organ": int(organ),
                "plan_z": low + one.centre[0] * SPACING[0],
                "visibility": one.visibility(scan.noise_hu, SPACING[1] * SPACING[2]),
            }
        )
    np.save(root / f"{name}_hu.npy", _turned(seen).astype(np.int16))
    np.save(root / f"{name}_inst.npy", _turned(planter.instances))
    np.save(root / f"{name}_lab.npy", _turned(anatomy.labels))
    told = {
        "lesions": lesions,
        "low": low,
        "phase": int(scan.phase),
        "noise": scan.noise_hu,
    }
    (root / f"{name}.json").write_text(json.dumps(told))


def in_image(lesions: Sequence[Lesion], seen: npt.NDArray[np.float32]) -> list[Lesion]:
    """The lesions whose middle was scanned: beyond the scan circle there is no image.

    `seen`: HU (slice, row, column).
    """
    return [one for one in lesions if seen[tuple(np.round(one.centre).astype(int))] >= AIR_HU]


def _turned(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """(slice, row, column) in LPS to (x, y, z) in RAS."""
    return np.ascontiguousarray(array.transpose(2, 1, 0)[::-1, ::-1])
