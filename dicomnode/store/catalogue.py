"""Searches over all that the node holds: what was received, and its own results beside it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    cast,
    exists,
    func,
    literal,
    null,
    select,
    union_all,
)
from sqlalchemy.orm import aliased

from dicomnode.domain.catalogue import (
    Condition,
    FoundInstance,
    FoundSeries,
    FoundStudy,
    Level,
    OneOf,
    Search,
)
from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid
from dicomnode.domain.instances import HeaderValues
from dicomnode.store.conditions import meets
from dicomnode.store.database import Database
from dicomnode.store.tables import InstanceRow, ResultRow, SeriesRow, StudyRow
from dicomnode.store.tables.base import Json

Columns = Mapping[str, Any]

_STUDY: Columns = {
    "StudyInstanceUID": StudyRow.study_uid,
    "StudyDate": StudyRow.study_date,
    "StudyTime": StudyRow.study_time,
    "AccessionNumber": StudyRow.accession_number,
    "StudyID": StudyRow.study_id,
    "ReferringPhysicianName": StudyRow.referrer_key,
    "PatientName": StudyRow.name_key,
    "PatientID": StudyRow.patient_id,
    "PatientBirthDate": StudyRow.patient_birth_date,
    "PatientSex": StudyRow.patient_sex,
    "StudyDescription": StudyRow.description,
}
_FEW = frozenset(
    {
        *("StudyInstanceUID", "AccessionNumber", "StudyID", "PatientName", "PatientID"),
        "ReferringPhysicianName",
    }
)
"""Conditions that have an index and leave few studies."""
_FEW_STUDIES = 2000
_RECEIVED_SERIES: Columns = {
    "StudyInstanceUID": SeriesRow.study_uid,
    "SeriesInstanceUID": SeriesRow.series_uid,
    "Modality": SeriesRow.modality,
    "SeriesNumber": SeriesRow.series_number,
}
_OWN_SERIES: Columns = {
    "StudyInstanceUID": ResultRow.study_uid,
    "SeriesInstanceUID": ResultRow.series_uid,
    "Modality": ResultRow.modality,
    "SeriesNumber": ResultRow.series_number,
}
_RECEIVED_INSTANCE: Columns = {
    "StudyInstanceUID": InstanceRow.study_uid,
    "SeriesInstanceUID": InstanceRow.series_uid,
    "SOPInstanceUID": InstanceRow.sop_instance_uid,
    "SOPClassUID": InstanceRow.sop_class_uid,
    "InstanceNumber": InstanceRow.instance_number,
}
_OWN_INSTANCE: Columns = {
    **_OWN_SERIES,
    "SOPInstanceUID": ResultRow.sop_instance_uid,
    "SOPClassUID": ResultRow.sop_class_uid,
}
_OWN_NUMBER = ResultRow.header["InstanceNumber"][0].as_string()


def find_studies(database: Database, search: Search) -> tuple[FoundStudy, ...]:
    """Studies that meet every condition, the latest first."""
    query = select(StudyRow).where(*_study_conditions(database, search))
    latest: ColumnElement[Any] = StudyRow.study_date  # type: ignore[assignment]
    if _FEW & search.conditions.keys():
        # An expression, else the index of dates would be walked to the few that are wanted.
        latest = func.coalesce(StudyRow.study_date, "")
    query = query.order_by(latest.desc(), StudyRow.study_uid.desc())
    with database.reading() as connection:
        rows = connection.execute(query.limit(search.limit).offset(search.offset)).all()
        return _studies(connection, rows)


def studies_of(database: Database, uids: Sequence[StudyUid]) -> dict[StudyUid, FoundStudy]:
    """The studies with these UIDs, as far as there are such."""
    with database.reading() as connection:
        rows = connection.execute(select(StudyRow).where(StudyRow.study_uid.in_(uids))).all()
        return {found.study_uid: found for found in _studies(connection, rows)}


def find_series(database: Database, search: Search) -> tuple[FoundSeries, ...]:
    """Series that meet every condition: by number within a study, else by UID."""
    received = select(
        SeriesRow.study_uid,
        SeriesRow.series_uid,
        SeriesRow.header,
        SeriesRow.modality,
        SeriesRow.series_number,
        SeriesRow.instance_count.label("instances"),
    ).where(*_own_level(database, search, _RECEIVED_SERIES))
    arms = [
        _of_studies(database, search, received, SeriesRow.study_uid),
        _of_studies(database, search, _own_series(database, search), ResultRow.study_uid),
    ]
    order = ("study_uid", "series_uid")
    if "StudyInstanceUID" in search.conditions:
        order = ("series_number", "series_uid")
    query = _merged(arms, order, search)
    with database.reading() as connection:
        return tuple(_series(row) for row in connection.execute(query))


def series_of(database: Database, uids: Sequence[SeriesUid]) -> dict[SeriesUid, FoundSeries]:
    """The series with these UIDs, as far as there are such."""
    conditions = {"SeriesInstanceUID": OneOf(values=tuple(uids))}
    search = Search(level=Level.SERIES, conditions=conditions, limit=len(uids))
    return {found.series_uid: found for found in find_series(database, search)}


def find_instances(database: Database, search: Search) -> tuple[FoundInstance, ...]:
    """Instances that meet every condition: by number within a study or series, else by UID."""
    nothing = cast(null(), Json)
    received = select(
        InstanceRow.study_uid,
        InstanceRow.series_uid,
        InstanceRow.sop_instance_uid,
        InstanceRow.sop_class_uid,
        InstanceRow.instance_number,
        InstanceRow.frames,
        InstanceRow.rows.label("image_rows"),
        InstanceRow.columns.label("image_columns"),
        InstanceRow.bits_allocated,
        nothing.label("header"),
    ).where(InstanceRow.state == "indexed", *_instance_level(database, search))
    number = literal(None, type_=InstanceRow.frames.type)
    own = select(
        ResultRow.study_uid,
        ResultRow.series_uid,
        ResultRow.sop_instance_uid,
        ResultRow.sop_class_uid,
        *(number.label(name) for name in ("instance_number", "frames", "rows", "columns", "bits")),
        ResultRow.header,
    ).where(*_own_instance_level(database, search))
    arms = [
        _of_studies(database, search, received, InstanceRow.study_uid),
        _of_studies(database, search, own, ResultRow.study_uid),
    ]
    order: tuple[str, ...] = ("sop_instance_uid",)
    if {"StudyInstanceUID", "SeriesInstanceUID"} & search.conditions.keys():
        order = ("series_uid", "instance_number", "sop_instance_uid")
    query = _merged(arms, order, search)
    with database.reading() as connection:
        return tuple(_instance(row) for row in connection.execute(query))


def _merged(
    arms: Sequence[Select[*tuple[Any, ...]]], order: Sequence[str], search: Search
) -> Select[*tuple[Any, ...]]:
    """One page of both arms together. Each is cut by itself first, so that its index can do it."""
    most = search.limit + search.offset
    cut = []
    for arm in arms:
        columns = arm.selected_columns
        ordered = arm.order_by(*(columns[name] for name in order)).limit(most).subquery()
        cut.append(select(ordered))
    together = union_all(*cut).subquery()
    return (
        select(together)
        .order_by(*(together.c[name] for name in order))
        .limit(search.limit)
        .offset(search.offset)
    )


def _study_conditions(database: Database, search: Search) -> list[ColumnElement[bool]]:
    conditions = _own_level(database, search, _STUDY)
    wanted = search.conditions.get("ModalitiesInStudy")
    if wanted is not None:
        if (few := _few_with(database, wanted)) is not None:
            return [*conditions, StudyRow.study_uid.in_(few)]
        # Aliases: the query around may be one of series or results itself.
        series, result = aliased(SeriesRow), aliased(ResultRow)
        received = exists().where(
            series.study_uid == StudyRow.study_uid,
            meets(database, series.modality, "Modality", wanted),
        )
        own = exists().where(
            result.study_uid == StudyRow.study_uid,
            meets(database, result.modality, "Modality", wanted),
        )
        conditions.append(received | own)
    return conditions


def _few_with(database: Database, wanted: Condition) -> tuple[str, ...] | None:
    """The studies with such a modality if they are few; None if they are many.

    Of a rare modality the next study may be millions of rows away in the order of dates.
    """
    found: set[str] = set()
    with database.reading() as connection:
        for table in (SeriesRow, ResultRow):
            query = select(table.study_uid).where(
                meets(database, table.modality, "Modality", wanted)
            )
            uids = connection.scalars(query.limit(_FEW_STUDIES)).all()
            if len(uids) == _FEW_STUDIES:
                return None
            found.update(uids)
    return tuple(sorted(found))


def _own_level(database: Database, search: Search, columns: Columns) -> list[ColumnElement[bool]]:
    """The conditions that these columns answer."""
    return [
        meets(database, columns[keyword], keyword, condition)
        for keyword, condition in search.conditions.items()
        if keyword in columns
    ]


def _instance_level(database: Database, search: Search) -> list[ColumnElement[bool]]:
    conditions = _own_level(database, search, _RECEIVED_INSTANCE)
    of_series = {"Modality", "SeriesNumber"} & search.conditions.keys()
    if of_series:
        conditions.append(
            exists().where(
                SeriesRow.series_uid == InstanceRow.series_uid,
                *(
                    meets(database, _RECEIVED_SERIES[keyword], keyword, search.conditions[keyword])
                    for keyword in sorted(of_series)
                ),
            )
        )
    return conditions


def _own_instance_level(database: Database, search: Search) -> list[ColumnElement[bool]]:
    conditions = _own_level(database, search, _OWN_INSTANCE)
    number = search.conditions.get("InstanceNumber")
    if isinstance(number, OneOf):
        conditions.append(_OWN_NUMBER.in_(number.values))
    return conditions


def _own_series(database: Database, search: Search) -> Select[Any]:
    """One row for each series of results, with the header of its first."""
    other = aliased(ResultRow)
    same = (other.study_uid == ResultRow.study_uid, other.series_uid == ResultRow.series_uid)
    count = select(func.count()).select_from(other).where(*same).scalar_subquery()
    earlier = exists().where(*same, other.sop_instance_uid < ResultRow.sop_instance_uid)
    return select(
        ResultRow.study_uid,
        ResultRow.series_uid,
        ResultRow.header,
        ResultRow.modality,
        ResultRow.series_number,
        count.label("instances"),
    ).where(~earlier, *_own_level(database, search, _OWN_SERIES))


def _of_studies(
    database: Database, search: Search, query: Select[*tuple[Any, ...]], study_uid: Any
) -> Select[*tuple[Any, ...]]:
    """`query`, restricted to studies that meet the conditions on studies, if there are any."""
    if not (search.conditions.keys() - {"StudyInstanceUID"}) & {*_STUDY, "ModalitiesInStudy"}:
        return query
    conditions = _study_conditions(database, search)
    return query.join(StudyRow, StudyRow.study_uid == study_uid).where(*conditions)


def _studies(connection: Connection, rows: Sequence[Row[Any]]) -> tuple[FoundStudy, ...]:
    """Studies with what is counted over their series and results."""
    uids = [row.study_uid for row in rows]
    modalities: dict[str, set[str]] = defaultdict(set)
    series: dict[str, int] = defaultdict(int)
    results: dict[str, int] = defaultdict(int)
    own_series: dict[str, set[str]] = defaultdict(set)
    received = (
        select(SeriesRow.study_uid, SeriesRow.modality, func.count().label("series"))
        .where(SeriesRow.study_uid.in_(uids))
        .group_by(SeriesRow.study_uid, SeriesRow.modality)
    )
    for row in connection.execute(received):
        modalities[row.study_uid].add(row.modality)
        series[row.study_uid] += row.series
    own = select(ResultRow.study_uid, ResultRow.modality, ResultRow.series_uid)
    for result in connection.execute(own.where(ResultRow.study_uid.in_(uids))):
        modalities[result.study_uid].add(result.modality)
        own_series[result.study_uid].add(result.series_uid)
        results[result.study_uid] += 1
    return tuple(
        FoundStudy(
            study_uid=StudyUid(row.study_uid),
            header=_header(row.header),
            modalities=tuple(sorted(modalities[row.study_uid] - {""})),
            series=series[row.study_uid] + len(own_series[row.study_uid]),
            instances=row.instance_count + results[row.study_uid],
        )
        for row in rows
    )


def _series(row: Row[Any]) -> FoundSeries:
    return FoundSeries(
        study_uid=StudyUid(row.study_uid),
        series_uid=SeriesUid(row.series_uid),
        header=_header(row.header),
        modality=row.modality,
        number=row.series_number,
        instances=row.instances,
    )


def _instance(row: Row[Any]) -> FoundInstance:
    header = _header(row.header)
    return FoundInstance(
        study_uid=StudyUid(row.study_uid),
        series_uid=SeriesUid(row.series_uid),
        sop_instance_uid=InstanceUid(row.sop_instance_uid),
        sop_class_uid=row.sop_class_uid,
        number=_known(row.instance_number, header, "InstanceNumber"),
        frames=_known(row.frames, header, "NumberOfFrames"),
        rows=_known(row.image_rows, header, "Rows"),
        columns=_known(row.image_columns, header, "Columns"),
        bits_allocated=_known(row.bits_allocated, header, "BitsAllocated"),
    )


def _known(column: int | None, header: HeaderValues, keyword: str) -> int | None:
    text = next(iter(header.get(keyword, ())), "")
    return int(text) if column is None and text.isdecimal() and len(text) < 10 else column


def _header(stored: Mapping[str, list[str]] | None) -> HeaderValues:
    return {keyword: tuple(values) for keyword, values in (stored or {}).items()}
