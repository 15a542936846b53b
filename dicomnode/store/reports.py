"""Reports come in: kept once, in all their versions."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, tuple_, update

from dicomnode.domain.incoming_reports import IncomingReport, Kept, KeptReport
from dicomnode.store.database import Database
from dicomnode.store.tables import ReportPartRow, ReportRow

LARGEST_BATCH = 1000
"""Reports in one commit; more is cut up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    """One version of a report that the index holds."""

    id: int
    content_sha256: str
    issued_at: datetime | None


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

    A message or a text that is there already adds nothing. A later version of a report becomes
    the current one, unless its source dates it before the version that is there.

    Raises:
        StoreError: nothing of the batch in hand was kept.
    """
    kept: list[KeptReport] = []
    for first in range(0, len(reports), LARGEST_BATCH):
        with database.writing() as connection:
            for run in _runs(reports[first : first + LARGEST_BATCH]):
                kept.extend(_keep_run(connection, run, now))
    return kept


def _runs(reports: Sequence[IncomingReport]) -> Iterator[list[IncomingReport]]:
    """Stretches in which no report depends on another one of the same stretch."""
    run: list[IncomingReport] = []
    names: set[tuple[str, str]] = set()
    for report in reports:
        own = {("name", report.name), ("message", report.message_id or report.name)}
        if report.predecessor_id:
            own.add(("name", report.predecessor_id))
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
    messages = _known_messages(connection, reports)
    known = _known_versions(connection, reports)
    decided = [_decide(report, messages, known) for report in reports]
    ids = iter(_insert(connection, [one for one in decided if isinstance(one, _Addition)], now))
    return [
        KeptReport(report_id=next(ids), outcome=one.outcome) if isinstance(one, _Addition) else one
        for one in decided
    ]


def _decide(
    report: IncomingReport,
    messages: Mapping[tuple[str, str], int],
    known: Mapping[tuple[str, str], _Known],
) -> KeptReport | _Addition:
    """A duplicate of something, or a version to add."""
    source = report.source.value
    seen = messages.get((source, report.message_id)) if report.message_id else None
    if seen is not None:
        return KeptReport(report_id=seen, outcome=Kept.DUPLICATE)
    own = known[(source, report.name)]
    if _is_older(report, own.current):
        same = [one for one in own.versions if one.content_sha256 == report.content_sha256]
        if same:
            return KeptReport(report_id=same[0].id, outcome=Kept.DUPLICATE)
        number = len(own.versions) + 1
        return _Addition(report=report, number=number, outcome=Kept.OUTDATED, replaced=None)
    replaced = own.current or known[(source, report.predecessor_id)].current
    if own.current is not None and own.current.content_sha256 == report.content_sha256:
        return KeptReport(report_id=own.current.id, outcome=Kept.DUPLICATE)
    return _Addition(
        report=report,
        number=len(own.versions) + 1,
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
    statement = insert(ReportRow).returning(ReportRow.id, sort_by_parameter_order=True)
    ids = list(connection.scalars(statement, [_row(one, now) for one in additions]))
    parts = [
        {"report_id": report_id, "number": number, "name": part.name, "text": storable(part.text)}
        for report_id, one in zip(ids, additions, strict=True)
        for number, part in enumerate(one.report.parts)
    ]
    if parts:
        connection.execute(insert(ReportPartRow), parts)
    retired = [one.replaced for one in additions if one.replaced is not None]
    if retired:
        connection.execute(
            update(ReportRow).where(ReportRow.id.in_(retired)).values(is_current=False)
        )
    return ids


def _row(addition: _Addition, now: datetime) -> dict[str, Any]:
    report = addition.report
    return {
        "source": report.source.value,
        "source_id": report.name,
        "number": addition.number,
        "message_id": report.message_id,
        "content_sha256": report.content_sha256,
        "status": report.status.value,
        "is_current": addition.outcome is not Kept.OUTDATED,
        "supersedes_id": addition.replaced,
        "issued_at": report.issued_at,
        "received_at": now,
        "patient_id": report.patient_id,
        "patient_birth_date": report.patient_birth_date,
        "patient_sex": report.patient_sex,
        "accession_number": report.accession_number,
        "stated_study_uid": report.study_uid,
        "study_date": report.study_date,
        "modality": report.modality,
        "referring_unit": report.referring_unit,
    }


def storable(text: str) -> str:
    """`text` with what no database takes replaced one for one, so that places stay the same.

    PostgreSQL refuses the code point 0, both databases refuse lone surrogates.
    """
    if "\0" in text or any("\ud800" <= each <= "\udfff" for each in text):
        return "".join("�" if c == "\0" or "\ud800" <= c <= "\udfff" else c for c in text)
    return text


def _known_versions(
    connection: Connection, reports: Sequence[IncomingReport]
) -> Mapping[tuple[str, str], _Known]:
    names = {(report.source.value, report.name) for report in reports}
    names |= {(one.source.value, one.predecessor_id) for one in reports if one.predecessor_id}
    query = (
        select(
            ReportRow.source,
            ReportRow.source_id,
            ReportRow.id,
            ReportRow.content_sha256,
            ReportRow.issued_at,
            ReportRow.is_current,
        )
        .where(tuple_(ReportRow.source, ReportRow.source_id).in_(sorted(names)))
        .order_by(ReportRow.number)
    )
    found: dict[tuple[str, str], _Known] = defaultdict(_Known)
    for row in connection.execute(query):
        known = found[(row.source, row.source_id)]
        version = _Version(id=row.id, content_sha256=row.content_sha256, issued_at=row.issued_at)
        known.versions.append(version)
        if row.is_current:
            known.current = version
    return found


def _known_messages(
    connection: Connection, reports: Sequence[IncomingReport]
) -> Mapping[tuple[str, str], int]:
    ids = sorted({report.message_id for report in reports if report.message_id})
    if not ids:
        return {}
    query = select(ReportRow.source, ReportRow.message_id, ReportRow.id).where(
        ReportRow.message_id.in_(ids)
    )
    return {(row.source, row.message_id): row.id for row in connection.execute(query)}
