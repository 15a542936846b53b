"""Anatomies for training: the real cases prepared once and kept as files, and the sample stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from dicomnode.domain.errors import StudyError
from dicomnode.evaluate.pairs import Pair, read_image, read_pairs, read_truth
from dicomnode.pipeline.tensors import ras_affine
from scripts.cases import CASES, LEFT, RIGHT, UNKNOWN, Case, body_mask, to_ras
from scripts.phantom import make_phantom
from scripts.synthesis import Anatomy, make_sample

WEIGHTS = {"lidc_0314": 4.5, "deeplesion_000001": 1.5, "crlm_1004": 1.2, "totalsegmentator": 1.5}
"""How often each real case is drawn; together the parametric phantoms are drawn as given."""


def anatomy_of(case: Case) -> Anatomy:
    """Return a case at about 1.5 mm in-plane, labels as fractions."""
    labels = case.labels
    planes = [
        case.hu.clip(-1024, 2000) + 1024,
        labels == RIGHT,
        labels == LEFT,
        labels == UNKNOWN,
        body_mask(case.hu),
    ]
    channels = torch.stack(
        [torch.from_numpy(np.ascontiguousarray(p, np.float32).transpose(2, 1, 0)) for p in planes]
    )
    x, y, z = (float(value) for value in case.spacing)
    if x < 1.0:
        channels = F.avg_pool2d(channels, 2)
        x, y = 2 * x, 2 * y
    return Anatomy(
        name=case.name,
        channels=channels.half(),
        spacing=(x, y, z),
        weight=WEIGHTS.get(case.name, 1.0),
    )


def load_anatomies(
    data_root: str, cache: str, names: list[str], phantoms: int, phantom_weight: float
) -> list[Anatomy]:
    """Return the named real cases and this many parametric phantoms; made once, then read."""
    folder = Path(cache)
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name in names:
        found.append(
            _kept(folder / f"{name}.npz", lambda n=name: anatomy_of(CASES[n](Path(data_root))))
        )
    for seed in range(phantoms):
        made = _kept(folder / f"phantom_{seed:03d}.npz", lambda s=seed: make_phantom(s))
        found.append(
            Anatomy(
                name=made.name,
                channels=made.channels,
                spacing=made.spacing,
                weight=phantom_weight / phantoms,
            )
        )
    return found


SIDES = {"right lung": RIGHT, "left lung": LEFT}
_TOTALSEGMENTATOR = {f"lung_{lobe}_lobe_right": RIGHT for lobe in ("upper", "middle", "lower")}
_TOTALSEGMENTATOR |= {f"lung_{lobe}_lobe_left": LEFT for lobe in ("upper", "lower")}


def site_anatomies(site: str, cache: str) -> list[Anatomy]:
    """Return a site's labelled CTs (`dicomnode.evaluate.pairs`), all drawn alike, 4.5 together.

    Kept as files that stay on the disk: what is drawn is read from there.
    """
    pairs, said = read_pairs(Path(site))
    sides = {n: side for n, name in said.items() if (side := (SIDES | _TOTALSEGMENTATOR).get(name))}
    if set(sides.values()) != {RIGHT, LEFT}:
        raise StudyError("labels.json must name labels of the right lung and of the left lung")
    folder = Path(cache)
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for pair in pairs:
        path = folder / f"site_{pair.name}.npy"
        told = path.with_suffix(".json")
        if not told.exists():
            made = anatomy_of(_site_case(pair, sides))
            np.save(path, made.channels.numpy())
            told.write_text(json.dumps(made.spacing))
        x, y, z = json.loads(told.read_text())
        channels = torch.from_numpy(np.load(path, mmap_mode="c"))
        weight = 4.5 / len(pairs)
        found.append(Anatomy(name=pair.name, channels=channels, spacing=(x, y, z), weight=weight))
    return found


def _site_case(pair: Pair, sides: dict[int, int]) -> Case:
    image = read_image(pair, "CT")
    truth = read_truth(pair.truth, image.grid)
    labels = np.zeros(truth.shape, np.uint8)
    for number, side in sides.items():
        labels[truth == number] = side
    hu, affine = to_ras(image.array.T.astype(np.float32), ras_affine(image.grid))
    turned, _ = to_ras(labels.T, ras_affine(image.grid))
    return Case(name=pair.name, hu=hu, labels=turned, affine=affine, truth="site")


def _kept(path: Path, make) -> Anatomy:  # type: ignore[no-untyped-def]
    if not path.exists():
        made = make()
        np.savez_compressed(
            path, channels=made.channels.numpy(), spacing=made.spacing, weight=made.weight
        )
    with np.load(path) as file:
        return Anatomy(
            name=path.stem,
            channels=torch.from_numpy(file["channels"]),
            spacing=tuple(float(value) for value in file["spacing"]),
            weight=float(file["weight"]),
        )


class SampleStream(IterableDataset[dict[str, Tensor]]):
    """An endless stream of samples; sample i of a seed is always the same."""

    def __init__(self, anatomies: list[Anatomy], seed: int, start: int = 0) -> None:
        self.anatomies = anatomies
        self.seed = seed
        self.start = start

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        torch.set_num_threads(1)
        info = get_worker_info()
        index = self.start + (info.id if info else 0)
        step = info.num_workers if info else 1
        while True:
            yield make_sample(self.anatomies, (self.seed * 1_000_003 + index) % 2**62)
            index += step


def sample_loader(
    anatomies: list[Anatomy], seed: int, batch_size: int, workers: int, start: int = 0
) -> DataLoader[dict[str, Tensor]]:
    """Return batches of the stream, beginning at sample `start`."""
    stream = SampleStream(anatomies, seed, start)
    return DataLoader(
        stream, batch_size=batch_size, num_workers=workers, prefetch_factor=4 if workers else None
    )
