"""What a version of the miner reads in reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, select, update

from dicomnode.domain.incoming_reports import ReportStatus
from dicomnode.domain.reports import (
    Assertion,
    Attributes,
    Code,
    Label,
    Mention,
    Report,
    ReportLabels,
    ReportPart,
    Section,
    StudyLabel,
    Versions,
)
from dicomnode.store.bulk import as_json, insert_many
from dicomnode.store.comparisons import take_turn
from dicomnode.store.database import Database
from dicomnode.store.summaries import put_sums_in_force, recounted
from dicomnode.store.tables import (
    Base,
    ConceptCodeRow,
    ImageReferenceRow,
    LabelNameRow,
    MentionRow,
    MiningVersionRow,
    ReportLabelRow,
    ReportPartRow,
    ReportReadingRow,
    ReportRow,
    ReportSectionRow,
)
from dicomnode.store.upsert import insert_new


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReport:
    """A report as it is mined."""

    id: int
    report: Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All that one report says."""

    report_id: int
    sections: Sequence[Section]
    labels: ReportLabels


def version_of(
    database: Database,
    versions: Versions,
    *,
    labels: Sequence[str],
    codes: Mapping[str, Sequence[Code]],
    now: datetime,
) -> int:
    """The row of a version of the miner; made with its labels and codes when it is new."""
    values = {"miner": versions.miner, "lexicon": versions.lexicon, "policy": versions.policy}
    query = select(MiningVersionRow.id).filter_by(**values)
    with database.writing() as connection:
        insert_new(connection, MiningVersionRow, [{**values, "first_used_at": now}])
        version_id = connection.execute(query).scalar_one()
        names = [
            {"version_id": version_id, "name": name, "position": position}
            for position, name in enumerate(labels)
        ]
        insert_new(connection, LabelNameRow, names)
        known = [
            {
                "version_id": version_id,
                "concept": concept,
                "scheme": code.scheme,
                "value": code.value,
            }
            for concept, listed in codes.items()
            for code in listed
        ]
        insert_new(connection, ConceptCodeRow, known)
    return version_id


def unmined_reports(database: Database, limit: int) -> list[StoredReport]:
    """Reports that no version has been put in force for, oldest first."""
    query = (
        select(ReportRow.id)
        .where(ReportRow.version_id.is_(None))
        .where(ReportRow.status != ReportStatus.CANCELLED.value)
        .order_by(ReportRow.id)
        .limit(limit)
    )
    with database.reading() as connection:
        return _stored(connection, list(connection.scalars(query)))


def unread_after(
    database: Database, version_id: int, report_id: int, limit: int
) -> list[StoredReport]:
    """The next reports by number that a version has not read, for reading all of them again."""
    query = (
        select(ReportRow.id)
        .where(ReportRow.id > report_id, _is_unread(version_id))
        .order_by(ReportRow.id)
        .limit(limit)
    )
    with database.reading() as connection:
        return _stored(connection, list(connection.scalars(query)))


def _is_unread(version_id: int) -> ColumnElement[bool]:
    read = select(ReportReadingRow.report_id).where(
        ReportReadingRow.version_id == version_id, ReportReadingRow.report_id == ReportRow.id
    )
    return and_(ReportRow.status != ReportStatus.CANCELLED.value, ~read.exists())


def _stored(connection: Connection, ids: Sequence[int]) -> list[StoredReport]:
    query = (
        select(ReportPartRow.report_id, ReportPartRow.name, ReportPartRow.text)
        .where(ReportPartRow.report_id.in_(ids))
        .order_by(ReportPartRow.report_id, ReportPartRow.number)
    )
    parts: dict[int, list[ReportPart]] = {report_id: [] for report_id in ids}
    for row in connection.execute(query):
        parts[row.report_id].append(ReportPart(name=row.name, text=row.text))
    return [
        StoredReport(id=each, report=Report(report_id=str(each), parts=tuple(parts[each])))
        for each in ids
    ]


def record_readings(
    database: Database, version_id: int, readings: Sequence[Reading], *, in_force: bool
) -> None:
    """Record a batch in one commit; `in_force`: these labels count from now on.

    May be repeated: a report that this version has read is left as it is.
    """
    ids = [reading.report_id for reading in readings]
    with database.writing() as connection, recounted(connection, ids):
        query = select(ReportReadingRow.report_id).where(
            ReportReadingRow.version_id == version_id, ReportReadingRow.report_id.in_(ids)
        )
        known = set(connection.scalars(query))
        fresh = [reading for reading in readings if reading.report_id not in known]
        for table, rows in _rows(version_id, fresh).items():
            insert_many(connection, table, rows)
        if in_force:
            connection.execute(
                update(ReportRow).where(ReportRow.id.in_(ids)).values(version_id=version_id)
            )


def put_in_force(database: Database, version_id: int) -> bool:
    """Let a version's labels count for every report, if it has read all; True if it has."""
    unread = select(ReportRow.id).where(_is_unread(version_id))
    with database.writing() as connection:
        if connection.execute(unread.limit(1)).first() is not None:
            return False
        take_turn(connection)
        connection.execute(
            update(ReportRow)
            .where(ReportRow.status != ReportStatus.CANCELLED.value)
            .values(version_id=version_id)
        )
        put_sums_in_force(connection, version_id)
        return True


def _rows(version_id: int, readings: Sequence[Reading]) -> dict[type[Base], list[dict[str, Any]]]:
    """What goes into each table."""
    rows: dict[type[Base], list[dict[str, Any]]] = {
        table: []
        for table in (
            ReportReadingRow,
            ReportSectionRow,
            MentionRow,
            ReportLabelRow,
            ImageReferenceRow,
        )
    }
    for reading in readings:
        key = {"version_id": version_id, "report_id": reading.report_id}
        flags = [flag.name.lower() for flag in reading.labels.flags] or None
        rows[ReportReadingRow].append(
            {**key, "is_normal": reading.labels.normal, "flags": as_json(flags)}
        )
        rows[ReportSectionRow].extend(
            {**key, "number": number, **_section(section)}
            for number, section in enumerate(reading.sections)
        )
        rows[MentionRow].extend(
            {**key, "number": number, **_mention(mention)}
            for number, mention in enumerate(reading.labels.mentions)
        )
        numbers = {id(mention): n for n, mention in enumerate(reading.labels.mentions)}
        rows[ReportLabelRow].extend(
            {**key, **_label(label, numbers)}
            for label in reading.labels.labels.values()
            if label.value is not Label.NOT_MENTIONED
        )
        rows[ImageReferenceRow].extend(
            {
                **key,
                "mention": number,
                "label": mention.label,
                "series": image.series,
                "image": image.image,
            }
            for number, mention in enumerate(reading.labels.mentions)
            for image in mention.attributes.images
        )
    return rows


def _section(section: Section) -> dict[str, Any]:
    return {
        "part": section.part,
        "kind": section.kind.value,
        "char_start": section.span.start,
        "char_end": section.span.end,
    }


def _mention(mention: Mention) -> dict[str, Any]:
    decision, attributes = mention.decision, mention.attributes
    return {
        "concept": mention.concept,
        "label": mention.label,
        "part": mention.part,
        "section": mention.section.value,
        "char_start": mention.span.start,
        "char_end": mention.span.end,
        "sentence_start": mention.sentence.start,
        "sentence_end": mention.sentence.end,
        "assertion": mention.assertion.value,
        "hedge": mention.hedge.value,
        "circumstance": mention.circumstance.value,
        "method": decision.method.value,
        "rule": decision.rule,
        "trigger_start": decision.trigger.start if decision.trigger else None,
        "trigger_end": decision.trigger.end if decision.trigger else None,
        "window_says": decision.window.value,
        "graph_says": decision.graph.value if decision.graph else None,
        **_attributes(attributes),
    }


def _attributes(attributes: Attributes) -> dict[str, Any]:
    more: dict[str, Any] = {}
    if attributes.locations:
        more["locations"] = list(attributes.locations)
    if attributes.sizes_mm:
        more["sizes_mm"] = list(attributes.sizes_mm)
    return {
        "side": attributes.side.value if attributes.side else None,
        "severity": attributes.severity,
        "change": attributes.change.value if attributes.change else None,
        "largest_mm": max(attributes.sizes_mm, default=None),
        "how_many": attributes.count,
        "more": as_json(more or None),
    }


def _label(label: StudyLabel, numbers: Mapping[int, int]) -> dict[str, Any]:
    return {
        "name": label.name,
        "value": label.value.value,
        "said": _said(label.case),
        "mention": numbers[id(label.deciding)] if label.deciding is not None else None,
    }


def _said(case: str) -> str:
    """First letters of the assertions a case names, in its order."""
    words = case.partition(":")[0]
    return "".join(each.value[0] for each in Assertion if each.value in words)
