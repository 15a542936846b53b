"""How often sides are doubted: pictures as they are stored, which is upright, and mirrored.

python -m scripts.sides ROWS BUNDLE COUNT FOLDER ...     COUNT of each folder, drawn by seed

BUNDLE is the folder of a bundle for frontal radiographs, `.` or `../cxr_thorax`. ROWS, a file of
JSON lines, keeps what was said: cut off, the same call goes on.
"""

import json
import random
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir

import numpy as np

from dicomnode.algorithm import RunContext
from dicomnode.domain.errors import InputRefused
from dicomnode.domain.volumes import Volume
from dicomnode.evaluate.pictures import is_picture
from dicomnode.pipeline.bundle import BundleAlgorithm, load_bundle
from dicomnode.pipeline.pictures import read_picture

WAYS = ("as stored", "mirrored")


def drawn(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Return so many pictures of a folder, in an order drawn by seed."""
    paths = sorted(path for path in folder.iterdir() if is_picture(path))
    random.Random(seed).shuffle(paths)
    return paths[:count]


def is_doubted(bundle: BundleAlgorithm, image: Volume) -> bool | None:
    """Return whether the report would say that sides are not certain; None if it is refused."""
    context = RunContext(device="cpu", scratch=Path(gettempdir()))
    try:
        bundle.run({"image": image}, context)
    except InputRefused:
        return None
    return any(note.startswith("sides are not certain") for note in context.notes)


def interval(count: int, among: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share."""
    share, spread = count / among, z * z / among
    half = z * np.sqrt(share * (1 - share) / among + spread / (4 * among))
    middle = share + spread / 2
    return float((middle - half) / (1 + spread)), float((middle + half) / (1 + spread))


def main(rows: Path, bundle: BundleAlgorithm, pictures: Iterable[Path]) -> None:
    """Read what is not in `rows` yet; print how many of each way are doubted."""
    lines = rows.read_text().splitlines() if rows.is_file() else []
    said = {one["image"]: one["doubted"] for one in map(json.loads, lines)}
    for path in pictures:
        if path.name in said:
            continue
        image = read_picture(path)
        mirrored = replace(image, array=np.ascontiguousarray(image.array[:, :, ::-1]))
        said[path.name] = [is_doubted(bundle, one) for one in (image, mirrored)]
        with rows.open("a") as stream:
            print(json.dumps({"image": path.name, "doubted": said[path.name]}), file=stream)
    for number, way in enumerate(WAYS):
        answers = [one[number] for one in said.values() if one[number] is not None]
        low, high = interval(sum(answers), len(answers))
        print(f"{way}: {sum(answers)} of {len(answers)} doubted ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    count, folders = int(sys.argv[3]), [Path(word) for word in sys.argv[4:]]
    main(
        Path(sys.argv[1]),
        load_bundle(Path(sys.argv[2])),
        [path for folder in folders for path in drawn(folder, count)],
    )
