"""TotalSegmentator's example CT, read by weights of the 3D network that never saw it, alone.

python -m scripts.left_out WEIGHTS --data DATA --output docs

The coarse network of the bundle did see this CT; so it is read twice: in the region that the coarse
network finds, and in one that is given, as far around the mask as that would reach.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from dicomnode.phantom import Organ
from dicomnode.phantom.masks import totalsegmentator_example
from scripts.evaluation import Mask, changed, in_hu, run, scored, upright_grid
from scripts.pictures import draw

AROUND_MM = 40.0
"""Around the mask, where the region is given: about as far as duodenum and portal vein reach, and
the margin beyond them."""
ALONE = {"planes": 0.0, "volume": 1.0}


def given_region(true: Mask) -> list[list[float]]:
    """Where a mask `(slice, row, column)`, upright, begins and ends along x, y, z in RAS."""
    ends = []
    for axis in range(3):
        where = np.flatnonzero(true.any(tuple(a for a in range(3) if a != axis)))
        ends.append([where[0] / true.shape[axis], (where[-1] + 1) / true.shape[axis]])
    z, y, x = ends
    return [[1 - x[1], 1 - x[0]], [1 - y[1], 1 - y[0]], z]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("weights", type=Path)
    parser.add_argument("--filters", type=int, nargs=4, help="channels by level of the 3D network")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, default=Path("/tmp"))
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    hu, organs = totalsegmentator_example(asked.data)
    true, grid = organs == Organ.PANCREAS, upright_grid(hu.shape)
    given = {
        "_target_": "dicomnode.networks.regions.GivenRegionInferer",
        "given": given_region(true),
        "margin_mm": AROUND_MM,
    }
    for name, inferer in (("region found", None), ("region given", given)):
        root = changed(
            asked.scratch,
            shares=ALONE,
            volume_weights=asked.weights,
            filters=asked.filters,
            inferer=inferer,
        )
        found, reason = run(in_hu(hu, grid), asked.scratch, root)
        print(name, reason, json.dumps(scored(found, true, grid)))
        if inferer is None:
            draw(hu, found, true, asked.output / "totalsegmentator_left_out.jpg")


if __name__ == "__main__":
    main()
