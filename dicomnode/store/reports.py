"""Reports come in: kept once, in all their versions."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, text, update

from dicomnode.domain.incoming_reports import (
    ADDENDUM,
    IncomingReport,
    Kept,
    KeptReport,
    ReportSource,
)
from dicomnode.domain.reports import ReportPart
from dicomnode.store.bulk import insert_many
from dicomnode.store.database import Database
from dicomnode.store.report_values import fitting, storable
from dicomnode.store.summaries import recounted
from dicomnode.store.tables import ReportPartRow, ReportRow

LARGEST_BATCH = 1000
"""Reports in one commit; more is cut up."""

# Any number will do, as long as it is always the same.
_ONE_KEEPER = 0x7265706F7274

# Field of a report -> column. Other words under one of these are another version.
ABOUT = {
    "patient_id": ReportRow.patient_id,
    "patient_birth_date": ReportRow.patient_birth_date,
    "patient_sex": ReportRow.patient_sex,
    "accession_number": ReportRow.accession_number,
    "study_uid": ReportRow.stated_study_uid,
    "study_date": ReportRow.study_date,
    "modality": ReportRow.modality,
    "referring_unit": ReportRow.referring_unit,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    """One version of a report that the index holds."""

    id: int
    message_id: str
    content_sha256: str
    issued_at: datetime | None
    about: Mapping[str, str]
    """Values of `ABOUT`."""

    def says_the_same(self, report: IncomingReport) -> bool:
        """True if `report` has these words and contradicts nothing stated beside them.

        A sender that leaves out what it stated before takes nothing back.
        """
        return self.content_sha256 == report.content_sha256 and all(
            getattr(report, name) in {"", stated} for name, stated in self.about.items()
        )


@dataclass(slots=True, kw_only=True)
class _Known:
    """What the index holds of one report."""

    versions: list[_Version] = field(default_factory=list)
    current: _Version | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Addition:
    """A version that has to be inserted."""

    report: IncomingReport
    number: int
    outcome: Kept
    replaced: int | None


def keep_reports(
    database: Database, reports: Sequence[IncomingReport], now: datetime
) -> list[KeptReport]:
    """Keep every report, in order; what is returned is on disk. May be repeated.

    A text that is there already adds nothing, unless what is stated beside it (patient, accession
    number, ...) has changed. A later version of a report becomes the current one, unless its
    source dates it before the version that is there. Odd values are made to fit, with a remark.

    Raises:
        StoreError: nothing of the batch in hand was kept.
    """
    kept: list[KeptReport] = []
    for first in range(0, len(reports), LARGEST_BATCH):
        with database.writing() as connection:
            if not database.is_sqlite:
                # Two senders with one report must not both find that there is none yet; on SQLite
                # a writing transaction is alone by itself.
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ONE_KEEPER})
            batch = [fitting(report) for report in reports[first : first + LARGEST_BATCH]]
            for run in _runs(batch):
                kept.extend(_keep_run(connection, run, now))
    return kept


def _runs(reports: Sequence[IncomingReport]) -> Iterator[list[IncomingReport]]:
    """Stretches in which no report depends on another one of the same stretch."""
    run: list[IncomingReport] = []
    names: set[str] = set()
    for report in reports:
        own = {report.source_id, report.predecessor_id or report.source_id}
        if own & names:
            yield run
            run, names = [], set()
        run.append(report)
        names |= own
    if run:
        yield run


def _keep_run(
    connection: Connection, reports: Sequence[IncomingReport], now: datetime
) -> list[KeptReport]:
    known = _known_versions(connection, reports)
    decided = [_decide(_whole(connection, report, known), known) for report in reports]
    ids = iter(_insert(connection, [one for one in decided if isinstance(one, _Addition)], now))
    return [
        one
        if isinstance(one, KeptReport)
        else KeptReport(report_id=next(ids), outcome=one.outcome, remarks=one.report.remarks)
        for one in decided
    ]


def _whole(
    connection: Connection, report: IncomingReport, known: Mapping[tuple[str, str], _Known]
) -> IncomingReport:
    """A report with its addenda, whichever came first; sent once more, they are there already."""
    current = known[(report.source.value, report.source_id)].current
    if current is None or report.source is not ReportSource.HL7:
        return report
    own = [ReportPart(**_part(part)) for part in report.parts]
    if report.is_addendum:
        if _is_older(report, current):
            return report
        before = _parts_of(connection, current)
        is_there = before[-len(own) :] == own
        return replace(report, parts=tuple(before if is_there else [*before, *own]))
    text, addenda = _parted(_parts_of(connection, current))
    is_sent_again = text == own and report.message_id == current.message_id
    if not addenda or (text and not is_sent_again):
        return report
    # What was said last counts for the whole: the text is older than an addendum that overtook it.
    issued = max(filter(None, (report.issued_at, current.issued_at)), default=None)
    return replace(report, parts=(*own, *addenda), issued_at=issued)


def _parts_of(connection: Connection, version: _Version) -> list[ReportPart]:
    query = (
        select(ReportPartRow.name, ReportPartRow.text)
        .where(ReportPartRow.report_id == version.id)
        .order_by(ReportPartRow.number)
    )
    return [ReportPart(name=row.name, text=row.text) for row in connection.execute(query)]


def _parted(parts: Sequence[ReportPart]) -> tuple[list[ReportPart], list[ReportPart]]:
    """The text, and the addenda behind it."""
    last = len(parts)
    while last and parts[last - 1].name == ADDENDUM:
        last -= 1
    return [*parts[:last]], [*parts[last:]]


def _decide(
    report: IncomingReport, known: Mapping[tuple[str, str], _Known]
) -> KeptReport | _Addition:
    """A duplicate of something, or a version to add."""
    source = report.source.value
    own = known[(source, report.source_id)]
    is_older = _is_older(report, own.current)
    # An older version that is dated, or named by its message, may have been sent once more.
    candidates = [
        version
        for version in own.versions
        if is_older
        or version is own.current
        or (report.message_id and version.message_id == report.message_id)
    ]
    for version in candidates:
        if version.says_the_same(report):
            return KeptReport(report_id=version.id, outcome=Kept.DUPLICATE)
    number = len(own.versions) + 1
    if is_older:
        return _Addition(report=report, number=number, outcome=Kept.OUTDATED, replaced=None)
    replaced = own.current or known[(source, report.predecessor_id)].current
    return _Addition(
        report=report,
        number=number,
        outcome=Kept.SUPERSEDES if replaced else Kept.NEW,
        replaced=replaced.id if replaced else None,
    )


def _is_older(report: IncomingReport, current: _Version | None) -> bool:
    """True if the source itself dates this version before the current one."""
    if current is None or current.issued_at is None or report.issued_at is None:
        return False
    return report.issued_at < current.issued_at


def _insert(connection: Connection, additions: Sequence[_Addition], now: datetime) -> list[int]:
    """Insert versions with their text, retire what they replace; return their ids in order."""
    if not additions:
        return []
    ids = _new_ids(connection, len(additions))
    rows = [{"id": n, **_row(one, now)} for n, one in zip(ids, additions, strict=True)]
    connection.execute(insert(ReportRow), rows)
    parts = [
        {"report_id": report_id, "number": number, **_part(part)}
        for report_id, one in zip(ids, additions, strict=True)
        for number, part in enumerate(one.report.parts)
    ]
    insert_many(connection, ReportPartRow, parts)
    retired = [one.replaced for one in additions if one.replaced is not None]
    if retired:
        with recounted(connection, retired):
            connection.execute(
                update(ReportRow).where(ReportRow.id.in_(retired)).values(is_current=False)
            )
    return ids


def _new_ids(connection: Connection, count: int) -> list[int]:
    """The next numbers: asked for by themselves, rows can go in all at once."""
    if connection.dialect.name == "sqlite":
        last = connection.scalar(select(func.max(ReportRow.id))) or 0
        return list(range(last + 1, last + 1 + count))
    sequence = func.nextval(func.pg_get_serial_sequence("report", "id"))
    query = select(sequence).select_from(func.generate_series(1, count).alias())
    return sorted(connection.scalars(query))


def _part(part: ReportPart) -> dict[str, str]:
    return {"name": storable(part.name), "text": storable(part.text)}


def _row(addition: _Addition, now: datetime) -> dict[str, Any]:
    report = addition.report
    return {
        "source": report.source.value,
        "source_id": report.source_id,
        "number": addition.number,
        "message_id": report.message_id,
        "content_sha256": report.content_sha256,
        "status": report.status.value,
        "is_current": addition.outcome is not Kept.OUTDATED,
        "supersedes_id": addition.replaced,
        "issued_at": report.issued_at,
        "received_at": now,
        "remarks": report.remarks or None,
        **{column.key: getattr(report, name) for name, column in ABOUT.items()},
    }


def _known_versions(
    connection: Connection, reports: Sequence[IncomingReport]
) -> Mapping[tuple[str, str], _Known]:
    names = {(report.source.value, report.source_id) for report in reports}
    names |= {(one.source.value, one.predecessor_id) for one in reports if one.predecessor_id}
    query = (
        select(
            ReportRow.id,
            ReportRow.source,
            ReportRow.source_id,
            ReportRow.message_id,
            ReportRow.content_sha256,
            ReportRow.issued_at,
            ReportRow.is_current,
            *ABOUT.values(),
        )
        # Not in pairs: for a list of pairs SQLite reads the whole table.
        .where(ReportRow.source.in_({source for source, _ in names}))
        .where(ReportRow.source_id.in_(sorted({source_id for _, source_id in names})))
        .order_by(ReportRow.number)
    )
    found: dict[tuple[str, str], _Known] = defaultdict(_Known)
    for row in connection.execute(query):
        known = found[(row.source, row.source_id)]
        version = _version(row)
        known.versions.append(version)
        if row.is_current:
            known.current = version
    return found


def _version(row: Row[*tuple[Any, ...]]) -> _Version:
    return _Version(
        id=row.id,
        message_id=row.message_id,
        content_sha256=row.content_sha256,
        issued_at=row.issued_at,
        about={name: getattr(row, column.key) for name, column in ABOUT.items()},
    )
