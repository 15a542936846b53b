"""Answers to questions in SQL: whole for a page, streamed for a download."""

import csv
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from io import StringIO
from threading import BoundedSemaphore

from dicomnode.domain.questions import (
    Answer,
    Bounds,
    Cell,
    Question,
    QuestionRefused,
    QuestionTooLong,
)
from dicomnode.store.asking import asked
from dicomnode.web.answers import BrokenOff
from dicomnode.web.context import Web

ROWS_SHOWN = 500
ROWS_DOWNLOADED = 1_000_000
MOST_AT_ONCE = 4
"""Questions that are answered at one time; more would slow the pages of everybody else."""
DOWNLOAD_FACTOR = 10
"""A download may take this many times as long as an answer on a page."""
_CHUNK = 32_000
_LIKE_A_FORMULA = ("=", "+", "-", "@", "\t", "\r")

_at_once = BoundedSemaphore(MOST_AT_ONCE)


class FileKind(Enum):
    """Forms of a download."""

    CSV = "csv"
    JSON = "json"

    @property
    def media_type(self) -> str:
        """For the header."""
        return "text/csv; charset=utf-8" if self is FileKind.CSV else "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An answer on a page."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    truncated: bool
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A query with the values of its parameters."""

    query: str
    values: Mapping[str, Cell]


def of_saved(web: Web, question: Question, given: Mapping[str, str]) -> Asked:
    """A saved question, as this database asks it.

    Raises:
        QuestionRefused: a parameter is missing, unknown or of another kind.
    """
    query = question.sqlite if web.database.is_sqlite else question.postgresql
    return Asked(query=query, values=question.values(given))


def answer_shown(web: Web, question: Asked) -> Shown:
    """The first rows of the answer.

    Raises:
        QuestionRefused: it is no question, or too many are being answered.
        QuestionTooLong: it was stopped.
    """
    started = time.monotonic()
    bounds = Bounds(seconds=web.settings.sql.time_limit_s, rows=ROWS_SHOWN)
    with _asked(web, question, bounds) as answer:
        rows = tuple(answer.rows)
        return Shown(
            columns=tuple(answer.columns),
            rows=rows,
            truncated=answer.truncated,
            seconds=time.monotonic() - started,
        )


def answer_streamed(web: Web, question: Asked, kind: FileKind) -> Iterator[bytes]:
    """The answer as a file, piece by piece. Whatever is refused is refused before the first piece.

    Raises:
        QuestionRefused: it is no question, or too many are being answered.
        QuestionTooLong: it was stopped before the first piece.
        BrokenOff: it was stopped in the middle, and half an answer must not look like a whole one.
    """
    seconds = web.settings.sql.time_limit_s * DOWNLOAD_FACTOR
    bounds = Bounds(seconds=seconds, rows=ROWS_DOWNLOADED)
    write = _as_csv if kind is FileKind.CSV else _as_json
    stack = ExitStack()
    try:
        pieces = _in_chunks(write(stack.enter_context(_asked(web, question, bounds))))
        first = next(pieces, "")
    except BaseException:
        stack.close()
        raise
    return _all(first, pieces, stack)


def _all(first: str, rest: Iterator[str], stack: ExitStack) -> Iterator[bytes]:
    with stack:
        yield first.encode()
        try:
            for piece in rest:
                yield piece.encode()
        except (QuestionRefused, QuestionTooLong) as exc:
            raise BrokenOff(str(exc)) from None


@contextmanager
def _asked(web: Web, question: Asked, bounds: Bounds) -> Iterator[Answer]:
    if not _at_once.acquire(blocking=False):
        raise QuestionRefused(
            f"{MOST_AT_ONCE} questions are being answered already; ask again in a moment"
        )
    try:
        with asked(
            web.database,
            question.query,
            question.values,
            bounds=bounds,
            reader_url=web.settings.sql.reader_url,
        ) as answer:
            yield answer
    finally:
        _at_once.release()


def _as_csv(answer: Answer) -> Iterator[str]:
    line = StringIO()
    writer = csv.writer(line)
    for row in _with_end(answer, tuple(answer.columns)):
        writer.writerow([_harmless(cell) for cell in row])
        yield line.getvalue()
        line.seek(0)
        line.truncate()


def _as_json(answer: Answer) -> Iterator[str]:
    before = "[\n"
    for row in _with_end(answer):
        cells = dict(zip(answer.columns, row, strict=True))
        yield before + json.dumps(cells, ensure_ascii=False)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _with_end(answer: Answer, *head: tuple[Cell, ...]) -> Iterator[tuple[Cell, ...]]:
    yield from head
    yield from answer.rows
    if answer.truncated:
        raise QuestionTooLong(f"more than {ROWS_DOWNLOADED} rows; narrow the question")


def _harmless(cell: Cell) -> Cell:
    """Text from peers that a spreadsheet would run as a formula is marked as text."""
    if isinstance(cell, str) and cell.startswith(_LIKE_A_FORMULA):
        return f"'{cell}"
    return cell


def _in_chunks(pieces: Iterator[str]) -> Iterator[str]:
    kept, size = [], 0
    for piece in pieces:
        kept.append(piece)
        size += len(piece)
        if size >= _CHUNK:
            yield "".join(kept)
            kept, size = [], 0
    yield "".join(kept)
