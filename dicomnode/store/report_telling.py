"""What the index knows of reports, for people to read."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, func, select
from sqlalchemy.orm import aliased

from dicomnode.domain.errors import StudyError
from dicomnode.store.database import Database
from dicomnode.store.tables import (
    MentionRow,
    MiningVersionRow,
    ReportLabelRow,
    ReportPartRow,
    ReportReadingRow,
    ReportRow,
)


class UnknownReport(StudyError):
    """There is no report of that number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportLine:
    """One report in a list."""

    id: int
    source: str
    source_id: str
    number: int
    status: str
    received_at: datetime
    study_uid: str | None
    match_note: str
    positive: tuple[str, ...]
    """Labels in force that are positive."""
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MentionTold:
    """One mention with its words."""

    number: int
    part: int
    concept: str
    label: str | None
    words: str
    start: int
    end: int
    sentence: str
    assertion: str
    hedge: str
    circumstance: str
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTold:
    """One label and what decided it."""

    name: str
    value: int
    mention: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartTold:
    """One field of the text."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportTold:
    """A report, its labels in force and the words they come from."""

    line: ReportLine
    is_current: bool
    matched_by: str | None
    remarks: str
    """What was odd about it when it came."""
    version: str
    parts: tuple[PartTold, ...]
    mentions: tuple[MentionTold, ...]
    labels: tuple[LabelTold, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionTold:
    """A version of the miner."""

    id: int
    miner: str
    lexicon: str
    policy: str
    first_used_at: datetime
    reports_read: int
    reports_in_force: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Reports whose label changed in one way between two versions."""

    name: str
    before: int | None
    """1, 0, -1; None: not mentioned."""
    after: int | None
    reports: int
    examples: tuple[int, ...]
    """Numbers of some of them."""


def versions(database: Database) -> list[VersionTold]:
    """Every version of the miner that has been used, oldest first."""
    with database.reading() as connection:
        read = _counts(connection, ReportReadingRow.version_id)
        in_force = _counts(connection, ReportRow.version_id)
        rows = connection.execute(select(MiningVersionRow).order_by(MiningVersionRow.id)).all()
    return [
        VersionTold(
            id=row.id,
            miner=row.miner,
            lexicon=row.lexicon,
            policy=row.policy,
            first_used_at=row.first_used_at,
            reports_read=read.get(row.id, 0),
            reports_in_force=in_force.get(row.id, 0),
        )
        for row in rows
    ]


def _counts(connection: Connection, column: object) -> dict[int, int]:
    query = select(column, func.count()).group_by(column)  # type: ignore[call-overload]
    return {key: count for key, count in connection.execute(query) if key is not None}


def latest_reports(
    database: Database, limit: int, *, before: int | None = None, unmatched: bool = False
) -> list[ReportLine]:
    """Current reports, newest first; `before`: older than the report of that number."""
    query = select(ReportRow.id).where(ReportRow.is_current).order_by(ReportRow.id.desc())
    if before is not None:
        query = query.where(ReportRow.id < before)
    if unmatched:
        query = query.where(ReportRow.study_uid.is_(None), ReportRow.match_note != "")
    with database.reading() as connection:
        return _lines(connection, list(connection.scalars(query.limit(limit))))


def _lines(connection: Connection, ids: Sequence[int]) -> list[ReportLine]:
    rows = {
        row.id: row for row in connection.execute(select(ReportRow).where(ReportRow.id.in_(ids)))
    }
    positive: dict[int, list[str]] = {}
    labels = (
        select(ReportLabelRow.report_id, ReportLabelRow.name)
        .join(
            ReportRow,
            and_(
                ReportRow.id == ReportLabelRow.report_id,
                ReportRow.version_id == ReportLabelRow.version_id,
            ),
        )
        .where(ReportRow.id.in_(ids), ReportLabelRow.value == 1)
        .order_by(ReportLabelRow.name)
    )
    for row in connection.execute(labels):
        positive.setdefault(row.report_id, []).append(row.name)
    flags = (
        select(ReportReadingRow.report_id, ReportReadingRow.flags)
        .join(
            ReportRow,
            and_(
                ReportRow.id == ReportReadingRow.report_id,
                ReportRow.version_id == ReportReadingRow.version_id,
            ),
        )
        .where(ReportRow.id.in_(ids))
    )
    flagged = {row.report_id: tuple(row.flags or ()) for row in connection.execute(flags)}
    return [
        ReportLine(
            id=each,
            source=rows[each].source,
            source_id=rows[each].source_id,
            number=rows[each].number,
            status=rows[each].status,
            received_at=rows[each].received_at,
            study_uid=rows[each].study_uid,
            match_note=rows[each].match_note,
            positive=tuple(positive.get(each, ())),
            flags=flagged.get(each, ()),
        )
        for each in ids
    ]


def report(database: Database, report_id: int) -> ReportTold:
    """One report with everything it says.

    Raises:
        UnknownReport: there is none of that number.
    """
    with database.reading() as connection:
        row = connection.execute(select(ReportRow).where(ReportRow.id == report_id)).one_or_none()
        if row is None:
            raise UnknownReport(f"there is no report {report_id}")
        parts = connection.execute(
            select(ReportPartRow.name, ReportPartRow.text)
            .where(ReportPartRow.report_id == report_id)
            .order_by(ReportPartRow.number)
        ).all()
        mentions = connection.execute(
            select(MentionRow)
            .where(MentionRow.report_id == report_id, MentionRow.version_id == row.version_id)
            .order_by(MentionRow.number)
        ).all()
        labels = connection.execute(
            select(ReportLabelRow)
            .where(
                ReportLabelRow.report_id == report_id, ReportLabelRow.version_id == row.version_id
            )
            .order_by(ReportLabelRow.value.desc(), ReportLabelRow.name)
        ).all()
        version = connection.execute(
            select(MiningVersionRow).where(MiningVersionRow.id == row.version_id)
        ).one_or_none()
        line = _lines(connection, [report_id])[0]
    return ReportTold(
        line=line,
        is_current=row.is_current,
        matched_by=row.matched_by,
        remarks=row.remarks or "",
        version=f"{version.policy}, lexicon {version.lexicon}" if version else "",
        parts=tuple(PartTold(name=part.name, text=part.text) for part in parts),
        mentions=tuple(
            MentionTold(
                number=each.number,
                part=each.part,
                concept=each.concept,
                label=each.label,
                words=parts[each.part].text[each.char_start : each.char_end],
                start=each.char_start,
                end=each.char_end,
                sentence=parts[each.part].text[each.sentence_start : each.sentence_end],
                assertion=each.assertion,
                hedge=each.hedge,
                circumstance=each.circumstance,
                rule=each.rule,
            )
            for each in mentions
        ),
        labels=tuple(
            LabelTold(name=each.name, value=each.value, mention=each.mention) for each in labels
        ),
    )


def differences(database: Database, before: int, after: int, examples: int = 3) -> list[Difference]:
    """How labels changed from one version to another, on the reports that both have read."""
    old, new = aliased(ReportLabelRow), aliased(ReportLabelRow)
    read_by_both = (
        select(ReportReadingRow.report_id)
        .where(ReportReadingRow.version_id == before)
        .intersect(select(ReportReadingRow.report_id).where(ReportReadingRow.version_id == after))
        .subquery()
    )
    joined = and_(new.version_id == after, new.report_id == old.report_id, new.name == old.name)
    lost_or_changed = (
        select(old.name, old.value.label("before"), new.value.label("after"), old.report_id)
        .join(read_by_both, read_by_both.c.report_id == old.report_id)
        .outerjoin(new, joined)
        .where(old.version_id == before)
        .where((new.value.is_(None)) | (new.value != old.value))
    )
    back = and_(old.version_id == before, old.report_id == new.report_id, old.name == new.name)
    gained = (
        select(new.name, old.value.label("before"), new.value.label("after"), new.report_id)
        .join(read_by_both, read_by_both.c.report_id == new.report_id)
        .outerjoin(old, back)
        .where(new.version_id == after, old.value.is_(None))
    )
    counts: dict[tuple[str, int | None, int | None], int] = {}
    shown: dict[tuple[str, int | None, int | None], list[int]] = {}
    with database.reading() as connection:
        for query in (lost_or_changed, gained):
            for name, was, is_now, report_id in connection.execute(query):
                key = (name, was, is_now)
                counts[key] = counts.get(key, 0) + 1
                if len(shown.setdefault(key, [])) < examples:
                    shown[key].append(report_id)
    return [
        Difference(
            name=name,
            before=was,
            after=is_now,
            reports=count,
            examples=tuple(shown[name, was, is_now]),
        )
        for (name, was, is_now), count in sorted(counts.items(), key=lambda each: -each[1])
    ]
