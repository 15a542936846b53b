"""Where the instances of a study lie: received ones, and the node's own results."""

from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, select, union_all

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
    wanted = {"study": study, "series": series, "instance": instance}
    named = {name: value for name, value in wanted.items() if value is not None}
    query = _query(in_series=series is not None, is_one=instance is not None)
    with database.reading() as connection:
        return tuple(
            HeldInstance(
                study_uid=StudyUid(row.study_uid),
                series_uid=SeriesUid(row.series_uid),
                sop_instance_uid=InstanceUid(row.sop_instance_uid),
                sop_class_uid=row.sop_class_uid,
                path=database.absolute(row.path),
                sha256=row.sha256,
            )
            for row in connection.execute(query, named)
        )


@cache
def _query(*, in_series: bool, is_one: bool) -> Select[Any]:
    """Made once: putting it together takes longer than asking it."""
    received = select(
        InstanceRow.study_uid,
        InstanceRow.series_uid,
        InstanceRow.instance_number,
        InstanceRow.sop_instance_uid,
        InstanceRow.sop_class_uid,
        InstanceRow.path,
        InstanceRow.sha256,
    ).where(InstanceRow.study_uid == bindparam("study"), InstanceRow.state == "indexed")
    own = select(
        ResultRow.study_uid,
        ResultRow.series_uid,
        ResultRow.series_number.label("instance_number"),
        ResultRow.sop_instance_uid,
        ResultRow.sop_class_uid,
        ResultRow.path,
        ResultRow.sha256,
    ).where(ResultRow.study_uid == bindparam("study"))
    if in_series:
        received = received.where(InstanceRow.series_uid == bindparam("series"))
        own = own.where(ResultRow.series_uid == bindparam("series"))
    if is_one:
        received = received.where(InstanceRow.sop_instance_uid == bindparam("instance"))
        own = own.where(ResultRow.sop_instance_uid == bindparam("instance"))
    both = union_all(received, own).subquery()
    return select(both).order_by(both.c.series_uid, both.c.instance_number, both.c.sop_instance_uid)
