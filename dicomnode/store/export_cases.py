"""Studies with their images and labels, patient by patient, for exports."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, and_, exists, func, literal, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from dicomnode.domain.exporting import LabelValue, StoredImage, StudyCase, combined
from dicomnode.domain.identifiers import InstanceUid, StudyUid
from dicomnode.domain.incoming_reports import ReportStatus
from dicomnode.domain.results import ResultKind
from dicomnode.domain.sop_classes import REPORTS
from dicomnode.store.database import Database
from dicomnode.store.tables import (
    InstanceRow,
    LabelNameRow,
    MiningVersionRow,
    ReportLabelRow,
    ReportReadingRow,
    ReportRow,
    ResultRow,
    SeriesRow,
    StudyRow,
)

PAGE = 200
"""Studies read in one transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedVersion:
    """A version of the miner whose labels are in force."""

    miner: str
    lexicon: str
    policy: str


def study_uids(database: Database) -> Iterator[StudyUid]:
    """Every study, a page at a time."""
    last = ""
    while True:
        query = (
            select(StudyRow.study_uid)
            .where(StudyRow.study_uid > last)
            .order_by(StudyRow.study_uid)
            .limit(PAGE)
        )
        with database.reading() as connection:
            page = list(connection.scalars(query))
        if not page:
            return
        yield from map(StudyUid, page)
        last = page[-1]


def study_count(database: Database, modalities: Sequence[str]) -> int:
    """How many studies have a series of one of these modalities."""
    query = select(func.count()).select_from(StudyRow).where(_has_series(modalities))
    with database.reading() as connection:
        return connection.scalar(query) or 0


def study_cases(database: Database, modalities: Sequence[str]) -> Iterator[StudyCase]:
    """Every study with images of these modalities, ordered by patient; flat in memory.

    Results of ours that came back from a PACS are no images of the study. Labels are the ones in
    force, of reports that count; `combined` says what several reports of one study make together.
    """
    last: tuple[str, str] | None = None
    while page := _page(database, modalities, last):
        yield from page
        last = (page[-1].patient_id, page[-1].study_uid)


def label_names(database: Database) -> list[str]:
    """Names of all labels in force, in the miner's order."""
    query = (
        select(LabelNameRow.name, func.min(LabelNameRow.position).label("position"))
        .where(_in_force(LabelNameRow.version_id))
        .group_by(LabelNameRow.name)
        .order_by("position", LabelNameRow.name)
    )
    with database.reading() as connection:
        return list(connection.scalars(query))


def versions_in_force(database: Database) -> list[UsedVersion]:
    """What the labels were made by."""
    query = select(MiningVersionRow).where(_in_force(MiningVersionRow.id))
    with database.reading() as connection:
        return [
            UsedVersion(miner=row.miner, lexicon=row.lexicon, policy=row.policy)
            for row in connection.execute(query.order_by(MiningVersionRow.id))
        ]


def _has_series(modalities: Sequence[str]) -> ColumnElement[bool]:
    return exists().where(
        SeriesRow.study_uid == StudyRow.study_uid, SeriesRow.modality.in_(modalities)
    )


def _in_force(version: InstrumentedAttribute[int]) -> ColumnElement[bool]:
    return exists().where(ReportRow.version_id == version)


def _page(
    database: Database, modalities: Sequence[str], last: tuple[str, str] | None
) -> list[StudyCase]:
    query = (
        select(StudyRow)
        .where(_has_series(modalities))
        .order_by(StudyRow.patient_id, StudyRow.study_uid)
        .limit(PAGE)
    )
    if last is not None:
        query = query.where(
            tuple_(StudyRow.patient_id, StudyRow.study_uid) > tuple_(*map(literal, last))
        )
    with database.reading() as connection:
        studies = connection.execute(query).all()
        uids = [row.study_uid for row in studies]
        images = _images(database, connection, uids, modalities)
        srs = _srs(database, connection, uids)
        labels = _labels(connection, uids)
        normal = _normal(connection, uids)
    return [
        StudyCase(
            study_uid=StudyUid(row.study_uid),
            patient_id=row.patient_id,
            birth_date=row.patient_birth_date,
            sex=row.patient_sex,
            study_date=row.study_date,
            labels={name: combined(values) for name, values in labels[row.study_uid].items()},
            normal=all(normal[row.study_uid]) if normal[row.study_uid] else None,
            images=tuple(images[row.study_uid]),
            reports_of_results=tuple(srs[row.study_uid]),
        )
        for row in studies
    ]


def _images(
    database: Database, connection: Connection, uids: list[str], modalities: Sequence[str]
) -> dict[str, list[StoredImage]]:
    query = (
        select(InstanceRow.study_uid, InstanceRow.sop_instance_uid, InstanceRow.path)
        .join(SeriesRow, SeriesRow.series_uid == InstanceRow.series_uid)
        .where(
            SeriesRow.study_uid.in_(uids),
            SeriesRow.modality.in_(modalities),
            InstanceRow.state == "indexed",
        )
        .order_by(InstanceRow.sop_instance_uid)
    )
    images = defaultdict(list)
    for row in connection.execute(query):
        uid = InstanceUid(row.sop_instance_uid)
        images[row.study_uid].append(
            StoredImage(sop_instance_uid=uid, path=database.absolute(row.path))
        )
    return images


def _srs(database: Database, connection: Connection, uids: list[str]) -> dict[str, list[Path]]:
    """Ours as they were made, then received ones in SR classes that can draw."""
    ours = select(ResultRow.study_uid, ResultRow.path).where(
        ResultRow.study_uid.in_(uids), ResultRow.kind == ResultKind.SR.value
    )
    received = (
        select(SeriesRow.study_uid, InstanceRow.path)
        .join(SeriesRow, SeriesRow.series_uid == InstanceRow.series_uid)
        .where(
            SeriesRow.study_uid.in_(uids),
            InstanceRow.sop_class_uid.in_(REPORTS),
            InstanceRow.state == "indexed",
        )
    )
    found = defaultdict(list)
    for query in (ours.order_by(ResultRow.path), received.order_by(InstanceRow.path)):
        for study_uid, path in connection.execute(query):
            found[study_uid].append(database.absolute(path))
    return found


def _labels(connection: Connection, uids: list[str]) -> dict[str, dict[str, list[LabelValue]]]:
    query = (
        select(ReportRow.study_uid, ReportLabelRow.name, ReportLabelRow.value)
        .join(
            ReportLabelRow,
            and_(
                ReportLabelRow.report_id == ReportRow.id,
                ReportLabelRow.version_id == ReportRow.version_id,
            ),
        )
        .where(ReportRow.study_uid.in_(uids), *_counts())
    )
    labels: dict[str, dict[str, list[LabelValue]]] = defaultdict(lambda: defaultdict(list))
    for study_uid, name, value in connection.execute(query):
        labels[study_uid or ""][name].append(LabelValue(value))
    return labels


def _normal(connection: Connection, uids: list[str]) -> dict[str, list[bool]]:
    """What the reports that could be read say of each study."""
    query = (
        select(ReportRow.study_uid, ReportReadingRow.is_normal)
        .join(
            ReportReadingRow,
            and_(
                ReportReadingRow.report_id == ReportRow.id,
                ReportReadingRow.version_id == ReportRow.version_id,
            ),
        )
        .where(ReportRow.study_uid.in_(uids), ReportReadingRow.flags.is_(None), *_counts())
    )
    normal: dict[str, list[bool]] = defaultdict(list)
    for study_uid, is_normal in connection.execute(query):
        normal[study_uid or ""].append(is_normal)
    return normal


def _counts() -> tuple[ColumnElement[bool], ...]:
    return (ReportRow.is_current.is_(True), ReportRow.status != ReportStatus.CANCELLED.value)
