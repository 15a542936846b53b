"""Real CTs with planted lesions, written as DeepLesion is: what no phantom's background shows.

The scenes are those that the training of `lymph_node` makes (`scripts.real_scenes` there): HU and
lesions on a grid of 2 mm. Nobody read the CTs for lesions of their own, so no slice is complete.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicomnode.networks.slice_losses import UNKNOWN_TYPE
from dicomnode.phantom.planting import Kind
from scripts.phantoms import (
    COARSE,
    LEAST_VISIBILITY,
    TYPES,
    Marks,
    write_rows,
    write_slices,
    write_table,
)

SPACING = (2.0, 1.0, 1.0)


def write_planted(root: Path | str, scenes: Path | str, names: Sequence[str]) -> None:
    """Add scenes to learn from, by the names of their CTs, to a folder of `write_people`."""
    found = [path for name in names for path in sorted(Path(scenes).glob(f"{name}_*.json"))]
    for number, told in enumerate(found):
        volume = f"9{names.index(told.stem.rsplit('_', 1)[0]):05d}_01_{number:02d}"
        write_rows(
            Path(root),
            volume,
            lambda images, told=told, volume=volume: _scene(images, told, volume),  # type: ignore[misc]
        )
    write_table(Path(root))


def _scene(images: Path, told: Path, volume: str) -> Iterator[list[object]]:
    lesions = json.loads(told.read_text(encoding="utf-8"))["lesions"]
    hu, instances = (
        _upright(np.load(told.with_name(f"{told.stem}_{part}.npy"))) for part in ("hu", "inst")
    )
    fine = ndimage.zoom(
        hu.astype(np.float32), (1, COARSE, COARSE), order=1, mode="nearest", grid_mode=True
    )
    write_slices(images / volume, fine)
    marks = Marks(
        types={one["number"]: TYPES.get(Kind(one["kind"]), UNKNOWN_TYPE) for one in lesions},
        hidden=frozenset(one["number"] for one in lesions if one["visibility"] < LEAST_VISIBILITY),
        instances=instances.repeat(COARSE, 1).repeat(COARSE, 2),
        spacing=SPACING,
        read=False,
    )
    yield from marks.rows(volume, 1)


def _upright(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """(x, y, z) in RAS to (slice, row, column) in LPS, the lowest slice first."""
    return array[::-1, ::-1].transpose(2, 1, 0)
