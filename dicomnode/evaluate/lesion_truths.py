"""Lesions that are known: tables of points (LUNA16) or pixel boxes (DeepLesion), masks, reports.

Below one folder, as many as there are:

    lesions.csv, annotations.csv   one row a lesion; columns by name, without case:
                                   seriesuid (or volume), coordX, coordY, coordZ in LPS mm,
                                   diameter_mm
                                   or volume, x1, y1, x2, y2, z1, z2 in pixels of PNG slices
                                   optional: type, ignore (1: neither a hit nor a miss)
    annotations_excluded.csv       the same, all to be ignored
    labels/NAME.nii.gz             whole numbers; what hangs together in one number is a lesion
    labels/NAME.dcm                Segmentation; what hangs together in one segment is a lesion
                                   or structured report; each measurement group is a lesion
    labels.json                    {"1": "Lymph node"}: types of the numbers of a label map
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.errors import InvalidDicomError
from scipy import ndimage

from dicomnode.domain.errors import StudyError, UnsupportedImage
from dicomnode.domain.volumes import Grid, Volume
from dicomnode.evaluate.lesion_images import Case
from dicomnode.evaluate.lesion_reports import is_report, lesions_of_report
from dicomnode.evaluate.pairs import read_labels, read_truth
from dicomnode.evaluation.froc import TrueLesion
from dicomnode.networks.recist import recist_axes
from dicomnode.pipeline.tensors import ras_affine, to_grid

_TABLES = ("lesions.csv", "annotations.csv")
_EXCLUDED = "annotations_excluded.csv"
TABLES = (*_TABLES, _EXCLUDED)
_VOLUME = ("volume", "seriesuid", "series_uid", "image")
_POINT = (("coordx", "x_lps_mm"), ("coordy", "y_lps_mm"), ("coordz", "z_lps_mm"))
_PIXELS = ("x1", "y1", "z1", "x2", "y2", "z2")
_UNKNOWN_MM = 10.0
"""Diameter of what is to be ignored and has none, as in LUNA16's own evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a table."""

    volume: str
    """Name of the image, or its SeriesInstanceUID."""
    type: str
    ignored: bool
    point_mm: tuple[float, float, float] | None = None
    diameter_mm: float | None = None
    pixels: tuple[float, ...] | None = None
    """x1, y1, z1, x2, y2, z2; edges in x and y, slice numbers, both inclusive, in z."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truths:
    """All that the folder says."""

    rows: tuple[Row, ...]
    masks: Mapping[str, Path]
    """Name of the image -> label map, SEG or SR."""
    labels: Mapping[int, str]


def read_lesion_truths(folder: Path) -> Truths:
    """Tables and names of masks; masks are read with their image.

    Raises:
        StudyError: neither is there, or a table cannot be understood.
    """
    rows: list[Row] = []
    tables = [folder / name for name in TABLES if (folder / name).is_file()]
    for path in tables:
        rows += _rows(path, ignored=path.name == _EXCLUDED)
    masks = {
        path.name.split(".nii")[0].removesuffix(".dcm"): path
        for path in sorted((folder / "labels").glob("*"))
    }
    if not masks and not set(_TABLES) & {path.name for path in tables}:
        raise StudyError(
            f"{folder} has neither lesions.csv nor annotations.csv nor labels: "
            "see docs/evaluation.md for its layout"
        )
    return Truths(rows=tuple(rows), masks=masks, labels=read_labels(folder))


def _rows(path: Path, *, ignored: bool) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        table = [_lower(row) for row in csv.DictReader(file)]
    if len({row.get("source", "") for row in table if set(_PIXELS) <= set(row)}) > 1:
        raise StudyError(f"{path.name} holds boxes of several sources: keep the rows of one")
    for number, row in enumerate(table, start=2):
        try:
            yield _row(row, ignored=ignored)
        except (KeyError, ValueError) as exc:
            raise StudyError(f"{path.name}, line {number}: {exc.args[0]}") from exc


def volume_named_by(row: Mapping[str, str]) -> str:
    """Name of the image, or its SeriesInstanceUID, as a row of a table has it.

    Raises:
        KeyError: it has none.
    """
    return _first(_lower(row), _VOLUME)


def _lower(row: Mapping[str, str]) -> dict[str, str]:
    return {name.strip().lower(): (cell or "") for name, cell in row.items() if name}


def _row(row: Mapping[str, str], *, ignored: bool) -> Row:
    name = _first(row, _VOLUME)
    kind, skip = row.get("type", "").strip(), ignored or row.get("ignore", "") in ("1", "true")
    if set(_PIXELS) <= set(row):
        pixels = tuple(float(row[column]) for column in _PIXELS)
        if any(low > high for low, high in zip(pixels[:3], pixels[3:], strict=True)):
            raise ValueError("a box ends before it begins")
        return Row(volume=name, type=kind, ignored=skip, pixels=pixels)
    x, y, z = (float(_first(row, names)) for names in _POINT)
    diameter = float(_first(row, ("diameter_mm",)))
    if not np.isfinite([x, y, z, diameter]).all() or (diameter <= 0 and not skip):
        raise ValueError("place and diameter are to be numbers, the diameter above 0")
    return Row(volume=name, type=kind, ignored=skip, point_mm=(x, y, z), diameter_mm=diameter)


def _first(row: Mapping[str, str], names: Sequence[str]) -> str:
    for name in names:
        if row.get(name, "").strip():
            return row[name].strip()
    raise KeyError(f"no value in the column {' or '.join(names)}")


def lesions_of_case(truths: Truths, case: Case, volume: Volume) -> list[TrueLesion]:
    """What is known of one volume; `kind` as the truth writes it.

    Raises:
        UnsupportedImage: a mask cannot be read, or a lesion lies outside of the volume.
    """
    found = [
        _lesion(row, case, volume)
        for row in truths.rows
        if row.volume in (case.name, str(volume.series_uid))
    ]
    if case.name in truths.masks:
        path = truths.masks[case.name]
        if path.suffix == ".dcm" and is_report(path):
            found += lesions_of_report(path, case.name, volume)
        else:
            found += _in_mask(path, truths.labels, case.name, volume.grid)
    for one in found:
        _check_inside(one, volume.grid)
    return found


def _check_inside(one: TrueLesion, grid: Grid) -> None:
    middle = (np.asarray(one.low_mm) + np.asarray(one.high_mm)) / 2
    if not _is_inside(middle, grid):
        at = ", ".join(f"{value:.1f}" for value in middle)
        raise UnsupportedImage(
            f"the lesion at ({at}) lies outside of the volume: places are to be LPS, in mm"
            + _likely_frame(middle, grid)
        )


def _is_inside(point_mm: npt.NDArray[np.float64], grid: Grid) -> bool:
    index = np.linalg.solve(grid.affine_lps_mm, np.append(point_mm, 1))[:3]
    return bool((index >= -0.5).all() and (index <= np.asarray(grid.shape) - 0.5).all())


def _likely_frame(place: npt.NDArray[np.float64], grid: Grid) -> str:
    """What else its numbers may mean: the first of the usual mistakes that fits."""
    if _is_inside(place * (-1, -1, 1), grid):
        return "; with x and y of the other sign it would lie inside, so they may be RAS"
    if (place[::-1] >= 0).all() and (place[::-1] < grid.shape).all():
        return "; as column, row and slice it would lie inside, so they may be voxels"
    return ""


def _lesion(row: Row, case: Case, volume: Volume) -> TrueLesion:
    if row.pixels is not None:
        return _pixel_box(row, row.pixels, case, volume.grid)
    middle = np.asarray(row.point_mm, dtype=float)
    known = row.diameter_mm is not None and row.diameter_mm > 0
    diameter = float(row.diameter_mm or 0) if known else _UNKNOWN_MM
    return TrueLesion(
        volume=case.name,
        low_mm=_corner(middle - diameter / 2),
        high_mm=_corner(middle + diameter / 2),
        is_sphere=True,
        size_mm=diameter if known else None,
        kind=row.type,
        counts=not row.ignored,
    )


def _pixel_box(row: Row, pixels: Sequence[float], case: Case, grid: Grid) -> TrueLesion:
    """Size: the longer side of the box in the slice, which is no diameter but all there is."""
    if not case.slices:
        raise UnsupportedImage("boxes in pixels need PNG slices, whose numbers they name")
    x1, y1, z1, x2, y2, z2 = pixels
    last = max(case.slices)
    step_z, step_y, step_x = grid.spacing_mm
    # z is a slice's number, which counts towards the feet, and a box ends at that slice's far side.
    low = np.array([x1 * step_x, y1 * step_y, (last - z2 - 0.5) * step_z])
    high = np.array([x2 * step_x, y2 * step_y, (last - z1 + 0.5) * step_z])
    return TrueLesion(
        volume=case.name,
        low_mm=_corner(low),
        high_mm=_corner(high),
        is_sphere=False,
        size_mm=float((high - low)[:2].max()),
        kind=row.type,
        counts=not row.ignored,
    )


def _corner(point: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    return float(point[0]), float(point[1]), float(point[2])


def _in_mask(path: Path, labels: Mapping[int, str], name: str, grid: Grid) -> Iterator[TrueLesion]:
    if path.suffix == ".dcm":
        for kind, mask in _segments(path, grid):
            yield from _parts(mask, kind, name, grid)
        return
    truth = read_truth(path, grid)
    for number in np.unique(truth[truth > 0]).tolist():
        yield from _parts(truth == number, labels.get(number, ""), name, grid)


def _segments(path: Path, grid: Grid) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Type and mask of every segment, on the grid of the image."""
    import highdicom

    try:
        seg = highdicom.seg.segread(path)
        volume = seg.get_volume(combine_segments=False)
    except (InvalidDicomError, ValueError, RuntimeError, AttributeError, TypeError) as exc:
        raise UnsupportedImage(f"{path.name} is no Segmentation of one regular volume") from exc
    placed = Grid(
        affine_lps_mm=np.asarray(volume.affine, dtype=float),
        shape=tuple(volume.array.shape[:3]),
        frame_of_reference_uid=None,
    )
    for channel, number in enumerate(seg.segment_numbers):
        label = str(seg.get_segment_description(number).segment_label)
        mask = to_grid(volume.array[..., channel].T, ras_affine(placed), grid)
        yield label.rstrip("0123456789 "), np.asarray(mask) > 0


def _parts(mask: npt.NDArray[np.bool_], kind: str, name: str, grid: Grid) -> Iterator[TrueLesion]:
    """Each connected part as its box; size: the longest diameter in its largest slice."""
    parts, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    for number, where in enumerate(ndimage.find_objects(parts), start=1):
        part = parts[where] == number
        ends = np.array([[axis.start - 0.5, axis.stop - 0.5] for axis in where])
        corners = np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1)
        placed = grid.affine_lps_mm[:3, :3] @ corners + grid.affine_lps_mm[:3, 3:]
        spacing = np.array(grid.spacing_mm[1:])
        axis, _ = recist_axes(part[int(part.sum((1, 2)).argmax())], (spacing[0], spacing[1]))
        yield TrueLesion(
            volume=name,
            low_mm=_corner(placed.min(1)),
            high_mm=_corner(placed.max(1)),
            is_sphere=False,
            size_mm=float(np.linalg.norm((axis[1] - axis[0]) * spacing)),
            kind=kind,
        )
