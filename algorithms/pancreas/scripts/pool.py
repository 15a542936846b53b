"""A folder of painted upper bellies at 2 mm that training reads again and again.

    python -m scripts.pool FOLDER FIRST_SEED LAST_SEED

May run beside training, which looks for new files now and then.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from dicomnode.phantom import Anatomy, make_anatomy
from dicomnode.phantom.slabs import keep_stock

SPACING = (2.0, 2.0, 2.0)


def make_belly(seed: int) -> Anatomy:
    """Around the pancreas of the person `seed`, 132 mm high, arms and skin mostly left out."""
    low = float(np.random.default_rng([78, seed]).uniform(50, 90))
    return make_anatomy(
        seed,
        region=(low, low + 132.0),
        spacing_mm=SPACING,
        detail=False,
        half_width_mm=132.0,
        half_depth_mm=100.0,
    )


def fill(folder: Path, first: int, last: int) -> None:
    """Make the bellies of these seeds that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(first, last + 1):
        path = folder / f"belly_{seed:06d}.npz"
        if not path.exists():
            keep_stock(make_belly(seed), path)


if __name__ == "__main__":
    fill(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
