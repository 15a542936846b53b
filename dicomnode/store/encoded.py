"""Rows of results as the objects that they stand for."""

from typing import Any

from sqlalchemy import select

from dicomnode.domain.identifiers import InstanceUid, JobId, SeriesUid, StudyUid
from dicomnode.domain.results import EncodedObject, ResultKind
from dicomnode.store.database import Database
from dicomnode.store.tables import ResultRow


def encoded_object(database: Database, row: Any) -> EncodedObject:
    """The object of a row that has the columns of `ResultRow`."""
    return EncodedObject(
        kind=ResultKind(row.kind),
        sop_instance_uid=InstanceUid(row.sop_instance_uid),
        sop_class_uid=row.sop_class_uid,
        study_uid=StudyUid(row.study_uid),
        series_uid=SeriesUid(row.series_uid),
        path=database.absolute(row.path),
        sha256=row.sha256,
    )


def made_before(database: Database, job: JobId) -> tuple[EncodedObject, ...]:
    """The objects that earlier runs of a job made, in the order they were made."""
    query = (
        select(ResultRow)
        .where(ResultRow.job_id == job)
        .order_by(ResultRow.created_at, ResultRow.sop_instance_uid)
    )
    with database.reading() as connection:
        return tuple(encoded_object(database, row) for row in connection.execute(query))
