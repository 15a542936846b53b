"""Marks of DeepLesion (NIH; Yan et al. 2018): the table `DL_info.csv`, and slabs around its slices.

Images lie below one folder as they are published: `000001_01_01/109.png`, 16 bit, HU + 32768,
numbers rising towards the feet. Only key slices are marked, and not every lesion of them.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from dicomnode.networks.slice_losses import UNKNOWN_TYPE, MarkedSlice

__all__ = ["TYPES", "KeySlice", "Part", "plane_of", "read_deep_lesion", "slab_of"]

TYPES = ("bone", "abdomen", "mediastinum", "liver", "lung", "kidney", "soft tissue", "pelvis")
"""Coarse types 1 to 8 of the table; here from 0."""
_PNG_ZERO = 32768
_NAMES = {
    "file": "file_name",
    "ends": "measurement_coordinates",
    "box": "bounding_boxes",
    "type": "coarse_lesion_type",
    "noisy": "possibly_noisy",
    "spacing": "spacing_mm_px_",
    "part": "train_val_test",
}
_COMPLETE = "complete"
"""A column that DeepLesion has not: 1 where every lesion of the slice is marked."""


class Part(Enum):
    """The publishers' division, by patient."""

    TRAIN = 1
    VALIDATION = 2
    TEST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySlice:
    """One slice with its marks."""

    volume: str
    """Patient, study and series: 000001_01_01."""
    number: int
    spacing_mm: tuple[float, float, float]
    """x, y, z."""
    part: Part
    marks: MarkedSlice
    """Pixels; the centre of the first pixel lies at 0.5."""

    @property
    def patient(self) -> str:
        """Patients, not slices, are divided into parts."""
        return self.volume.split("_")[0]


def read_deep_lesion(table: Path) -> list[KeySlice]:
    """Every slice of the table, marks that its publishers call possibly noisy left out.

    Raises:
        ValueError: naming the line and what is wrong with it.
    """
    rows: dict[str, list[tuple[int, Mapping[str, str]]]] = {}
    with table.open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            named = {(key or "").strip().lower(): (cell or "").strip() for key, cell in row.items()}
            missing = [name for name in _NAMES.values() if name not in named]
            if missing:
                raise ValueError(f"{table.name} has no column {missing[0]}")
            if named[_NAMES["noisy"]] not in ("1", "1.0"):
                rows.setdefault(named[_NAMES["file"]], []).append((number, named))
    return [_slice(name, told, table.name) for name, told in rows.items()]


def _slice(file: str, rows: Sequence[tuple[int, Mapping[str, str]]], table: str) -> KeySlice:
    volume, _, number = file.removesuffix(".png").rpartition("_")
    told = []
    for line, row in rows:
        try:
            told.append(_mark(row))
        except ValueError as exc:
            raise ValueError(f"{table}, line {line}: {exc}") from exc
    line, first = rows[0]
    try:
        x, y, z = _numbers(first[_NAMES["spacing"]], 3)
        return KeySlice(
            volume=volume,
            number=int(number),
            spacing_mm=(x, y, z),
            part=Part(int(float(first[_NAMES["part"]]))),
            marks=MarkedSlice(
                # The table counts from the centre of the first pixel.
                boxes=torch.tensor([box for box, _, _ in told]) + 0.5,
                types=torch.tensor([kind for _, _, kind in told]),
                ends=torch.tensor([ends for _, ends, _ in told]).unflatten(1, (4, 2)) + 0.5,
                complete=all(row.get(_COMPLETE) == "1" for _, row in rows),
            ),
        )
    except ValueError as exc:
        raise ValueError(f"{table}, line {line}: {exc}") from exc


def _mark(row: Mapping[str, str]) -> tuple[list[float], list[float], int]:
    """Box, ends and type of one row."""
    box = _numbers(row[_NAMES["box"]], 4)
    kind = int(float(row[_NAMES["type"]]))
    if box[0] >= box[2] or box[1] >= box[3]:
        raise ValueError("a box ends before it begins")
    if kind != -1 and not 1 <= kind <= len(TYPES):
        raise ValueError(f"{kind} is no type of lesion")
    told = row[_NAMES["ends"]]
    ends = _numbers(told, 8) if told else [float("nan")] * 8
    return box, ends, kind - 1 if kind > 0 else UNKNOWN_TYPE


def _numbers(text: str, count: int) -> list[float]:
    told = [float(each) for each in text.split(",")]
    if len(told) != count or not np.isfinite(told).all():
        raise ValueError(f"{text!r} is not {count} numbers")
    return told


def slab_of(images: Path, one: KeySlice, *, slices: int, apart_mm: float = 2.0) -> Tensor:
    """HU `(slices, rows, columns)` around a key slice, from head to feet, `apart_mm` apart.

    Published volumes lie 1 or 5 mm apart: what lies between two slices is interpolated, and beyond
    those that are there the last one is repeated.

    Raises:
        FileNotFoundError: the key slice itself is not there.
    """
    folder = images / one.volume
    step = apart_mm / one.spacing_mm[2]
    half = slices // 2
    wanted = [one.number + step * n for n in range(-half, half + 1)]
    planes: dict[int, Tensor] = {one.number: plane_of(folder / f"{one.number:03d}.png")}

    def at(number: int) -> Tensor:
        toward = 1 if number < one.number else -1
        while number not in planes:
            path = folder / f"{number:03d}.png"
            if path.exists():
                planes[number] = plane_of(path)
            else:
                number += toward
        return planes[number]

    found = []
    for place in wanted:
        below = int(np.floor(place + 1e-6))
        share = max(place - below, 0.0)
        plane = at(below)
        found.append(plane if share < 1e-3 else torch.lerp(plane, at(below + 1), share))
    joined = torch.stack(found)
    pad = [0, -joined.shape[2] % 16, 0, -joined.shape[1] % 16]
    return functional.pad(joined, pad, value=-1024.0)


def plane_of(path: Path) -> Tensor:
    """HU of one published slice, `(rows, columns)`; what is darker than air is air."""
    with Image.open(path) as image:
        values = np.asarray(image).astype(np.float32) - _PNG_ZERO
    return torch.from_numpy(np.maximum(values, -1024.0))
