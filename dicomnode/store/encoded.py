"""Rows of results as the objects that they stand for."""

from typing import Any

from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid
from dicomnode.domain.results import EncodedObject, ResultKind
from dicomnode.store.database import Database


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
