"""Reports out of files: CSV, JSON lines, or a folder of texts."""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from dicomnode.domain.errors import ReportError
from dicomnode.domain.incoming_reports import IncomingReport, ReportSource, ReportStatus
from dicomnode.domain.reports import ReportPart
from dicomnode.reports.rows import ID_OPTION, LONGEST_CELL, TEXT_OPTION, column_of, numbered_rows

ABOUT = (
    "patient_id",
    "patient_birth_date",
    "patient_sex",
    "accession_number",
    "study_uid",
    "study_date",
    "modality",
    "referring_unit",
)
"""What a row may say besides its text, under these names unless a layout says otherwise."""


SEXES = {"male": "M", "female": "F", "other": "O"}
_DAY = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})(?:\d{4}|\d{6})?(?!\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where a file keeps what."""

    collection: str
    """Goes before every id, so that row 1 of two files are two reports."""
    id_column: str = "uid"
    text_columns: tuple[str, ...] = ("findings", "impression")
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Name of `ABOUT`, `status` or `issued_at` -> column that holds it."""
    encoding: str = "utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """A row that is no report, and why."""

    number: int
    reason: str


def read_bulk(source: Path, layout: Layout) -> Iterator[IncomingReport | BadRow]:
    """Every report of a CSV file, a JSON lines file or a folder of `.txt`, with flat memory.

    Raises:
        ReportError: the source or a column cannot be read.
    """
    try:
        if source.is_dir():
            yield from _folder(source, layout)
        elif source.suffix.lower() in {".jsonl", ".ndjson", ".json"}:
            yield from _json_lines(source, layout)
        else:
            yield from _table(source, layout)
    except OSError as exc:
        raise ReportError(f"cannot read {source}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        hint = "; say which it is with --encoding, e.g. latin-1"
        raise ReportError(f"{source} is not {layout.encoding}{hint}") from exc
    except LookupError as exc:
        raise ReportError(f"there is no encoding {layout.encoding!r}") from exc


def _folder(source: Path, layout: Layout) -> Iterator[IncomingReport | BadRow]:
    for path in sorted(source.rglob("*.txt")):
        text = path.read_text(encoding=_encoding(layout))
        yield _report(
            {layout.id_column: path.relative_to(source).as_posix(), "": text}, layout, ("",)
        )


def _json_lines(source: Path, layout: Layout) -> Iterator[IncomingReport | BadRow]:
    with source.open(encoding=_encoding(layout)) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, RecursionError):
                yield BadRow(number=number, reason="not JSON")
                continue
            if not isinstance(row, dict):
                yield BadRow(number=number, reason="not a JSON object")
                continue
            cells = {str(k): "" if v is None else str(v) for k, v in row.items()}
            columns = tuple(name for name in layout.text_columns if name in cells)
            yield _checked(number, cells, layout, columns)


def _table(source: Path, layout: Layout) -> Iterator[IncomingReport | BadRow]:
    # The only setting the csv module offers for this is one for the whole process.
    csv.field_size_limit(LONGEST_CELL)
    with source.open(encoding=_encoding(layout), newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        column_of(header, layout.id_column, source, ID_OPTION)
        for name in layout.text_columns:
            column_of(header, name, source, TEXT_OPTION)
        for name in layout.renamed.values():
            column_of(header, name, source, "--column")
        for number, cells, unreadable in numbered_rows(reader):
            fault = unreadable
            if fault is None and len(cells) != len(header):
                fault = f"{len(cells)} cells where the header has {len(header)}"
            if fault is not None:
                yield BadRow(number=number, reason=fault)
            else:
                row = dict(zip(header, cells, strict=True))
                yield _checked(number, row, layout, layout.text_columns)


def _checked(
    number: int, row: Mapping[str, str], layout: Layout, columns: Sequence[str]
) -> IncomingReport | BadRow:
    if not row.get(layout.id_column, "").strip():
        return BadRow(number=number, reason="no id")
    if not columns:
        return BadRow(number=number, reason=f"none of {', '.join(layout.text_columns)}")
    try:
        return _report(row, layout, columns)
    except ValueError as exc:
        return BadRow(number=number, reason=str(exc))


def _report(row: Mapping[str, str], layout: Layout, columns: Sequence[str]) -> IncomingReport:
    def cell(name: str) -> str:
        return row.get(layout.renamed.get(name, name), "").strip()

    issued, status = cell("issued_at"), cell("status").lower()
    known = {each.value for each in ReportStatus}
    if status and status not in known:
        raise ValueError(f"status is none of {', '.join(sorted(known))}")
    about = {name: cell(name) for name in ABOUT}
    for name in ("study_date", "patient_birth_date"):
        about[name] = _day(about[name])
    about["patient_sex"] = SEXES.get(about["patient_sex"].lower(), about["patient_sex"])
    return IncomingReport(
        source=ReportSource.BULK,
        source_id=f"{layout.collection}/{row[layout.id_column].strip()}",
        parts=tuple(ReportPart(name=name or "report", text=row[name]) for name in columns),
        status=ReportStatus(status) if status else ReportStatus.FINAL,
        issued_at=_moment(issued) if issued else None,
        is_addendum=False,
        **about,
    )


def _day(text: str) -> str:
    """YYYYMMDD of an ISO 8601 or DICOM date, with or without a time; others as they are."""
    match = _DAY.match(text)
    return "".join(match.groups()) if match else text


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("issued_at is no ISO 8601 date and time") from None
    return moment.astimezone() if moment.tzinfo is None else moment


def _encoding(layout: Layout) -> str:
    """UTF-8 may begin with a byte order mark."""
    return "utf-8-sig" if layout.encoding.lower().replace("_", "-") == "utf-8" else layout.encoding
