"""How many pixels a radiograph needs: the same images made smaller, and what is said of them.

python -m scripts.sizes ROWS COUNT FOLDER ...     COUNT pictures of each folder

Only of images that the head has not learned from: of those it knows, it knows the pixels. ROWS, a
file of JSON lines, keeps what was read: cut off, the same call goes on.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir

import numpy as np
import torch
from torch.nn import functional

from dicomnode.algorithm import RunContext
from dicomnode.domain.errors import InputRefused
from dicomnode.domain.volumes import Volume
from dicomnode.evaluate.pictures import is_picture
from dicomnode.pipeline.bundle import BundleAlgorithm, load_bundle
from dicomnode.pipeline.classes import Reading, probability
from dicomnode.pipeline.pictures import read_picture

CUTS = (1, 4, 16)
"""Pixels at each edge."""
SIDES = (384, 320, 256, 192, 128, 64)


def smaller(image: Volume, side: int) -> Volume:
    """Return the image with its longer side made `side` pixels, and enlarged again.

    By areas, as the bundle fills its field, so that its gate does not see how small it was.
    """
    grey = torch.from_numpy(np.array(image.array))[None]
    scale = side / max(grey.shape[2:])
    size = tuple(round(n * scale) for n in grey.shape[2:])
    small = functional.interpolate(grey, size=size, mode="area")
    again = functional.interpolate(small, size=grey.shape[2:], mode="area")
    return with_pixels(image, again[0, 0].numpy())


def cut(image: Volume, width: int) -> Volume:
    """Return the image without its outermost columns and rows: no reader would mind a few."""
    return with_pixels(image, image.array[0, width:-width, width:-width])


def with_pixels(image: Volume, grey: np.ndarray) -> Volume:
    """Return the image with other pixels of the same size in mm (or of none)."""
    array = np.ascontiguousarray(grey[np.newaxis], dtype=np.float32)
    return replace(image, array=array, grid=replace(image.grid, shape=array.shape))


def spread(folder: Path, count: int) -> list[Path]:
    """Return so many pictures of a folder, evenly over their names."""
    paths = sorted(path for path in folder.iterdir() if is_picture(path))
    return [paths[n * len(paths) // count] for n in range(count)]


def main(rows: Path, count: int, folders: list[Path]) -> None:
    """Read what is not in `rows` yet, and print a table, one line a size."""
    bundle = load_bundle(Path.cwd())
    pred = bundle.manifest.outputs.pred
    reported = [(n, one) for n, one in pred.classes.items() if one.reported]
    ways = {"as stored": lambda one: one}
    ways |= {f"{width} cut off": lambda one, width=width: cut(one, width) for width in CUTS}
    ways |= {f"{side}": lambda one, side=side: smaller(one, side) for side in SIDES}
    done = read_rows(rows)
    for one in (path for folder in folders for path in spread(folder, count)):
        if one.name in done:
            continue
        image = read_picture(one)
        done[one.name] = {}
        for way, change in ways.items():
            reading = _reading(bundle, change(image))
            said = [np.nan] * (len(reported) + 1)
            if reading is not None:
                likely = [probability(float(reading.logits[n]), c) for n, c in reported]
                said = [*likely, reading.ratio]
            done[one.name][way] = said
        with rows.open("a") as stream:
            print(json.dumps({"image": one.name, "said": done[one.name]}), file=stream)
    # The ratio, last, has no point to cross.
    points = np.array([*(one.operating_point for _, one in reported), np.inf])
    print("classes:", ", ".join(one.name for _, one in reported), f"; {len(done)} images")
    for way in ways:
        print(f"{way:20}", _compared([(of[way], of["as stored"]) for of in done.values()], points))


def read_rows(rows: Path) -> dict[str, dict[str, list[float]]]:
    """Return image -> way -> probabilities and ratio, of earlier calls."""
    lines = rows.read_text().splitlines() if rows.is_file() else []
    return {one["image"]: one["said"] for one in map(json.loads, lines)}


def _compared(pairs: list[tuple[list[float], list[float]]], points: np.ndarray) -> str:
    values, plain = (np.array(side) for side in zip(*pairs, strict=True))
    both = ~np.isnan(values[:, 0]) & ~np.isnan(plain[:, 0])
    change = np.abs(values - plain)[both]
    crossed = ((values >= points) != (plain >= points))[both].sum(0)[:-1].tolist()
    median, most = (np.round(np.percentile(change, q, axis=0), 3).tolist() for q in (50, 95))
    return f"read {both.sum()}, change: median {median}, 95th {most}; crossed {crossed}"


def _reading(bundle: BundleAlgorithm, image: Volume) -> Reading | None:
    try:
        return bundle.reading(
            {"image": image}, RunContext(device="cpu", scratch=Path(gettempdir()))
        )
    except InputRefused:
        return None


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), [Path(word) for word in sys.argv[3:]])
