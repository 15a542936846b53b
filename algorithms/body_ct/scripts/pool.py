"""A folder of painted slabs at 3 mm that training reads again and again.

    python -m scripts.pool FOLDER FIRST_SEED LAST_SEED

Each slab is 126 mm of another person. May run beside training, which looks for new files now and
then; what is there is not made twice.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from dicomnode.phantom import Anatomy, make_anatomy
from dicomnode.phantom.slabs import keep_stock

SPACING = (3.0, 3.0, 3.0)
HEIGHT_MM = 126.0
PLACES = ((-215.0, 60.0), (20.0, 190.0), (60.0, 200.0), (150.0, 300.0), (280.0, 400.0))
"""Lowest ends of slabs in mm of the body plan, drawn alike: the upper belly twice."""


def make_slab(seed: int) -> Anatomy:
    """Part of the person `seed`."""
    low = np.random.default_rng([77, seed]).uniform(*PLACES[seed % len(PLACES)])
    region = (float(low), float(low) + HEIGHT_MM)
    return make_anatomy(seed, region=region, spacing_mm=SPACING, detail=seed % 3 == 0)


def fill(folder: Path, first: int, last: int) -> None:
    """Make the slabs of these seeds that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(first, last + 1):
        path = folder / f"slab_{seed:06d}.npz"
        if not path.exists():
            keep_stock(make_slab(seed), path)


if __name__ == "__main__":
    fill(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
