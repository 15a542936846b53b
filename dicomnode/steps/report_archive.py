"""Work on a whole archive of reports: bring it in, read all of it again."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import islice

from dicomnode.domain.errors import StoreError
from dicomnode.domain.incoming_reports import IncomingReport, Kept, KeptReport, ReportStatus
from dicomnode.domain.reports import Report
from dicomnode.reports import Miner, MinerSetup, open_miner
from dicomnode.reports.bulk import BadRow
from dicomnode.reports.workers import in_order
from dicomnode.steps.reporting import read_reports, register_version
from dicomnode.store.database import Database
from dicomnode.store.readings import (
    Reading,
    StoredReport,
    put_in_force,
    record_readings,
    unmined_reports,
    unread_after,
)
from dicomnode.store.reports import keep_reports

CHUNK = 1000
"""Reports kept, and mined, together."""

Clock = Callable[[], datetime]
Progress = Callable[[int], None]


@dataclass(slots=True, kw_only=True)
class Imported:
    """What became of the rows of a file."""

    new: int = 0
    superseding: int = 0
    duplicates: int = 0
    outdated: int = 0
    mined: int = 0
    bad: list[BadRow] | None = None
    """The first hundred rows that are no report."""
    bad_rows: int = 0
    odd: list[KeptReport] | None = None
    """The first hundred reports with a remark."""
    odd_reports: int = 0

    @property
    def rows(self) -> int:
        """All rows seen."""
        return self.new + self.superseding + self.duplicates + self.outdated + self.bad_rows

    def count(self, kept: KeptReport) -> None:
        """Add what became of a report."""
        if kept.remarks:
            self.odd_reports += 1
            self.odd = [*(self.odd or []), kept][:100]
        match kept.outcome:
            case Kept.NEW:
                self.new += 1
            case Kept.SUPERSEDES:
                self.superseding += 1
            case Kept.DUPLICATE:
                self.duplicates += 1
            case Kept.OUTDATED:
                self.outdated += 1

    def note(self, row: BadRow) -> None:
        """Add a row that is no report."""
        self.bad_rows += 1
        self.bad = [*(self.bad or []), row][:100]


def import_reports(
    database: Database,
    rows: Iterable[IncomingReport | BadRow],
    *,
    setup: MinerSetup,
    workers: int,
    clock: Clock,
    progress: Progress,
) -> Imported:
    """Keep and mine every report. May be stopped at any moment and begun again.

    What an earlier run kept is found again by its id and content; what it did not get to mine is
    mined at the end.
    """
    made = Imported()
    version = register_version(database, _miner(setup), clock())

    def chunks() -> Iterator[list[StoredReport]]:
        source = iter(rows)
        while chunk := list(islice(source, CHUNK)):
            first = made.rows + 1
            reports = [row for row in chunk if isinstance(row, IncomingReport)]
            outcomes = iter(_keep(database, reports, clock()))
            kept: list[tuple[IncomingReport, KeptReport]] = []
            for number, row in enumerate(chunk, start=first):
                if isinstance(row, BadRow):
                    made.note(row)
                elif (outcome := next(outcomes)) is None:
                    made.note(BadRow(number=number, reason="the database refuses it"))
                else:
                    made.count(outcome)
                    kept.append((row, outcome))
            progress(made.rows)
            yield _to_mine(kept)
        seen = 0
        while left := [each for each in unmined_reports(database, CHUNK) if each.id > seen]:
            seen = left[-1].id
            yield left

    for _, readings in in_order(_read_chunk, chunks(), setup, workers):
        record_readings(database, version, readings, in_force=True)
        made.mined += len(readings)
    return made


def _keep(
    database: Database, reports: Sequence[IncomingReport], now: datetime
) -> list[KeptReport | None]:
    """What became of each report, in order; None: the database refuses that one.

    Values are made to fit beforehand, so this is for what cannot be foreseen: the batch is halved
    until the report is found that fails it.

    Raises:
        StoreError: the database cannot be reached.
    """
    try:
        return [*keep_reports(database, reports, now)]
    except StoreError as exc:
        if exc.retryable:
            raise
        if len(reports) <= 1:
            return [None for _ in reports]
        half = len(reports) // 2
        return [*_keep(database, reports[:half], now), *_keep(database, reports[half:], now)]


def _to_mine(kept: Sequence[tuple[IncomingReport, KeptReport]]) -> list[StoredReport]:
    """Those that were added, as the index holds them."""
    return [
        StoredReport(id=one.report_id, report=Report(report_id="", parts=report.parts))
        for report, one in kept
        if one.outcome is not Kept.DUPLICATE and report.status is not ReportStatus.CANCELLED
    ]


def remine_reports(
    database: Database,
    *,
    setup: MinerSetup,
    workers: int,
    clock: Clock,
    progress: Progress,
) -> int:
    """Read every report again; return the version, whose labels count once all are read.

    The labels of other versions are kept. May be stopped at any moment and begun again: only what
    this version has not read is read, by all workers.
    """
    version = register_version(database, _miner(setup), clock())
    done = 0
    while True:
        chunks = _unread(database, version)
        for _, readings in in_order(_read_chunk, chunks, setup, workers):
            record_readings(database, version, readings, in_force=False)
            done += len(readings)
            progress(done)
        # Reports that came in meanwhile are read by the next turn.
        if put_in_force(database, version):
            return version


def _unread(database: Database, version: int) -> Iterator[list[StoredReport]]:
    report_id = 0
    while chunk := unread_after(database, version, report_id, CHUNK):
        yield chunk
        report_id = chunk[-1].id


@cache
def _miner(setup: MinerSetup) -> Miner:
    """One miner a process: it remembers the sentences it has read."""
    return open_miner(setup)


def _read_chunk(setup: MinerSetup, reports: Sequence[StoredReport]) -> list[Reading]:
    return read_reports(_miner(setup), reports)
