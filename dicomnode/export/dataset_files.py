"""The tables of an exported data set: our own, and the ones that ChestX-ray14's readers know."""

import csv
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dicomnode.domain.exporting import Split
from dicomnode.export.dataset import ImageLine, LeftOut
from dicomnode.reports.atomic import AtomicText

_ABOUT_IMAGE = (
    *("image", "patient", "study", "follow_up", "split", "age", "sex", "view"),
    *("original_columns", "original_rows", "original_spacing_mm"),
    *("scale_x", "scale_y", "offset_x", "offset_y", "sha256"),
)
_NIH_ENTRY = (
    *("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age"),
    *("Patient Gender", "View Position", "OriginalImage[Width", "Height]"),
    *("OriginalImagePixelSpacing[x", "y]"),
)
_NIH_BOX = ("Image Index", "Finding Label", "Bbox [x", "y", "w", "h]")


class DatasetTables:
    """Every table of a data set, written line by line; they appear together at the end."""

    def __init__(self, out: Path, labels: Sequence[str]) -> None:
        self._out = out
        self._labels = tuple(labels)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        named = [label for label in self._labels if label != "normal"]
        self._images = self._table("labels.csv", (*_ABOUT_IMAGE, *named, "normal"))
        self._named = named
        self._boxes = self._table(
            "boxes.csv", ("image", "finding", "code", "scheme", "x", "y", "width", "height")
        )
        self._left_out = self._table("left_out.csv", ("what", "name", "reason"))
        self._nih_entries = self._table("nih/Data_Entry.csv", _NIH_ENTRY)
        self._nih_boxes = self._table("nih/BBox_List.csv", _NIH_BOX)
        self._nih_train = self._text("nih/train_val_list.txt")
        self._nih_test = self._text("nih/test_list.txt")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def write(self, line: ImageLine | LeftOut) -> None:
        """One image, or what was left out."""
        if isinstance(line, LeftOut):
            self._left_out.writerow((line.what, line.name, line.reason))
            return
        self._write_ours(line)
        self._write_nih(line)

    def _write_ours(self, line: ImageLine) -> None:
        place = line.placement
        self._images.writerow(
            (
                *(line.image, line.patient, line.study, line.follow_up, line.split.value),
                *(_or_blank(line.age), line.sex, line.view, line.columns, line.rows),
                *(_or_blank(line.spacing_mm), f"{place.scale_x:.6g}", f"{place.scale_y:.6g}"),
                *(place.offset_x, place.offset_y, line.sha256),
                *(line.labels.get(label, "") for label in self._named),
                "" if line.normal is None else int(line.normal),
            )
        )
        for box in line.boxes:
            extent = (f"{value:.2f}" for value in box.extent)
            self._boxes.writerow((line.image, box.finding, box.code, box.scheme, *extent))

    def _write_nih(self, line: ImageLine) -> None:
        """Positive labels alone; what is hedged counts as not there, as in ChestX-ray14."""
        positive = [_title(label) for label in self._named if line.labels.get(label) == 1]
        spacing = _or_blank(line.spacing_mm)
        self._nih_entries.writerow(
            (
                *(line.image, "|".join(positive) or "No Finding", line.follow_up, line.patient),
                *(_or_blank(line.age), line.sex, line.view, line.columns, line.rows),
                *(spacing, spacing),
            )
        )
        for box in line.boxes:
            self._nih_boxes.writerow((line.image, box.finding, *(f"{v:.3f}" for v in box.extent)))
        target = self._nih_test if line.split is Split.TEST else self._nih_train
        target.write(f"{line.image}\n")

    def _table(self, name: str, header: Sequence[str]) -> Any:
        writer = csv.writer(self._text(name))
        writer.writerow(header)
        return writer

    def _text(self, name: str) -> Any:
        path = self._out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return self._stack.enter_context(AtomicText(path)).file


def _title(label: str) -> str:
    """`pleural_thickening` as ChestX-ray14 writes it: `Pleural_Thickening`."""
    return "_".join(word.capitalize() for word in label.split("_"))


def _or_blank(value: float | None) -> object:
    return "" if value is None else value
