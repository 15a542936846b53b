"""A folder of painted slabs that training reads again and again.

    python -m scripts.pool [slab | belly] FOLDER FIRST_SEED LAST_SEED

A slab is 126 mm of another person at 3 mm, a belly 165 mm around liver, spleen and kidneys at 2 mm
for the network that refines. May run beside training, which looks for new files now and then; what
is there is not made twice.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dicomnode.phantom import Anatomy, make_anatomy
from dicomnode.phantom.slabs import keep_stock

SPACING = (3.0, 3.0, 3.0)
HEIGHT_MM = 126.0
PLACES = ((-215.0, 60.0), (20.0, 190.0), (60.0, 200.0), (150.0, 300.0), (280.0, 400.0))
"""Lowest ends of slabs in mm of the body plan, drawn alike: the upper belly twice."""
BELLY_SPACING = (2.0, 2.0, 2.0)
BELLY_HEIGHT_MM = 165.0
BELLY_PLACE = (45.0, 115.0)


def make_slab(seed: int) -> Anatomy:
    """Part of the person `seed`."""
    low = np.random.default_rng([77, seed]).uniform(*PLACES[seed % len(PLACES)])
    region = (float(low), float(low) + HEIGHT_MM)
    return make_anatomy(seed, region=region, spacing_mm=SPACING, detail=seed % 3 == 0)


def make_belly(seed: int) -> Anatomy:
    """The upper belly of the person `seed`, or a good part of it."""
    low = float(np.random.default_rng([79, seed]).uniform(*BELLY_PLACE))
    region = (low, low + BELLY_HEIGHT_MM)
    return make_anatomy(seed, region=region, spacing_mm=BELLY_SPACING, detail=False)


MAKERS: dict[str, Callable[[int], Anatomy]] = {"slab": make_slab, "belly": make_belly}
"""What a pool can be of; its files are named so."""


def fill(folder: Path, first: int, last: int, kind: str = "slab") -> None:
    """Make the anatomies of these seeds that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(first, last + 1):
        path = folder / f"{kind}_{seed:06d}.npz"
        if not path.exists():
            keep_stock(MAKERS[kind](seed), path)


if __name__ == "__main__":
    fill(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[1])
