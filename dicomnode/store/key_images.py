"""References of reports to images, and the files of the studies they belong to."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select, text

from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid
from dicomnode.domain.key_images import ImageReference
from dicomnode.store.database import Database
from dicomnode.store.tables import InstanceRow, SeriesRow

PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """One received instance of a study that may be meant."""

    series_uid: SeriesUid
    series_number: int | None
    sop_instance_uid: InstanceUid
    path: Path


def image_references(database: Database, label: str | None) -> Iterator[ImageReference]:
    """Every reference of a report that counts, by report; of one label or of all.

    Read page by page, so that a long export holds no transaction open.
    """
    last = 0
    while page := _page(database, label, last):
        yield from page
        last = page[-1].report_id


def files_of(database: Database, study_uid: StudyUid) -> list[StoredFile]:
    """The received instances of a study, without results of ours that came back."""
    query = (
        select(
            SeriesRow.series_uid, SeriesRow.header, InstanceRow.sop_instance_uid, InstanceRow.path
        )
        .join(InstanceRow, InstanceRow.series_uid == SeriesRow.series_uid)
        .where(SeriesRow.study_uid == study_uid, InstanceRow.state == "indexed")
        .order_by(SeriesRow.series_uid, InstanceRow.sop_instance_uid)
    )
    with database.reading() as connection:
        return [
            StoredFile(
                series_uid=SeriesUid(row.series_uid),
                series_number=_number(row.header.get("SeriesNumber")),
                sop_instance_uid=InstanceUid(row.sop_instance_uid),
                path=database.absolute(row.path),
            )
            for row in connection.execute(query)
        ]


def _page(database: Database, label: str | None, last: int) -> list[ImageReference]:
    """References of whole reports, beginning behind report `last`."""
    of_label = "AND k.label = :label" if label is not None else ""
    reports = text(
        f"SELECT DISTINCT report_id FROM key_image k WHERE report_id > :last {of_label} "  # noqa: S608
        "ORDER BY report_id LIMIT :page"
    )
    rows = text(
        "SELECT k.*, s.patient_id FROM key_image k "  # noqa: S608
        "LEFT JOIN study s ON s.study_uid = k.study_uid "
        f"WHERE k.report_id > :last AND k.report_id <= :end {of_label} "
        "ORDER BY k.report_id, k.series_number, k.image_number, k.concept"
    )
    given = {"last": last, **({"label": label} if label is not None else {})}
    with database.reading() as connection:
        ids = list(connection.scalars(reports, {**given, "page": PAGE}))
        if not ids:
            return []
        return [
            ImageReference(
                report_id=row.report_id,
                study_uid=StudyUid(row.study_uid) if row.study_uid else None,
                patient_id=row.patient_id or "",
                series_number=row.series_number,
                image_number=row.image_number,
                label=row.label,
                concept=row.concept,
                assertion=row.assertion,
                sentence=row.sentence,
            )
            for row in connection.execute(rows, {**given, "end": ids[-1]})
        ]


def _number(values: list[str] | None) -> int | None:
    try:
        return int(values[0]) if values else None
    except ValueError:
        return None
