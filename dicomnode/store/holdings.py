"""Where the instances of a study lie: received ones, and the node's own results."""

from typing import Any

from sqlalchemy import Row, select

from dicomnode.domain.catalogue import HeldInstance
from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid
from dicomnode.store.database import Database
from dicomnode.store.tables import InstanceRow, ResultRow


def held(
    database: Database,
    study: StudyUid,
    series: SeriesUid | None = None,
    instance: InstanceUid | None = None,
) -> tuple[HeldInstance, ...]:
    """Instances of a study, or of one series, or that one; by series and number.

    An instance is held where it says it is: under another study or series it is not found.
    """
    received = select(*_columns(InstanceRow), InstanceRow.instance_number).where(
        InstanceRow.study_uid == study, InstanceRow.state == "indexed"
    )
    own = select(*_columns(ResultRow), ResultRow.series_number.label("instance_number")).where(
        ResultRow.study_uid == study
    )
    if series is not None:
        received = received.where(InstanceRow.series_uid == series)
        own = own.where(ResultRow.series_uid == series)
    if instance is not None:
        received = received.where(InstanceRow.sop_instance_uid == instance)
        own = own.where(ResultRow.sop_instance_uid == instance)
    with database.reading() as connection:
        rows: list[Row[Any]] = list(connection.execute(received))
        if instance is None or not rows:
            rows += connection.execute(own)
    rows.sort(key=lambda row: (row.series_uid, row.instance_number or 0, row.sop_instance_uid))
    return tuple(
        HeldInstance(
            study_uid=StudyUid(row.study_uid),
            series_uid=SeriesUid(row.series_uid),
            sop_instance_uid=InstanceUid(row.sop_instance_uid),
            sop_class_uid=row.sop_class_uid,
            path=database.absolute(row.path),
            sha256=row.sha256,
        )
        for row in rows
    )


def _columns(table: type[InstanceRow | ResultRow]) -> tuple[Any, ...]:
    return (
        table.study_uid,
        table.series_uid,
        table.sop_instance_uid,
        table.sop_class_uid,
        table.path,
        table.sha256,
    )
