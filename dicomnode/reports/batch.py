"""Label a table of reports: a CSV file in, a CSV file out, with flat memory."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

from dicomnode.domain.reports import Label
from dicomnode.reports.atomic import AtomicText
from dicomnode.reports.export import mention_record
from dicomnode.reports.mining import Miner
from dicomnode.reports.opening import MinerSetup, open_miner
from dicomnode.reports.rows import Row, read_rows
from dicomnode.reports.workers import in_order

CHUNK = 500
"""Reports mined together."""
_CELLS = {Label.POSITIVE: "1", Label.NEGATIVE: "0", Label.UNCERTAIN: "-1", Label.NOT_MENTIONED: ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSummary:
    """What became of one table."""

    rows: int
    flagged: int
    """Rows that could not be read as a report; the reasons are in `flags`."""
    flags: Path | None
    """CSV of row number, id and reason; None if nothing was flagged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """One row of the output, with the lines that go beside it."""

    cells: tuple[str, ...]
    reasons: tuple[str, ...]
    mentions: tuple[str, ...]


def label_csv(
    source: Path,
    output: Path,
    *,
    id_column: str = "uid",
    text_columns: Sequence[str] = ("findings", "impression"),
    setup: MinerSetup,
    workers: int = 1,
    mentions: Path | None = None,
    progress: Callable[[int], None] = lambda _rows: None,
) -> BatchSummary:
    """Label every row of `source` into `output`, in order.

    `output` has the id column, one column per label (1 positive, 0 negative, -1 uncertain, blank
    not mentioned) and `normal` (1 or 0). It appears whole or not at all, and so do `mentions`
    (JSON lines) and the flags. A row that cannot be read is kept, blank, and flagged.

    Raises:
        ReportError: the file or one of its columns is missing.
        ConfigError: a lexicon or the policy cannot be used.
    """
    columns = open_miner(setup).lexicon.columns
    flags = output.with_name(output.name + ".flags.csv")
    rows = read_rows(source, id_column=id_column, text_columns=text_columns)
    done = flagged = 0
    with AtomicText(output) as table, AtomicText(flags) as reasons, AtomicText(mentions) as spans:
        writer, flag_writer = csv.writer(table.file), csv.writer(reasons.file)
        writer.writerow([id_column, *columns, "normal"])
        flag_writer.writerow(["row", id_column, "reason"])
        chunks = _chunks(rows, CHUNK)
        work = _answer if mentions is None else _answer_with_mentions
        for chunk, answers in in_order(work, chunks, setup, workers):
            for row, answer in zip(chunk, answers, strict=True):
                writer.writerow([row.report_id, *answer.cells])
                spans.file.writelines(answer.mentions)
                for reason in answer.reasons:
                    flag_writer.writerow([row.number, row.report_id, reason])
                flagged += bool(answer.reasons)
            done += len(chunk)
            progress(done)
        reasons.wanted = flagged > 0
    return BatchSummary(rows=done, flagged=flagged, flags=flags if flagged else None)


@cache
def _miner(setup: MinerSetup) -> Miner:
    """One miner per process: it remembers the sentences it has read."""
    return open_miner(setup)


def _answer(setup: MinerSetup, rows: Sequence[Row]) -> list[_Answer]:
    miner = _miner(setup)
    return [
        _Answer(
            cells=(
                *(
                    _CELLS[bare.values.get(name, Label.NOT_MENTIONED)]
                    for name in miner.lexicon.columns
                ),
                _cell(bare.normal),
            ),
            reasons=(*row.faults, *(flag.value for flag in bare.flags)),
            mentions=(),
        )
        for row, bare in zip(rows, miner.values([row.report for row in rows]), strict=True)
    ]


def _answer_with_mentions(setup: MinerSetup, rows: Sequence[Row]) -> list[_Answer]:
    miner = _miner(setup)
    return [
        _Answer(
            cells=(
                *(_CELLS[mined.labels[name].value] for name in miner.lexicon.columns),
                _cell(mined.normal),
            ),
            reasons=(*row.faults, *(flag.value for flag in mined.flags)),
            mentions=tuple(
                json.dumps(mention_record(row.report, mention, miner.lexicon)) + "\n"
                for mention in mined.mentions
            ),
        )
        for row, mined in zip(rows, miner.mine([row.report for row in rows]), strict=True)
    ]


def _cell(normal: bool) -> str:
    return "1" if normal else "0"


def _chunks(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    source = iter(rows)
    while chunk := list(islice(source, size)):
        yield chunk
