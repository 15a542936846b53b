"""Kidneys of a CT without masks, against regions grown from a seed between limits of HU.

python -m scripts.grown --series DATA/ct/crlm_1004/dicom

Only for CRLM-CT-1004, whose kidneys contrast medium makes brighter than all beside them: seeds and
boxes are places of that CT. The rules were settled with the outlines of an earlier state of the
network in sight, so the figure is weak evidence.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicomnode.pipeline.volume import read_series
from scripts.classes import CLASSES
from scripts.evaluation import TYPICAL_ML, Bundle, Values, ball_baseline, dice

Mask = npt.NDArray[np.bool_]
LOWEST_HU = 140.0
"""After a median over 8 mm; cortex and medulla in the portal phase."""
PLACES = {
    "right kidney": ((10, 135, 82), np.s_[:22, 95:175, 60:110]),
    "left kidney": ((10, 135, 165), np.s_[:26, 95:175, 140:200]),
}
"""Seed and box: slice from the feet, row and column of every second pixel."""
COLON = np.s_[:5, :105]
"""Rows and slices of the right kidney's box where contrast medium in the colon touches it."""
LEFT_OUT = 4
"""Lowest slices, where the poles are cut by the end of the CT."""


def kidney(hu: Values, name: str) -> Mask:
    """The kidney's place on `hu` (slice, row, column; every second pixel)."""
    seed, box = PLACES[name]
    smooth = np.stack([ndimage.median_filter(plane, 5) for plane in hu])
    bright = np.zeros(hu.shape, bool)
    bright[box] = smooth[box] > LOWEST_HU
    pieces, _ = ndimage.label(bright)
    if not pieces[seed]:
        raise SystemExit(f"the seed of the {name} lies in nothing bright; is this CRLM-CT-1004?")
    around = ndimage.iterate_structure(ndimage.generate_binary_structure(2, 1), 3)[None]
    grown = ndimage.binary_closing(pieces == pieces[seed], around)
    grown = np.stack([ndimage.binary_fill_holes(plane) for plane in grown])
    if name == "right kidney":
        grown[COLON] = False
    return grown


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--series", type=Path, required=True)
    asked = parser.parse_args()
    volume = read_series(sorted(asked.series.glob("*.dcm")))
    hu = volume.array.astype(np.float32)
    found = Bundle(Path(__file__).resolve().parents[1]).segment(hu, volume.grid.affine_lps_mm)
    found = found[:, ::2, ::2]
    between, row, column = volume.grid.spacing_mm
    spacing = (between, 2 * row, 2 * column)
    voxel_ml = float(np.prod(spacing)) / 1000
    for name in PLACES:
        true, mine = kidney(hu[:, ::2, ::2], name), found == CLASSES.index(name)
        whole = dice(mine, true)
        true[:LEFT_OUT], mine[:LEFT_OUT] = False, False
        ball = ball_baseline(true, voxel_ml, TYPICAL_ML[name], spacing)
        found_ml, grown_ml = mine.sum() * voxel_ml, true.sum() * voxel_ml
        print(
            f"{name}: Dice {dice(mine, true):.3f} (with the lowest slices {whole:.3f}), "
            f"ball {ball:.3f}; {found_ml:.0f} ml found, {grown_ml:.0f} ml grown"
        )


if __name__ == "__main__":
    main()
