"""What the gate says of photographs of radiographs, and of two views in one picture.

python -m scripts.gate_photographs FOLDER ... [--picture OUT.png]     radiographs as PNG or JPEG
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from dicomnode.pipeline.bundle_files import read_manifest
from dicomnode.pipeline.gate import load_gate
from scripts.gate_data import HALF, Picture, read_grey
from scripts.gate_evaluation import likely_upright

EVERY = 4
"""Of the radiographs, in the order of their names."""


def photographed(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return `picture` as a screen photographed in a dark room: a little askew, lit unevenly."""
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)
    border = rng.uniform(0.06, 0.18)
    seen = border + corners * (1 - 2 * border) + rng.uniform(-0.04, 0.04, (4, 2))
    # eight numbers of a perspective: from a place in the photograph to one on the screen
    rows = []
    for (y, x), (v, u) in zip(corners, seen, strict=True):
        rows += [
            [v, u, 1, 0, 0, 0, -y * v, -y * u, y],
            [0, 0, 0, v, u, 1, -x * v, -x * u, x],
        ]
    system = np.array(rows)
    a, b, c, d, e, f, g, h = np.linalg.solve(system[:, :8], system[:, 8])
    v, u = np.mgrid[:HALF, :HALF] / (HALF - 1)
    low = g * v + h * u + 1
    scale = np.array(picture.shape).reshape(2, 1, 1) - 1
    place = np.stack([(a * v + b * u + c) / low, (d * v + e * u + f) / low]) * scale
    grey = ndimage.map_coordinates(picture, place, order=1, cval=0.0)
    light = 1 - rng.uniform(0.1, 0.5) * ((v - rng.random()) ** 2 + (u - rng.random()) ** 2)
    noise = rng.normal(0, 0.02, grey.shape)
    return np.clip(0.03 + grey * light + noise, 0, 1).astype(np.float32)


def beside(first: Picture, second: Picture) -> Picture:
    """Return two radiographs side by side, neither squeezed."""
    rows = min(len(first), len(second))
    return np.hstack([first[:rows], second[:rows]])


def main(given: list[str]) -> None:
    """Print how many of each pass."""
    out = Path(given[given.index("--picture") + 1]) if "--picture" in given else None
    folders = [Path(word) for word in given if Path(word).is_dir()]
    paths = [p for folder in folders for p in sorted(folder.glob("*.*"))[::EVERY]]
    chests = [read_grey(path) for path in paths]
    rng = np.random.default_rng(7)
    manifest = read_manifest(Path.cwd())
    gate = load_gate(Path.cwd(), manifest, manifest.gate)
    kinds = {
        "as they are": chests,
        "photographed": [photographed(one, rng) for one in chests],
        "photographed, turned by 5 to 15 degrees": [
            photographed(ndimage.rotate(one, rng.uniform(5, 15), reshape=True, order=1), rng)
            for one in chests
        ],
        "two side by side": [beside(one, chests[n - 1]) for n, one in enumerate(chests)],
        "one above the other": [np.vstack([one, one[:, ::-1]]) for one in chests],
    }
    for name, pictures in kinds.items():
        passed = int((likely_upright(gate, pictures) >= manifest.gate.at_least).sum())
        print(f"{name}: {passed} of {len(pictures)} pass")
    if out is not None:
        shown = [
            np.pad(of[3], ((0, 256 - len(of[3])), (0, 256 - of[3].shape[1])))
            for of in kinds.values()
        ]
        Image.fromarray((np.hstack(shown) * 255).astype(np.uint8)).save(out)


if __name__ == "__main__":
    main(sys.argv[1:])
