"""What the gate says of radiographs computed from CTs, by the angle they are looked at from.

python -m scripts.gate_projections NAME=FOLDER ... [--pictures OUT]

FOLDER holds the files of one axial DICOM series, or is a NIfTI file. Angle 0 is frontal, 90 and
-90 are lateral, 180 is frontal from behind (mirrored).
"""

import sys
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image
from scipy import ndimage

from dicomnode.pipeline.bundle_files import read_manifest
from dicomnode.pipeline.gate import load_gate
from dicomnode.pipeline.volume import read_series
from scripts.gate_data import Picture, Volume, shrunk
from scripts.gate_evaluation import likely_upright

ANGLES = (0, 15, -15, 30, -30, 45, -45, 60, -60, 90, -90, 180)
STRENGTHS = (0.12, 0.18, 0.25)
"""Of the rays' absorption a centimetre of water: hard, middling, soft."""
SPACING_MM = 3.0


def read(path: Path) -> Volume:
    """Return a CT on 3 mm: slices from the feet, rows from the front, columns from the right."""
    if path.is_dir():
        series = read_series(sorted(path.glob("*.dcm")))
        values, spacing = series.array, series.grid.spacing_mm
    else:
        image = nibabel.as_closest_canonical(nibabel.load(path))
        values = np.asarray(image.dataobj, np.float32).transpose(2, 1, 0)[:, ::-1, ::-1]
        spacing = image.header.get_zooms()[2::-1]
    scale = [s / SPACING_MM for s in spacing]
    return ndimage.zoom(np.clip(values, -1000, 1500), scale, order=1)


def projected(volume: Volume, angle: float) -> list[Picture]:
    """Return radiographs of one CT from one angle, bright where much is absorbed."""
    dense = np.clip((volume + 1000) / 1000, 0, 2.2)
    turned = ndimage.rotate(dense, angle, axes=(1, 2), reshape=True, order=1)
    depth = turned.sum(1) * SPACING_MM / 10
    return [shrunk((1 - np.exp(-s * depth))[::-1].astype(np.float32)) for s in STRENGTHS]


def main(given: list[str]) -> None:
    """Print a table, one line a CT."""
    out = Path(given[given.index("--pictures") + 1]) if "--pictures" in given else None
    manifest = read_manifest(Path.cwd())
    gate = load_gate(Path.cwd(), manifest, manifest.gate)
    print("passed of", len(STRENGTHS), "at", *(f"{angle:4}" for angle in ANGLES))
    for word in given:
        name, _, path = word.partition("=")
        if not path:
            continue
        volume = read(Path(path))
        pictures = [projected(volume, angle) for angle in ANGLES]
        passed = [
            int((likely_upright(gate, of) >= manifest.gate.at_least).sum()) for of in pictures
        ]
        print(f"{name:15}", *(f"{count:4}" for count in passed), flush=True)
        if out is not None:
            rows = [np.hstack([_squared(of[1]) for of in pictures])]
            Image.fromarray((np.vstack(rows) * 255).astype(np.uint8)).save(out / f"{name}.png")


def _squared(picture: Picture) -> Picture:
    down, right = (128 - n for n in picture.shape)
    return np.pad(picture, ((0, down), (0, right)))


if __name__ == "__main__":
    main(sys.argv[1:])
