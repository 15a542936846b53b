"""A labelled folder of radiographs: `dicomnode export dataset`'s layout, or ChestX-ray14's.

* ours: `images/`, `labels.csv` with a column a label (1, 0; blank and -1 for not known; a row
  whose `normal` is 1 denies the labels it leaves blank), `boxes.csv`;
* ChestX-ray14: `Data_Entry*.csv` with "Finding Labels" (`Effusion|Mass`), `BBox_List*.csv`,
  `test_list.txt`: the images it names are of the split `test`.

Column names are compared without case. Optional columns: `split`, `source` (images of different
sources are never compared with each other), age, sex, view.
"""

import csv
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from dicomnode.domain.errors import StudyError

Corners = tuple[float, float, float, float]

_COLUMNS = {
    "image": ("image", "image index"),
    "patient": ("patient", "patient id"),
    "labels": ("labels", "finding labels"),
    "age": ("age", "patient age"),
    "sex": ("sex", "patient sex", "patient gender"),
    "view": ("view", "view position"),
    "split": ("split",),
    "source": ("source",),
}
_BOX = {
    "image": ("image", "image index"),
    "finding": ("finding", "finding label", "label"),
    "x": ("x", "bbox [x"),
    "y": ("y",),
    "width": ("width", "w"),
    "height": ("height", "h]", "h"),
}
_PLACED = frozenset({"scale_x", "scale_y", "offset_x", "offset_y"})
"""Columns that tell where an export put the original in its picture."""
_NOT_LABELS = _PLACED | {
    *("study", "follow_up", "original_columns", "original_rows", "original_spacing_mm", "sha256"),
}
_YES, _NO = ("1", "1.0"), ("0", "0.0")
_NIH_FRAME = 1024
"""Pixels along each side of a ChestX-ray14 picture, in which its boxes are given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """One image with what is known of it."""

    name: str
    path: Path
    patient: str
    labels: Mapping[str, bool]
    """Label as `key_of` writes it; what is not known is not there."""
    positives_alone: bool
    """True: a label that is not there is absent (ChestX-ray14's layout)."""
    age: float | None
    sex: str
    view: str
    split: str
    source: str
    boxes: Mapping[str, tuple[Corners, ...]]
    """Label -> boxes, left, top, right, bottom as shares of width and height."""


def key_of(label: str) -> str:
    """`Pleural thickening`, `Pleural_Thickening` and `pleural-thickening` are one label."""
    key = re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")
    # ChestX-ray14's boxes call it otherwise than its labels do.
    return "infiltration" if key == "infiltrate" else key


def read_truths(root: Path, *, box_frame: int | None = None) -> list[Labelled]:
    """Every image of the folder that has a row in its table and a file.

    Args:
        root: the folder.
        box_frame: side in pixels of the square that boxes are given in; None: the picture's own
            for an export, else 1024.

    Raises:
        StudyError: there is no table, or none of its images.
    """
    rows = _rows(_table(root, ("labels.csv", "Data_Entry*.csv", "*_labels.csv")), _COLUMNS)
    boxes = _boxes(root)
    held_out = _held_out(root)
    files = _pictures(root)
    found = [
        _labelled(
            row if row.get("split") else {**row, "split": held_out.get(row["image"], "")},
            files[row["image"]],
            boxes.get(row["image"], {}),
            box_frame,
        )
        for row in rows
        if row.get("image", "") in files
    ]
    if not found:
        raise StudyError(f"no image that the table of {root} names was found below it")
    return found


def _table(root: Path, patterns: Sequence[str]) -> Path:
    for pattern in patterns:
        matches = sorted(root.glob(pattern))
        if matches:
            return matches[0]
    raise StudyError(f"{root} holds none of {', '.join(patterns)}")


def _rows(path: Path, columns: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Rows with our names for known columns, and `key_of` for others."""
    known = {name: ours for ours, names in columns.items() for name in names}
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream)
        header = [known.get(name.strip().lower(), key_of(name)) for name in next(reader, [])]
        if "image" not in header:
            raise StudyError(f"{path.name} has no column of images")
        return [dict(zip(header, row, strict=False)) for row in reader]


def _held_out(root: Path) -> dict[str, str]:
    """Image -> `test`, for those that ChestX-ray14's list of its test part names."""
    path = root / "test_list.txt"
    names = path.read_text(encoding="utf-8-sig").split() if path.is_file() else ()
    return dict.fromkeys(names, "test")


def _pictures(root: Path) -> dict[str, Path]:
    """Name as tables write it -> file; `x.png` in a table also stands for `x.jpg`."""
    found: dict[str, Path] = {}
    # Large data sets are often linked rather than copied.
    for folder, _, names in os.walk(root, followlinks=True):
        for path in (Path(folder) / name for name in sorted(names)):
            if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".dcm"):
                found[path.name] = path
                found.setdefault(f"{path.stem}.png", path)
    return found


def _boxes(root: Path) -> dict[str, dict[str, tuple[Corners, ...]]]:
    """Image -> label -> boxes in pixels of the frame they are given in."""
    found: dict[str, dict[str, tuple[Corners, ...]]] = {}
    for pattern in ("boxes.csv", "BBox_List*.csv", "*_boxes.csv"):
        for path in sorted(root.glob(pattern)):
            for row in _rows(path, _BOX):
                x, y, w, h = (float(row[name]) for name in ("x", "y", "width", "height"))
                of_image = found.setdefault(row["image"], {})
                label = key_of(row["finding"])
                of_image[label] = (*of_image.get(label, ()), (x, y, x + w, y + h))
            return found
    return found


def _labelled(
    row: Mapping[str, str],
    path: Path,
    boxes: Mapping[str, tuple[Corners, ...]],
    box_frame: int | None,
) -> Labelled:
    frame = box_frame or (_side(path) if boxes and row.keys() >= _PLACED else _NIH_FRAME)
    age = re.match(r"\s*(\d+)", row.get("age", ""))
    return Labelled(
        name=row["image"],
        path=path,
        patient=row.get("patient") or row["image"],
        labels=_labels(row),
        positives_alone="labels" in row,
        age=float(age.group(1)) if age else None,
        sex=row.get("sex", "").upper(),
        view=row.get("view", "").upper(),
        split=row.get("split", ""),
        source=row.get("source", ""),
        boxes={
            label: tuple((x / frame, y / frame, u / frame, v / frame) for x, y, u, v in some)
            for label, some in boxes.items()
        },
    )


def _side(path: Path) -> int:
    with Image.open(path) as picture:
        return max(picture.size)


def _labels(row: Mapping[str, str]) -> dict[str, bool]:
    """One column a label; in the other layout every label that is not named is absent."""
    if "labels" in row:
        return dict.fromkeys(map(key_of, row["labels"].split("|")), True)
    said = {
        name: value.strip()
        for name, value in row.items()
        if name not in _COLUMNS and name not in _NOT_LABELS
    }
    # A report on a normal chest names few of the diseases that it rules out.
    ruled_out = "" if said.get("normal") in _YES else None
    return {
        name: value in _YES
        for name, value in said.items()
        if value in _YES or value in _NO or value == ruled_out
    }


def truth_of(image: Labelled, label: str) -> float:
    """1, 0, or NaN for not known."""
    if label in image.labels:
        return float(image.labels[label])
    return 0.0 if image.positives_alone else float("nan")
