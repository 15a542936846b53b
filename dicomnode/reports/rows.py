"""Reports out of a CSV file, one row at a time; a bad row is kept and says what is wrong."""

import csv
import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicomnode.domain.errors import ReportError
from dicomnode.domain.reports import Report, ReportPart

LONGEST_CELL = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the source."""

    number: int
    """Counted from 1, without the header; blank lines count."""
    report_id: str
    report: Report
    faults: tuple[str, ...]


def numbered_rows(reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str], str | None]]:
    """Number from 1, cells and what made a row unreadable; blank rows count but are left out."""
    number = 0
    while True:
        number += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as exc:
            yield number, [], f"unreadable row: {exc}"
            continue
        if cells:
            yield number, cells, None


ID_OPTION, TEXT_OPTION = "--id-column", "--text-columns"


def column_of(header: Sequence[str], name: str, source: Path, option: str) -> int:
    """Where a column stands; `option` of the command would name another.

    Raises:
        ReportError: the table has none of this name; the nearest one is named.
    """
    if name in header:
        return header.index(name)
    near = difflib.get_close_matches(name, header, n=1)
    # Without a line of names the first report stands in its place: it is not repeated.
    hint = (
        f"did you mean {near[0]!r}?"
        if near
        else f"none of its {len(header)} is called so; its first line has to name them"
    )
    raise ReportError(f"{source} has no column {name!r} ({option} names another); {hint}")


def read_rows(source: Path, *, id_column: str, text_columns: Sequence[str]) -> Iterator[Row]:
    """Every row, in order.

    Raises:
        ReportError: the file cannot be read, or a column is missing.
    """
    # The only setting the csv module offers for this is one for the whole process.
    csv.field_size_limit(LONGEST_CELL)
    try:
        with source.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            places = (
                column_of(header, id_column, source, ID_OPTION),
                *(column_of(header, name, source, TEXT_OPTION) for name in text_columns),
            )
            layout = _Layout(width=len(header), places=places, names=tuple(text_columns))
            for number, cells, fault in numbered_rows(reader):
                yield _row(number, cells, layout, fault=fault)
    except OSError as exc:
        raise ReportError(f"cannot read {source}: {exc.strerror}") from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where a table keeps what is wanted of it."""

    width: int
    places: tuple[int, ...]
    """Of the id, then of each text."""
    names: tuple[str, ...]


def _row(number: int, cells: list[str], layout: _Layout, *, fault: str | None) -> Row:
    if fault is None and len(cells) != layout.width:
        fault = f"{len(cells)} cells where the header has {layout.width}"
    filled = cells + [""] * (layout.width - len(cells))
    report_id, *texts = (filled[place] for place in layout.places)
    if fault is None and not report_id.strip():
        fault = "no id"
    parts = tuple(
        ReportPart(name=name, text=text) for name, text in zip(layout.names, texts, strict=True)
    )
    return Row(
        number=number,
        report_id=report_id,
        report=Report(report_id=report_id, parts=parts),
        faults=(fault,) if fault is not None else (),
    )
