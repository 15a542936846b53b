"""A site's labelled CTs as anatomies that a bundle's training varies (`dicomnode.phantom.slabs`).

Kept as files and read one at a time: how many there are does not matter to memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicomnode.domain.errors import StudyError
from dicomnode.evaluate.pairs import Pair, read_image, read_pairs, read_truth
from dicomnode.phantom.masks import as_stock
from dicomnode.phantom.slabs import Stock
from dicomnode.phantom.structures import Organ
from dicomnode.pipeline.tensors import ras_affine

Spacing = tuple[float, float, float]


class KeptStocks(Sequence[Stock]):
    """Stocks in files; the last few that were read stay in memory."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        self._read = lru_cache(maxsize=8)(_read)

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Stock: ...
    @overload
    def __getitem__(self, index: slice) -> KeptStocks: ...
    def __getitem__(self, index: int | slice) -> Stock | KeptStocks:
        if isinstance(index, slice):
            return KeptStocks(self.paths[index])
        return self._read(self.paths[index])


def site_stocks(
    folder: Path, organ_of: Callable[[str], Organ | None], spacing_mm: Spacing, keep: Path
) -> tuple[KeptStocks, frozenset[Organ]]:
    """The labelled CTs of a folder (`dicomnode.evaluate.pairs`, with `labels.json`).

    Args:
        folder: images and labels.
        organ_of: of a label's name; None: no organ, and its voxels count as unlabelled.
        spacing_mm: along slice, row, column; what the CTs are brought to.
        keep: folder of the stocks' files; what is there is not made again.

    Returns:
        The stocks, and which organs have labels. What is none of them may be anything else.

    Raises:
        StudyError: no pairs, or no label that names an organ.
        PipelineError: an image or its labels cannot be read.
    """
    pairs, said = read_pairs(folder)
    organs = {number: organ for number, name in said.items() if (organ := organ_of(name))}
    if not organs:
        raise StudyError(f"labels.json names no known organ: {', '.join(said.values())}")
    keep.mkdir(parents=True, exist_ok=True)
    paths = []
    for pair in pairs:
        path = keep / f"{pair.name}.npz"
        if not path.exists():
            _write(_stock_of(pair, organs, spacing_mm), path)
        paths.append(path)
    return KeptStocks(paths), frozenset(organs.values())


def _stock_of(pair: Pair, organs: Mapping[int, Organ], spacing_mm: Spacing) -> Stock:
    image = read_image(pair, "CT")
    labels = read_truth(pair.truth, image.grid)
    table = np.zeros(int(labels.max(initial=0)) + 1, np.uint8)
    for number, organ in organs.items():
        if number < len(table):
            table[number] = organ
    affine = ras_affine(image.grid)
    hu, spacing = _upright(image.array.astype(np.float32), affine)
    named, _ = _upright(table[labels], affine)
    factors = [here / there for here, there in zip(spacing, spacing_mm, strict=True)]
    soft = ndimage.gaussian_filter(
        np.maximum(hu, -1024), [0.4 / f if f < 1 else 0 for f in factors]
    )
    return as_stock(
        ndimage.zoom(soft, factors, order=1, grid_mode=True, mode="nearest"),
        ndimage.zoom(named, factors, order=0, grid_mode=True, mode="nearest"),
        spacing_mm,
    )


def _upright(
    array: npt.NDArray[Any], affine: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[Any], Spacing]:
    """Axes turned and swapped to the closest of slice, row, column in LPS; spacing along them."""
    import nibabel

    canonical: Any = nibabel.as_closest_canonical
    turned = canonical(nibabel.Nifti1Image(array.T, affine))  # type: ignore[no-untyped-call]
    x, y, z = (float(step) for step in turned.header.get_zooms()[:3])
    values = np.asarray(turned.dataobj)[::-1, ::-1].transpose(2, 1, 0)
    return np.ascontiguousarray(values), (z, y, x)


def _write(stock: Stock, path: Path) -> None:
    """A reader never sees half a file."""
    assert stock.unlabelled is not None
    assert stock.hu is not None
    assert stock.means is not None
    part = path.with_name("part_" + path.name)
    np.savez(
        part,
        labels=stock.labels,
        tissue=stock.tissue,
        age=np.float32(stock.age),
        spacing_mm=np.asarray(stock.spacing_mm, np.float32),
        unlabelled=stock.unlabelled,
        hu=np.clip(np.rint(stock.hu), -1024, 4095).astype(np.int16),
        means=stock.means,
    )
    part.replace(path)


def _read(path: Path) -> Stock:
    with np.load(path) as kept:
        slices, rows, columns = (float(step) for step in kept["spacing_mm"])
        return Stock(
            labels=kept["labels"],
            tissue=kept["tissue"],
            age=float(kept["age"]),
            spacing_mm=(slices, rows, columns),
            unlabelled=kept["unlabelled"],
            hu=kept["hu"].astype(np.float32),
            means=kept["means"],
        )
