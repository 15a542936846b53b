"""Studies in a list: searched, filtered and paged by key, so that ten million stay quick."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    exists,
    func,
    or_,
    select,
    tuple_,
)

from dicomnode.domain.events import EventName
from dicomnode.domain.jobs import JobState
from dicomnode.domain.results import DeliveryState
from dicomnode.store.database import Database
from dicomnode.store.jobs import UNFINISHED
from dicomnode.store.overview import SLOW, in_trouble, study_troubles
from dicomnode.store.tables import (
    DeliveryRow,
    EventRow,
    JobRow,
    RevisionRow,
    SeriesRow,
    StudyRow,
)

LOOKED_AT = 50_000
"""Studies that one search looks through where no index leads to what is wanted."""
REASONS_EACH = 3
"""Reasons told of one study; its story has all."""


class StudyState(Enum):
    """Where a study stands."""

    RECEIVING = "receiving"
    """Images came since it was closed last, or it never was."""
    STUCK = "stuck"
    """Something of it needs a person."""
    WORKING = "working"
    """A job waits or runs, or results wait for a destination."""
    NO_JOB = "no job"
    """No rule called for anything."""
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyKey:
    """The place of a study in the list, newest first."""

    received_at: datetime
    study_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySearch:
    """Which studies; empty values ask for nothing."""

    state: StudyState | None = None
    modality: str = ""
    since: datetime | None = None
    """Received at this moment or later."""
    is_flagged: bool = False
    """Only studies with findings that a rule calls urgent."""
    text: str = ""
    """Part of accession number or description; or a whole accession number, UID or patient ID."""
    before: StudyKey | None = None
    """Only what stands behind this place: the next page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyTold:
    """One study in a list."""

    study_uid: str
    study_date: str
    accession_number: str
    description: str
    modalities: tuple[str, ...]
    received_at: datetime
    instances: int
    revision: int
    state: StudyState
    jobs: Mapping[str, int]
    """Job state -> how many."""
    deliveries: Mapping[str, int]
    """Delivery state -> how many objects."""
    stuck: tuple[str, ...]
    """Why a person is needed."""
    flagged: tuple[str, ...] = ()
    """What models found that a rule calls urgent, e.g. `stat: Pneumothorax`, newest first."""

    @property
    def key(self) -> StudyKey:
        """Its place in the list."""
        return StudyKey(received_at=self.received_at, study_uid=self.study_uid)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPage:
    """Some studies, newest first."""

    studies: tuple[StudyTold, ...]
    next: StudyKey | None
    """Where to go on; None: there are no more."""
    looked_back_to: datetime | None
    """The search ended here, before the page was full, to stay quick; `next` goes on."""


def list_studies(
    database: Database,
    search: StudySearch,
    now: datetime,
    *,
    limit: int = 50,
    longest: int = LOOKED_AT,
) -> StudyPage:
    """One page of studies; a search looks through `longest` of them at most."""
    with database.reading() as connection:
        rows = connection.execute(_query(search, now, limit + 1, longest)).all()
        found, more = rows[:limit], len(rows) > limit
        studies = _told(connection, found, now)
        if more:
            return StudyPage(studies=studies, next=studies[-1].key, looked_back_to=None)
        last = None if _is_led(search) else _last_looked_at(connection, search, longest)
    return StudyPage(studies=studies, next=last, looked_back_to=last.received_at if last else None)


def _is_led(search: StudySearch) -> bool:
    """True if an index leads to what is wanted, however far back it lies."""
    if search.is_flagged:
        return True
    plain = not (search.state or search.modality or search.text)
    few = {StudyState.RECEIVING, StudyState.STUCK, StudyState.WORKING}
    return plain or search.state in few


def _query(search: StudySearch, now: datetime, limit: int, longest: int) -> Select[Any]:
    newest_first = (StudyRow.received_at.desc(), StudyRow.study_uid.desc())
    wanted = and_(True, *_conditions(search, now))
    if _is_led(search):
        return select(StudyRow).where(_place(search), wanted).order_by(*newest_first).limit(limit)
    looked_at = _looked_at(search, longest)
    among: ColumnElement[bool] = StudyRow.study_uid.in_(select(looked_at.c.study_uid))
    if search.text:
        # What is named exactly is found however far back it lies.
        exact = and_(_place(search), _is_exactly(search.text))
        among = or_(among, exact)
    return select(StudyRow).where(among, wanted).order_by(*newest_first).limit(limit)


def _looked_at(search: StudySearch, longest: int) -> Any:
    return (
        select(StudyRow.study_uid, StudyRow.received_at)
        .where(_place(search))
        .order_by(StudyRow.received_at.desc(), StudyRow.study_uid.desc())
        .limit(longest)
        .subquery()
    )


def _last_looked_at(connection: Connection, search: StudySearch, longest: int) -> StudyKey | None:
    """The last of those looked at, if there may be more behind it."""
    looked_at = _looked_at(search, longest)
    count = connection.scalar(select(func.count()).select_from(looked_at)) or 0
    if count < longest:
        return None
    last = select(looked_at).order_by(looked_at.c.received_at, looked_at.c.study_uid).limit(1)
    row = connection.execute(last).one()
    return StudyKey(received_at=row.received_at, study_uid=row.study_uid)


def _place(search: StudySearch) -> ColumnElement[bool]:
    conditions = []
    if search.since is not None:
        conditions.append(StudyRow.received_at >= search.since)
    if search.before is not None:
        place = tuple_(StudyRow.received_at, StudyRow.study_uid)
        before = search.before
        # Said twice: the first leads the index, the second tells equal moments apart.
        conditions.append(StudyRow.received_at <= before.received_at)
        conditions.append(place < tuple_(before.received_at, before.study_uid))
    return and_(True, *conditions)


def _conditions(search: StudySearch, now: datetime) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if search.state is not None:
        conditions.append(_stands(search.state, now))
    if search.is_flagged:
        flagged = select(EventRow.study_uid).where(EventRow.name == EventName.STUDY_FLAGGED.value)
        conditions.append(StudyRow.study_uid.in_(flagged))
    if search.modality:
        conditions.append(
            exists().where(
                SeriesRow.study_uid == StudyRow.study_uid, SeriesRow.modality == search.modality
            )
        )
    if search.text:
        part = search.text.lower()
        conditions.append(
            or_(
                func.lower(StudyRow.description).contains(part, autoescape=True),
                func.lower(StudyRow.accession_number).contains(part, autoescape=True),
                _is_exactly(search.text),
            )
        )
    return conditions


def _is_exactly(text: str) -> ColumnElement[bool]:
    return or_(
        StudyRow.study_uid == text,
        StudyRow.accession_number == text,
        StudyRow.patient_id == text,
    )


def _stands(state: StudyState, now: datetime) -> ColumnElement[bool]:
    uid = StudyRow.study_uid
    match state:
        case StudyState.RECEIVING:
            return StudyRow.new_instances > 0
        case StudyState.STUCK:
            return uid.in_(_stuck(now))
        case StudyState.WORKING:
            return uid.in_(_at_work())
        case StudyState.NO_JOB:
            has_job = exists().where(JobRow.study_uid == uid)
            return and_(StudyRow.new_instances == 0, ~has_job)
        case StudyState.DONE:
            has_job = exists().where(JobRow.study_uid == uid)
            settled = and_(uid.not_in(_stuck(now)), uid.not_in(_at_work()))
            return and_(StudyRow.new_instances == 0, has_job, settled)


def _at_work() -> Any:
    jobs = select(JobRow.study_uid).where(JobRow.state.in_([one.value for one in UNFINISHED]))
    on_way = (
        select(JobRow.study_uid)
        .join(DeliveryRow, DeliveryRow.job_id == JobRow.id)
        .where(DeliveryRow.state == DeliveryState.WAITING.value)
    )
    return jobs.union_all(on_way)


def _stuck(now: datetime) -> Any:
    """The studies of `overview.study_troubles`, as a set."""
    ended = [JobState.FAILED.value, JobState.REFUSED.value]
    jobs = select(JobRow.study_uid).where(
        JobRow.state.in_(ended)
        | and_(JobRow.state == JobState.RUNNING.value, JobRow.deadline_at < now)
    )
    deliveries = (
        select(JobRow.study_uid)
        .join(DeliveryRow, DeliveryRow.job_id == JobRow.id)
        .where(in_trouble())
    )
    closed = select(RevisionRow.study_uid).where(
        RevisionRow.matched_at.is_(None), RevisionRow.closed_at < now - SLOW
    )
    return jobs.union_all(deliveries, closed)


def _told(connection: Connection, rows: Sequence[Row[Any]], now: datetime) -> tuple[StudyTold, ...]:
    uids = [row.study_uid for row in rows]
    if not uids:
        return ()
    jobs = _counts(
        connection,
        select(JobRow.study_uid, JobRow.state, func.count())
        .where(JobRow.study_uid.in_(uids))
        .group_by(JobRow.study_uid, JobRow.state),
    )
    deliveries = _counts(
        connection,
        select(JobRow.study_uid, DeliveryRow.state, func.count())
        .join(DeliveryRow, DeliveryRow.job_id == JobRow.id)
        .where(JobRow.study_uid.in_(uids))
        .group_by(JobRow.study_uid, DeliveryRow.state),
    )
    modalities = (
        select(SeriesRow.study_uid, SeriesRow.modality)
        .where(SeriesRow.study_uid.in_(uids))
        .distinct()
    )
    held: dict[str, set[str]] = {}
    for uid, modality in connection.execute(modalities):
        held.setdefault(uid, set()).add(modality)
    stuck: dict[str, list[str]] = {}
    for one in study_troubles(connection, now, len(uids) * 10, among=uids):
        stuck.setdefault(one.study_uid, []).append(one.reason)
    flags = _flags(connection, uids)
    return tuple(
        StudyTold(
            study_uid=row.study_uid,
            study_date=row.study_date,
            accession_number=row.accession_number,
            description=row.description,
            modalities=tuple(sorted(held.get(row.study_uid, ()))),
            received_at=row.received_at,
            instances=row.instance_count,
            revision=row.revision,
            state=_state(
                row.new_instances > 0,
                jobs.get(row.study_uid, {}),
                deliveries.get(row.study_uid, {}),
                is_stuck=row.study_uid in stuck,
            ),
            jobs=jobs.get(row.study_uid, {}),
            deliveries=deliveries.get(row.study_uid, {}),
            stuck=tuple(dict.fromkeys(stuck.get(row.study_uid, ())))[:REASONS_EACH],
            flagged=flags.get(row.study_uid, ()),
        )
        for row in rows
    )


def _flags(connection: Connection, uids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    query = (
        select(EventRow.study_uid, EventRow.facts)
        .where(EventRow.study_uid.in_(uids), EventRow.name == EventName.STUDY_FLAGGED.value)
        .order_by(EventRow.id.desc())
    )
    said: dict[str, list[str]] = {}
    for uid, facts in connection.execute(query):
        said.setdefault(uid, []).append(f"{facts['to']}: {facts['finding']}")
    return {uid: tuple(dict.fromkeys(some))[:REASONS_EACH] for uid, some in said.items()}


def _counts(connection: Connection, query: Select[str, str, int]) -> dict[str, dict[str, int]]:
    counted: dict[str, dict[str, int]] = {}
    for uid, state, count in connection.execute(query):
        counted.setdefault(uid, {})[state] = count
    return counted


def _state(
    is_open: bool, jobs: Mapping[str, int], deliveries: Mapping[str, int], *, is_stuck: bool
) -> StudyState:
    """What is most worth knowing comes first."""
    if is_stuck:
        return StudyState.STUCK
    if is_open:
        return StudyState.RECEIVING
    is_working = any(state.value in jobs for state in UNFINISHED)
    if is_working or DeliveryState.WAITING.value in deliveries:
        return StudyState.WORKING
    return StudyState.DONE if jobs else StudyState.NO_JOB
