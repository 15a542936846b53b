"""Open studies with their evidence; closing them into revisions; revisions as snapshots."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, insert, select, update

from dicomnode.domain.events import Event, EventName
from dicomnode.domain.files import ImageFile
from dicomnode.domain.identifiers import SeriesUid, StudyUid
from dicomnode.domain.studies import ClosingReason, Evidence, SeriesFacts, StudySnapshot
from dicomnode.store.database import Database
from dicomnode.store.events import write_events
from dicomnode.store.tables import (
    AssociationRow,
    InstanceRow,
    RevisionRow,
    SeriesRow,
    StudyAssociationRow,
    StudyRow,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStudy:
    """A study, or one series of it, that has instances no revision holds yet."""

    study_uid: StudyUid
    series_uid: SeriesUid | None
    evidence: Evidence
    """`required_series_present` is not known here: None."""
    expected_asked_at: datetime | None
    calling_aes: frozenset[str]


def open_studies(database: Database) -> tuple[OpenStudy, ...]:
    """Every study with new instances."""
    return _open(database, StudyRow)


def open_series(database: Database) -> tuple[OpenStudy, ...]:
    """Every series with new instances, for rules that need only a series."""
    return _open(database, SeriesRow)


def _open(database: Database, table: type[StudyRow | SeriesRow]) -> tuple[OpenStudy, ...]:
    with database.reading() as connection:
        rows = connection.execute(select(table).where(table.new_instances > 0)).all()
        studies = [row.study_uid for row in rows]
        busy = _busy_associations(connection, studies)
        senders = _senders(connection, studies)
    return tuple(
        OpenStudy(
            study_uid=StudyUid(row.study_uid),
            series_uid=SeriesUid(row.series_uid) if table is SeriesRow else None,
            evidence=Evidence(
                received_instances=row.instance_count,
                new_instances=row.new_instances,
                first_new_at=row.first_new_at,
                last_new_at=row.last_new_at,
                open_associations=busy.get(row.study_uid, 0),
                required_series_present=None,
                expected_instances=_expected(row) if table is StudyRow else None,
            ),
            expected_asked_at=row.expected_asked_at if table is StudyRow else None,
            calling_aes=senders.get(row.study_uid, frozenset()),
        )
        for row in rows
    )


def _expected(row: Row[Any]) -> int | None:
    """The sender's count, if it was given after the last image came."""
    current = row.expected_asked_at is not None and row.expected_asked_at >= row.last_new_at
    return row.expected_instances if current else None


def _busy_associations(connection: Connection, studies: Collection[str]) -> Mapping[str, int]:
    """Study -> associations that may still bring it something: open ones, or not yet indexed."""
    waiting = select(InstanceRow.association_id).where(InstanceRow.state == "landed")
    query = (
        select(StudyAssociationRow.study_uid, func.count())
        .join(AssociationRow, AssociationRow.id == StudyAssociationRow.association_id)
        .where(
            StudyAssociationRow.study_uid.in_(studies),
            AssociationRow.closed_at.is_(None) | AssociationRow.id.in_(waiting),
        )
        .group_by(StudyAssociationRow.study_uid)
    )
    return {study: count for study, count in connection.execute(query)}  # noqa: C416 (rows)


def _senders(connection: Connection, studies: Collection[str]) -> Mapping[str, frozenset[str]]:
    query = (
        select(StudyAssociationRow.study_uid, AssociationRow.calling_ae)
        .join(AssociationRow, AssociationRow.id == StudyAssociationRow.association_id)
        .where(StudyAssociationRow.study_uid.in_(studies))
    )
    senders: dict[str, frozenset[str]] = {}
    for study, calling_ae in connection.execute(query):
        senders[study] = senders.get(study, frozenset()) | {calling_ae}
    return senders


def record_expected(
    database: Database, study: OpenStudy, expected: int | None, now: datetime
) -> None:
    """Keep what the sender answered when asked how many instances the study has."""
    uid = study.study_uid
    with database.writing() as connection:
        connection.execute(
            update(StudyRow)
            .where(StudyRow.study_uid == uid)
            .values(expected_instances=expected, expected_asked_at=now)
        )
        if expected != study.evidence.expected_instances or study.expected_asked_at is None:
            facts = {"expected_instances": expected}
            asked = Event(name=EventName.COUNT_ASKED, study_uid=uid, facts=facts)
            write_events(connection, [asked], now)


def series_facts(database: Database, study_uid: StudyUid) -> Mapping[SeriesUid, SeriesFacts]:
    """The series of a study as they stand now."""
    query = select(SeriesRow).where(SeriesRow.study_uid == study_uid, SeriesRow.instance_count > 0)
    with database.reading() as connection:
        return {
            SeriesUid(row.series_uid): _facts(row, row.instance_count)
            for row in connection.execute(query)
        }


def close_study(
    database: Database,
    study: OpenStudy,
    reason: ClosingReason,
    now: datetime,
    *,
    series_wait: bool = False,
) -> int | None:
    """Make the next revision; return its id, or None if something arrived since the evidence.

    Unless `series_wait` says that rules look at series alone, a study's series close with it, so
    that a rule of scope series which is added later does not run on the whole archive.
    """
    table = StudyRow if study.series_uid is None else SeriesRow
    which = (
        StudyRow.study_uid == study.study_uid
        if study.series_uid is None
        else SeriesRow.series_uid == study.series_uid
    )
    with database.writing() as connection:
        row = connection.execute(select(table).where(which).with_for_update()).one()
        if row.new_instances != study.evidence.new_instances:
            return None
        number = row.revision + 1
        _stamp_instances(connection, study, number)
        connection.execute(
            update(table)
            .where(which)
            .values(revision=number, new_instances=0, first_new_at=None, last_new_at=None)
        )
        if study.series_uid is None and not series_wait:
            connection.execute(
                update(SeriesRow)
                .where(SeriesRow.study_uid == study.study_uid)
                .values(new_instances=0, first_new_at=None, last_new_at=None)
            )
        revision_id = connection.execute(
            insert(RevisionRow)
            .values(
                study_uid=study.study_uid,
                series_uid=study.series_uid or "",
                number=number,
                reason=reason.value,
                evidence=_evidence_json(study.evidence),
                calling_aes=sorted(study.calling_aes),
                closed_at=now,
                instance_count=study.evidence.received_instances,
            )
            .returning(RevisionRow.id)
        ).scalar_one()
        facts = {
            "revision": number,
            "series_uid": study.series_uid,
            "reason": reason.value,
            "instances": study.evidence.received_instances,
            "new_instances": study.evidence.new_instances,
        }
        closed = Event(name=EventName.STUDY_CLOSED, study_uid=study.study_uid, facts=facts)
        write_events(connection, [closed], now)
        return revision_id


def _stamp_instances(connection: Connection, study: OpenStudy, number: int) -> None:
    if study.series_uid is None:
        connection.execute(
            update(InstanceRow)
            .where(
                InstanceRow.study_uid == study.study_uid,
                InstanceRow.state == "indexed",
                InstanceRow.study_revision.is_(None),
            )
            .values(study_revision=number)
        )
        return
    connection.execute(
        update(InstanceRow)
        .where(
            InstanceRow.series_uid == study.series_uid,
            InstanceRow.state == "indexed",
            InstanceRow.series_revision.is_(None),
        )
        .values(series_revision=number)
    )


def _evidence_json(evidence: Evidence) -> dict[str, object]:
    return {
        key: value.isoformat() if isinstance(value, datetime) else value
        for key, value in asdict(evidence).items()
    }


def _evidence(stored: Mapping[str, object]) -> Evidence:
    moments = {
        key: datetime.fromisoformat(str(stored[key])) for key in ("first_new_at", "last_new_at")
    }
    return Evidence(**{**stored, **moments})  # type: ignore[arg-type]


def unmatched_revisions(database: Database) -> tuple[int, ...]:
    """Closed revisions that rules have not been tried on, oldest first."""
    query = select(RevisionRow.id).where(RevisionRow.matched_at.is_(None)).order_by(RevisionRow.id)
    with database.reading() as connection:
        return tuple(connection.scalars(query))


def snapshot(database: Database, revision_id: int) -> StudySnapshot:
    """The revision as it was closed, whatever has arrived since."""
    with database.reading() as connection:
        revision = connection.execute(
            select(RevisionRow).where(RevisionRow.id == revision_id)
        ).one()
        counts = connection.execute(
            select(InstanceRow.series_uid, func.count())
            .where(held_by(revision.study_uid, revision.series_uid, revision.number))
            .group_by(InstanceRow.series_uid)
        ).all()
        held = {series: count for series, count in counts}  # noqa: C416 (rows)
        rows = connection.execute(select(SeriesRow).where(SeriesRow.series_uid.in_(held))).all()
    return StudySnapshot(
        study_uid=StudyUid(revision.study_uid),
        revision=revision.number,
        series_uid=SeriesUid(revision.series_uid) if revision.series_uid else None,
        reason=ClosingReason(revision.reason),
        evidence=_evidence(revision.evidence),
        closed_at=revision.closed_at,
        calling_aes=frozenset(revision.calling_aes),
        series={SeriesUid(row.series_uid): _facts(row, held[row.series_uid]) for row in rows},
    )


def latest_snapshots(database: Database, studies: int) -> Iterator[StudySnapshot]:
    """The last closing of each of the studies that closed last, newest first, one by one."""
    query = (
        select(func.max(RevisionRow.id).label("last"))
        .where(RevisionRow.series_uid == "")
        .group_by(RevisionRow.study_uid)
        .order_by(func.max(RevisionRow.id).desc())
        .limit(studies)
    )
    with database.reading() as connection:
        revisions = list(connection.scalars(query))
    return (snapshot(database, revision) for revision in revisions)


def held_instances(
    database: Database, revision_id: int, series_uid: SeriesUid
) -> tuple[ImageFile, ...]:
    """The instances of one series that a revision holds, in a stable order."""
    with database.reading() as connection:
        revision = connection.execute(
            select(RevisionRow).where(RevisionRow.id == revision_id)
        ).one()
        query = (
            select(InstanceRow.path, InstanceRow.sha256, InstanceRow.size_bytes)
            .where(
                held_by(revision.study_uid, revision.series_uid, revision.number),
                InstanceRow.series_uid == series_uid,
            )
            .order_by(InstanceRow.sop_instance_uid)
        )
        return tuple(
            ImageFile(
                path=database.absolute(row.path),
                sha256=row.sha256,
                size_bytes=row.size_bytes,
            )
            for row in connection.execute(query)
        )


def held_by(study_uid: str, series_uid: str, number: int) -> ColumnElement[bool]:
    """Instances of a revision; `series_uid` is empty for one of a whole study."""
    if series_uid:
        return (InstanceRow.series_uid == series_uid) & (InstanceRow.series_revision <= number)
    return (InstanceRow.study_uid == study_uid) & (InstanceRow.study_revision <= number)


def _facts(row: Row[Any], instance_count: int) -> SeriesFacts:
    return SeriesFacts(
        series_uid=SeriesUid(row.series_uid),
        study_uid=StudyUid(row.study_uid),
        modality=row.modality,
        instance_count=instance_count,
        values={keyword: tuple(texts) for keyword, texts in row.header.items()},
    )


def with_requirements(study: OpenStudy, required_series_present: bool | None) -> OpenStudy:
    """The same study, its evidence completed by what the rules say."""
    evidence = replace(study.evidence, required_series_present=required_series_present)
    return replace(study, evidence=evidence)
