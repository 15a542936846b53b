"""Landed instances find their series and study."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, case, select, update

from dicomnode.domain.catalogue import search_key
from dicomnode.domain.events import Event, EventName
from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid
from dicomnode.domain.instances import HeaderValues, InstanceHeader, QuarantineKind
from dicomnode.domain.sop_classes import REPORTS, SEGMENTATIONS
from dicomnode.store.database import Database
from dicomnode.store.events import write_events
from dicomnode.store.locking import lock_studies
from dicomnode.store.quarantining import LandedInstance, Unreadable, put_in_quarantine
from dicomnode.store.summaries import recounted
from dicomnode.store.tables import (
    InstanceRow,
    ReportRow,
    ResultRow,
    SeriesRow,
    StudyAssociationRow,
    StudyRow,
)
from dicomnode.store.upsert import insert_new

VIEW = "ViewPosition"
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,9}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexed:
    """A landed instance and its header."""

    landed: LandedInstance
    header: InstanceHeader


def landed_instances(
    database: Database, limit: int, *, but: Sequence[str] = ()
) -> tuple[LandedInstance, ...]:
    """The oldest instances that wait for indexing, without those in `but`."""
    columns = (
        InstanceRow.sop_instance_uid,
        InstanceRow.path,
        InstanceRow.association_id,
        InstanceRow.received_at,
    )
    query = (
        select(*columns)
        .where(InstanceRow.state == "landed", InstanceRow.sop_instance_uid.not_in(but))
        .order_by(InstanceRow.received_at)
        .limit(limit)
    )
    with database.reading() as connection:
        return tuple(
            LandedInstance(
                sop_instance_uid=InstanceUid(row.sop_instance_uid),
                path=database.absolute(row.path),
                association_id=row.association_id,
                received_at=row.received_at,
            )
            for row in connection.execute(query)
        )


def index_instances(
    database: Database, indexed: Sequence[Indexed], unreadable: Sequence[Unreadable], now: datetime
) -> None:
    """Record what a batch of headers said, in one commit. May be repeated for the same batch."""
    with database.writing() as connection:
        waiting = _still_landed(connection, [*indexed, *unreadable])
        fresh = [item for item in indexed if item.landed.sop_instance_uid in waiting]
        own = _our_results(connection, fresh)
        _mark_own(connection, own)
        new = [item for item in fresh if item.landed.sop_instance_uid not in own]
        misplaced = _misplaced(connection, new)
        placed = [item for item in new if item.header.sop_instance_uid not in misplaced]
        tell_of_patients = _insert_parents(connection, placed)
        _place(connection, placed)
        _keep_views(connection, placed)
        _count(connection, placed, _mark_returned(connection, placed))
        faults = [item for item in unreadable if item.landed.sop_instance_uid in waiting]
        put_in_quarantine(connection, [*faults, *misplaced.values()], now)
        write_events(connection, tell_of_patients, now)


def _still_landed(connection: Connection, items: Sequence[Indexed | Unreadable]) -> frozenset[str]:
    uids = [item.landed.sop_instance_uid for item in items]
    query = select(InstanceRow.sop_instance_uid).where(
        InstanceRow.sop_instance_uid.in_(uids), InstanceRow.state == "landed"
    )
    return frozenset(connection.scalars(query))


def _our_results(connection: Connection, items: Sequence[Indexed]) -> frozenset[str]:
    uids = [item.landed.sop_instance_uid for item in items]
    query = select(ResultRow.sop_instance_uid).where(ResultRow.sop_instance_uid.in_(uids))
    return frozenset(connection.scalars(query))


def _mark_own(connection: Connection, uids: frozenset[str]) -> None:
    if uids:
        connection.execute(
            update(InstanceRow).where(InstanceRow.sop_instance_uid.in_(uids)).values(state="own")
        )


def _insert_parents(connection: Connection, items: Sequence[Indexed]) -> list[Event]:
    """Make the studies and series that are new; all studies of the batch are locked from here.

    Returns what is to be told of them.
    """
    studies = {item.header.study_uid: item for item in reversed(items)}
    insert_new(connection, StudyRow, [_study(item) for item in studies.values()])
    series = {item.header.series_uid: item for item in reversed(items)}
    known = select(SeriesRow.series_uid).where(SeriesRow.series_uid.in_(series))
    fresh = [series[uid] for uid in series.keys() - set(connection.scalars(known))]
    if fresh:
        _insert_series(connection, fresh)
    lock_studies(connection, studies)
    if fresh:
        # Reports may be tied by modality, so a new series is a reason to look for them again.
        connection.execute(
            update(StudyRow)
            .where(StudyRow.study_uid.in_({item.header.study_uid for item in fresh}))
            .values(reports_sought_at=None)
        )
    return _of_other_patients(connection, fresh)


def _of_other_patients(connection: Connection, items: Sequence[Indexed]) -> list[Event]:
    """New series that state another PatientID than the first image of their study did."""
    studies = {item.header.study_uid for item in items}
    query = select(StudyRow.study_uid, StudyRow.patient_id).where(StudyRow.study_uid.in_(studies))
    stated = {row.study_uid: row.patient_id.strip() for row in connection.execute(query)}
    return [
        Event(
            name=EventName.PATIENTS_DIFFER,
            study_uid=item.header.study_uid,
            association_id=item.landed.association_id,
            facts={"series_uid": item.header.series_uid},
        )
        for item in items
        if len({stated[item.header.study_uid], _patient_id(item.header)} - {""}) > 1
    ]


def _patient_id(header: InstanceHeader) -> str:
    return _first(header.study_values, "PatientID").strip()


def _insert_series(connection: Connection, items: Sequence[Indexed]) -> None:
    """The first series of a study tells its scanner, by which its reports are counted."""
    studies = {item.header.study_uid for item in items}
    told = select(ReportRow.id).where(ReportRow.study_uid.in_(studies))
    with recounted(connection, list(connection.scalars(told)), study_only=True):
        insert_new(connection, SeriesRow, [_series(item) for item in items])


def _study(item: Indexed) -> dict[str, object]:
    values = item.header.study_values
    return {
        "study_uid": item.header.study_uid,
        "patient_id": _first(values, "PatientID"),
        "patient_name": _first(values, "PatientName"),
        "patient_birth_date": _first(values, "PatientBirthDate"),
        "patient_sex": _first(values, "PatientSex"),
        "name_key": search_key(_first(values, "PatientName")),
        "study_date": _first(values, "StudyDate"),
        "study_time": _first(values, "StudyTime"),
        "study_id": _first(values, "StudyID"),
        "referrer_key": search_key(_first(values, "ReferringPhysicianName")),
        "accession_number": _first(values, "AccessionNumber"),
        "description": _first(values, "StudyDescription"),
        "header": _storable(values),
        "received_at": item.landed.received_at,
    }


def _series(item: Indexed) -> dict[str, object]:
    return {
        "series_uid": item.header.series_uid,
        "study_uid": item.header.study_uid,
        **series_columns(item.header),
    }


def series_columns(header: InstanceHeader) -> dict[str, object]:
    """What the tables `series` and `result` keep of a header."""
    values = {**header.study_values, **header.series_values}
    return {
        "modality": _without_nulls(header.modality)[:16],
        "series_number": _number(values, "SeriesNumber"),
        "header": _storable(values),
    }


def _number(values: HeaderValues, keyword: str) -> int | None:
    """A whole number that fits the column, None for anything else."""
    text = _first(values, keyword)
    return int(text) if _WHOLE_NUMBER.fullmatch(text) else None


def _first(values: HeaderValues, keyword: str) -> str:
    return _without_nulls(next(iter(values.get(keyword, ())), ""))


def _storable(values: HeaderValues) -> dict[str, list[str]]:
    return {keyword: [_without_nulls(text) for text in texts] for keyword, texts in values.items()}


def _without_nulls(text: str) -> str:
    """Modalities that write from fixed buffers leave nulls in text; PostgreSQL takes none."""
    return text.replace("\0", "")


def _misplaced(connection: Connection, items: Sequence[Indexed]) -> dict[str, Unreadable]:
    """Instances whose series already belongs to another study (PS3.3 A.1.2: a series has one).

    Of several studies that claim a new series in one batch, the first has it.
    """
    uids = {item.header.series_uid for item in items}
    query = select(SeriesRow.series_uid, SeriesRow.study_uid).where(SeriesRow.series_uid.in_(uids))
    owner = {row.series_uid: row.study_uid for row in connection.execute(query)}
    for item in items:
        owner.setdefault(item.header.series_uid, item.header.study_uid)
    reason = "its SeriesInstanceUID already belongs to another study"
    return {
        item.header.sop_instance_uid: Unreadable(
            landed=item.landed, reason=reason, kind=QuarantineKind.MISPLACED
        )
        for item in items
        if owner[item.header.series_uid] != item.header.study_uid
    }


def _place(connection: Connection, items: Sequence[Indexed]) -> None:
    for item in items:
        connection.execute(
            update(InstanceRow)
            .where(InstanceRow.sop_instance_uid == item.landed.sop_instance_uid)
            .values(
                state="indexed",
                report_state=case((InstanceRow.sop_class_uid.in_(REPORTS), "waiting")),
                study_uid=item.header.study_uid,
                series_uid=item.header.series_uid,
                frames=item.header.frames,
                instance_number=_number(values := item.header.series_values, "InstanceNumber"),
                rows=_number(values, "Rows"),
                columns=_number(values, "Columns"),
                bits_allocated=_number(values, "BitsAllocated"),
            )
        )
    pairs = {(item.header.study_uid, item.landed.association_id) for item in items}
    insert_new(
        connection,
        StudyAssociationRow,
        [{"study_uid": study, "association_id": association} for study, association in pairs],
    )


def _mark_returned(connection: Connection, items: Sequence[Indexed]) -> frozenset[str]:
    """SEG and SR in studies with results of ours: a viewer may have sent back a correction.

    They do not open their study before `steps.correcting` has looked at them, since a correction
    is nothing to run algorithms on.
    """
    studies = {item.header.study_uid for item in items}
    with_results = set(
        connection.scalars(
            select(ResultRow.study_uid).where(ResultRow.study_uid.in_(studies)).distinct()
        )
    )
    candidates = [
        item.header.sop_instance_uid for item in items if item.header.study_uid in with_results
    ]
    if not candidates:
        return frozenset()
    which = (
        InstanceRow.sop_instance_uid.in_(candidates),
        InstanceRow.sop_class_uid.in_((*REPORTS, *SEGMENTATIONS)),
    )
    returned = frozenset(connection.scalars(select(InstanceRow.sop_instance_uid).where(*which)))
    connection.execute(update(InstanceRow).where(*which).values(correction_state="waiting"))
    return returned


def _keep_views(connection: Connection, items: Sequence[Indexed]) -> None:
    """Add the views of a batch to those of its series.

    Of every other attribute the first instance's value stands for the series. A frontal and a
    lateral radiograph often come as one series, and rules must not depend on which came first.
    """
    views: dict[SeriesUid, list[str]] = defaultdict(list)
    for item in items:
        views[item.header.series_uid] += item.header.series_values.get(VIEW, ())
    for series_uid, found in views.items():
        row = select(SeriesRow.header).where(SeriesRow.series_uid == series_uid)
        header = connection.execute(row).scalar_one()
        known = header.get(VIEW, [])
        every = list(dict.fromkeys([*known, *found]))
        if every != known:
            connection.execute(
                update(SeriesRow)
                .where(SeriesRow.series_uid == series_uid)
                .values(header={**header, VIEW: every})
            )


def _count(connection: Connection, items: Sequence[Indexed], returned: frozenset[str]) -> None:
    """Add the batch to the counters of its studies and series; more than 0 new opens them."""
    by_study: dict[StudyUid, list[datetime]] = defaultdict(list)
    by_series: dict[SeriesUid, list[datetime]] = defaultdict(list)
    for item in items:
        if item.header.sop_instance_uid in returned:
            _add_quietly(connection, item)
            continue
        by_study[item.header.study_uid].append(item.landed.received_at)
        by_series[item.header.series_uid].append(item.landed.received_at)
    for study_uid, moments in by_study.items():
        _add(connection, StudyRow, StudyRow.study_uid == study_uid, moments)
    for series_uid, moments in by_series.items():
        _add(connection, SeriesRow, SeriesRow.series_uid == series_uid, moments)


def _add_quietly(connection: Connection, item: Indexed) -> None:
    """Count an instance that does not open its study."""
    for table, which in (
        (StudyRow, StudyRow.study_uid == item.header.study_uid),
        (SeriesRow, SeriesRow.series_uid == item.header.series_uid),
    ):
        connection.execute(
            update(table).where(which).values(instance_count=table.instance_count + 1)
        )


def _add(
    connection: Connection,
    table: type[StudyRow | SeriesRow],
    which: object,
    moments: Iterable[datetime],
) -> None:
    ordered = sorted(moments)
    row = connection.execute(
        select(table.first_new_at, table.last_new_at).where(which)  # type: ignore[arg-type]
    ).one()
    connection.execute(
        update(table)
        .where(which)  # type: ignore[arg-type]
        .values(
            instance_count=table.instance_count + len(ordered),
            new_instances=table.new_instances + len(ordered),
            first_new_at=min(row.first_new_at or ordered[0], ordered[0]),
            last_new_at=max(row.last_new_at or ordered[-1], ordered[-1]),
        )
    )
