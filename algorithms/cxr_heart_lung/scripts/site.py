"""A site's outlined radiographs, as training reads them."""

from pathlib import Path

import numpy as np
from PIL import Image

from dicomnode.domain.errors import StudyError
from dicomnode.evaluate.pairs import Pair, read_image, read_pairs, read_truth
from dicomnode.pipeline.turning import turn_of
from scripts.data import SEGMENTS

Items = list[dict[str, str]]

_TO_CHOOSE_BY = 8


def site_items(site: str, folder: str) -> tuple[Items, Items]:
    """Return MONAI's data lists of what is learned from, and of what the epoch is chosen by.

    The latter is every eighth patient (all, if there is one). Images and label maps (1 heart,
    2 right lung, 3 left lung) are written to `folder` as PNG; what is there is not made again.

    Args:
        site: as `dicomnode.evaluate.pairs` has it, with labels for all three.

    Raises:
        StudyError: no pairs, or a segment without a label.
    """
    pairs, said = read_pairs(Path(site))
    wanted = [name.replace("_", " ") for name in SEGMENTS]
    numbers = {label: wanted.index(name) + 1 for label, name in said.items() if name in wanted}
    if missing := set(wanted) - {said[label] for label in numbers}:
        raise StudyError(f"labels.json names no {', '.join(sorted(missing))}: all three are needed")
    patients = sorted({pair.patient for pair in pairs})
    chosen_by = set(patients[::_TO_CHOOSE_BY])
    items = {pair.name: _item(pair, numbers, Path(folder)) for pair in pairs}
    dev = [items[pair.name] for pair in pairs if pair.patient in chosen_by]
    train = [items[pair.name] for pair in pairs if pair.patient not in chosen_by]
    return train or dev, dev


def _item(pair: Pair, numbers: dict[int, int], folder: Path) -> dict[str, str]:
    image, labels = (folder / kind / f"{pair.name}.png" for kind in ("images", "labels"))
    if not labels.exists():
        volume = read_image(pair, "DX")
        truth = read_truth(pair.truth, volume.grid)
        if volume.grid.shape[0] != 1:
            raise StudyError(f"{pair.name} is no radiograph")
        mapped = np.zeros(truth.shape[1:], np.uint8)
        for label, number in numbers.items():
            mapped[truth[0] == label] = number
        turn = turn_of(volume.orientation)
        for path, pixels in (
            (image, np.rint(volume.array[0] * 255).astype(np.uint8)),
            (labels, mapped),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(turn.turned(pixels) if turn else pixels).save(path)
    return {"image": str(image), "labels": str(labels)}
