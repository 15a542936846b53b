"""Painted people with planted lesions, written as DeepLesion is published: slices and a table.

So that phantoms are read by the code that reads DeepLesion itself, and stand in for it in tests.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from dicomnode.networks.recist import recist_axes
from dicomnode.phantom.anatomy import make_anatomy
from dicomnode.phantom.planting import Kind, Lesion, Planter, counts_of
from dicomnode.phantom.scanner import Scan, draw_scan, scanned, tissue_hu
from dicomnode.phantom.structures import Organ

log = logging.getLogger("slices.phantoms")

SPACING = (2.5, 1.0, 1.0)
"""Slice, row, column."""
COARSE = 2
"""Anatomies are painted on pixels so many times larger, which takes a quarter of the time."""
TALL_MM = 60.0
LOWEST, HIGHEST = -140.0, 420.0
"""Of the lowest slices, mm above the top of the sacrum in the body plan."""
MOST = (7, 5, 4, 3, 5, 4, 4)
"""Lesions of each `Kind` at most."""
_PAD = 4.0
"""Pixels that a box reaches beyond the axes; DeepLesion's reach five of about 0.8 mm."""
_LEAST_PIXELS = 12
LEAST_VISIBILITY = 3.0
_SLICES_A_LESION = 2
_PNG_ZERO = 32768
_COLUMNS = (
    "File_name",
    "Measurement_coordinates",
    "Bounding_boxes",
    "Coarse_lesion_type",
    "Possibly_noisy",
    "Spacing_mm_px_",
    "Train_Val_Test",
    "Complete",
)
TYPES = {Kind.BONE: 1, Kind.LIVER: 4, Kind.LUNG_NODULE: 5, Kind.KIDNEY: 6, Kind.SOFT_TISSUE: 7}
_ABDOMEN, _MEDIASTINUM, _PELVIS = 2, 3, 8


def write_people(root: Path | str, seeds: Sequence[int], part: int, scans: int = 2) -> None:
    """Write `DL_info.csv` and `Images_png` below `root`; who is there already stays.

    Args:
        root: the folder.
        seeds: one person each.
        part: 1 to learn from, 2 to choose by, 3 to judge by.
        scans: of each person, with other lesions each time.
    """
    for seed in seeds:
        write_rows(
            Path(root),
            f"{seed:06d}_{part}",
            lambda images, seed=seed: _person(images, seed, part, scans),  # type: ignore[misc]
        )
    write_table(Path(root))


def write_rows(root: Path, name: str, made: Callable[[Path], Iterable[Sequence[object]]]) -> None:
    """Keep the rows that `made` gives for one person, unless they are there; see `write_table`."""
    if (root / "DL_info.csv").exists() and not (root / "rows").is_dir():
        raise ValueError(f"{root} holds a data set that is not of phantoms")
    (root / "rows").mkdir(parents=True, exist_ok=True)
    rows = root / "rows" / f"{name}.csv"
    if rows.exists():
        return
    with rows.with_suffix(".part").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(made(root / "Images_png"))
    rows.with_suffix(".part").rename(rows)
    log.info("slices.made %s", name)


def write_table(root: Path) -> None:
    """Join all rows to `DL_info.csv`.

    Raises:
        ValueError: there is a table that was not made of rows: DeepLesion's own.
    """
    if not (root / "rows").is_dir():
        raise ValueError(f"{root} is no folder of phantoms")
    with (root / "DL_info.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(_COLUMNS)
        for path in sorted((root / "rows").glob("*.csv")):
            with path.open(encoding="utf-8", newline="") as one:
                table.writerows(csv.reader(one))


def _person(images: Path, seed: int, part: int, scans: int) -> Iterator[list[object]]:
    """Write one person's slices; gives the rows of the table."""
    low = float(np.random.default_rng([95, seed]).uniform(LOWEST, HIGHEST))
    anatomy = make_anatomy(
        seed,
        region=(low, low + TALL_MM),
        spacing_mm=(SPACING[0], SPACING[1] * COARSE, SPACING[2] * COARSE),
        half_width_mm=176.0,
        half_depth_mm=128.0,
    )
    labels, tissue = (
        array.repeat(COARSE, 1).repeat(COARSE, 2) for array in (anatomy.labels, anatomy.tissue)
    )
    for number in range(scans):
        rng = np.random.default_rng([96, seed, number])
        scan = draw_scan(rng, SPACING)
        coarse = (SPACING[0], SPACING[1] * COARSE, SPACING[2] * COARSE)
        hu = tissue_hu(rng, anatomy.labels, anatomy.tissue, coarse, scan, anatomy.age)
        hu = ndimage.zoom(hu, (1, COARSE, COARSE), order=1, mode="nearest", grid_mode=True)
        planter = Planter(
            rng, hu=hu, labels=labels, tissue=tissue, spacing=SPACING, phase=int(scan.phase)
        )
        planted = planter.plant(counts_of(rng, MOST))
        seen = scanned(rng, hu, SPACING, scan)
        volume = f"{seed:06d}_01_{number + 1:02d}"
        write_slices(images / volume, seen)
        marks = Marks(
            types={one.number: _type(one, labels, low) for one in planted},
            hidden=_hidden(planted, scan),
            instances=planter.instances,
            spacing=SPACING,
        )
        yield from marks.rows(volume, part)


def _hidden(planted: Sequence[Lesion], scan: Scan) -> frozenset[int]:
    """Lesions that are drowned in noise."""
    pixel = SPACING[1] * SPACING[2]
    return frozenset(
        one.number for one in planted if one.visibility(scan.noise_hu, pixel) < LEAST_VISIBILITY
    )


def _type(one: Lesion, labels: npt.NDArray[np.uint8], low: float) -> int:
    """One of DeepLesion's eight."""
    if one.kind in TYPES:
        return TYPES[one.kind]
    place = tuple(np.round(one.centre).astype(int))
    if labels[place] == Organ.MEDIASTINAL_FAT:
        return _MEDIASTINUM
    return _PELVIS if low + one.centre[0] * SPACING[0] < 0 else _ABDOMEN


def write_slices(folder: Path, hu: npt.NDArray[np.float32]) -> None:
    """Write HU (slice, row, column), the lowest slice first; numbers rise towards the feet."""
    folder.mkdir(parents=True, exist_ok=True)
    for row, plane in enumerate(hu):
        stored = (np.clip(np.rint(plane), -3024, 3071) + _PNG_ZERO).astype(np.uint16)
        Image.fromarray(stored).save(folder / f"{_number(row, len(hu)):03d}.png", compress_level=1)


def _number(row: int, slices: int) -> int:
    return slices - row


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What a radiologist would have marked of one scan, here of every lesion."""

    types: Mapping[int, int]
    """Number of each lesion -> its type as the table has it; -1: not known."""
    hidden: frozenset[int]
    """Numbers of lesions that nobody could see."""
    instances: npt.NDArray[np.uint8]
    """Number of the lesion at each voxel, (slice, row, column)."""
    spacing: tuple[float, float, float]
    read: bool = True
    """All other lesions of the image are known: there are none."""

    def rows(self, volume: str, part: int) -> Iterator[list[object]]:
        """Rows of the table: all lesions of each chosen slice."""
        z, y, x = self.spacing
        for row in sorted(self._chosen()):
            shown = set(np.unique(self.instances[row]).tolist())
            complete = int(self.read and not shown & self.hidden)
            name = f"{volume}_{_number(row, len(self.instances)):03d}.png"
            for ends, box, kind in self._on(row):
                yield [name, ends, box, kind, 0, f"{x}, {y}, {z}", part, complete]

    def _chosen(self) -> set[int]:
        """Where each lesion is largest, and another slice of it."""
        chosen: set[int] = set()
        for number in self.types.keys() - self.hidden:
            areas = (self.instances == number).sum((1, 2))
            seen = np.argsort(-areas, kind="stable")
            seen = seen[areas[seen] >= _LEAST_PIXELS]
            chosen |= {int(row) for row in seen[: 2 * _SLICES_A_LESION : _SLICES_A_LESION]}
        return chosen

    def _on(self, row: int) -> Iterator[tuple[str, str, int]]:
        """Ends, box and type of each lesion on a slice; pixels from the first one's centre."""
        for number in np.unique(self.instances[row][self.instances[row] > 0]).tolist():
            mask = self.instances[row] == number
            if number in self.hidden or mask.sum() < _LEAST_PIXELS:
                continue
            ends = np.concatenate(recist_axes(mask, self.spacing[1:]))[:, ::-1]
            size = np.array(mask.shape[::-1]) - 1
            low, high = (ends.min(0) - _PAD).clip(0), np.minimum(ends.max(0) + _PAD, size)
            yield (
                ", ".join(f"{value:.2f}" for value in ends.ravel()),
                ", ".join(f"{value:.2f}" for value in (*low, *high)),
                self.types[number],
            )
