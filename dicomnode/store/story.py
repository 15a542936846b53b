"""Everything that is known of one study, from its first image to its last receipt."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select
from sqlalchemy.orm import aliased

from dicomnode.domain.codes import number_in_words
from dicomnode.domain.errors import StudyError
from dicomnode.domain.events import EventName
from dicomnode.domain.results import ResultKind
from dicomnode.store.database import Database
from dicomnode.store.tables import (
    AssociationRow,
    DeliveryRow,
    EventRow,
    FindingRow,
    InstanceRow,
    JobRow,
    MeasurementRow,
    ResultRow,
    RevisionRow,
    SeriesRow,
    StudyAssociationRow,
    StudyRow,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What one association brought."""

    calling_ae: str
    address: str
    at: datetime
    instances: int
    outcome: str
    service: str
    """C-STORE, or STOW: then the calling AE title is a user's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesTold:
    """One series."""

    series_uid: str
    modality: str
    description: str
    instances: int
    of_another_patient: bool
    """It states another PatientID than the first image of the study did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionTold:
    """One closing, and what the rules said of it."""

    number: int
    series_uid: str
    reason: str
    closed_at: datetime
    instances: int
    evidence: Mapping[str, Any]
    rule_set_digest: str
    verdicts: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingTold:
    """One finding with its numbers, in words."""

    number: int
    """1, 2, ... within the job."""
    name: str
    kind: str
    meaning: str
    score: float | None
    text: str
    """A caption, or positive / negative for a class."""
    numbers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryTold:
    """One object at one destination."""

    kind: str
    sop_instance_uid: str
    destination: str
    state: str
    status: int | None
    reason: str
    confirmed_by: str
    superseded: bool
    """A later run of the job said something else; its objects have UIDs of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTold:
    """One job and what became of it."""

    id: str
    rule: str
    algorithm: str
    version: str
    state: str
    error: str
    reason: str
    priority: int
    attempt: int
    run: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    seconds: Mapping[str, float]
    warnings: tuple[str, ...]
    findings: tuple[FindingTold, ...]
    paths: tuple[str, ...]
    """Result files, relative to the data folder."""
    deliveries: tuple[DeliveryTold, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTold:
    """One line of the log."""

    at: datetime
    name: str
    job_id: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """The whole story of a study."""

    study_uid: str
    study_date: str
    accession_number: str
    description: str
    is_open: bool
    instances: int
    received: tuple[Received, ...]
    series: tuple[SeriesTold, ...]
    revisions: tuple[RevisionTold, ...]
    jobs: tuple[JobTold, ...]
    events: tuple[EventTold, ...]


def story(database: Database, study_uid: str) -> Story:
    """Read it in one transaction.

    Raises:
        StudyError: the node has never had such a study.
    """
    with database.reading() as connection:
        study = connection.execute(
            select(StudyRow).where(StudyRow.study_uid == study_uid)
        ).one_or_none()
        if study is None:
            raise StudyError(f"no study {study_uid} has been received")
        events = _events(connection, study_uid)
        return Story(
            study_uid=study_uid,
            study_date=study.study_date,
            accession_number=study.accession_number,
            description=study.description,
            is_open=study.new_instances > 0,
            instances=study.instance_count,
            received=_received(connection, study_uid),
            series=_series(connection, study_uid, _of_others(events)),
            revisions=_revisions(connection, study_uid),
            jobs=_jobs(connection, study_uid),
            events=events,
        )


def _of_others(events: Sequence[EventTold]) -> frozenset[str]:
    """Series of the study that state another PatientID."""
    return frozenset(
        str(event.facts["series_uid"])
        for event in events
        if event.name == EventName.PATIENTS_DIFFER.value
    )


def job_told(database: Database, job_id: str) -> JobTold:
    """One job and what became of it.

    Raises:
        StudyError: there is no such job.
    """
    with database.reading() as connection:
        row = connection.execute(select(JobRow).where(JobRow.id == job_id)).one_or_none()
        if row is None:
            raise StudyError(f"there is no job {job_id}")
        return _job(connection, row)


def _received(connection: Connection, study_uid: str) -> tuple[Received, ...]:
    count = (
        select(func.count())
        .where(InstanceRow.association_id == AssociationRow.id, InstanceRow.study_uid == study_uid)
        .scalar_subquery()
    )
    query = (
        select(AssociationRow, count.label("instances"))
        .join(StudyAssociationRow, StudyAssociationRow.association_id == AssociationRow.id)
        .where(StudyAssociationRow.study_uid == study_uid)
        .order_by(AssociationRow.opened_at)
    )
    return tuple(
        Received(
            calling_ae=row.calling_ae,
            address=row.address,
            at=row.opened_at,
            instances=row.instances,
            outcome=row.outcome or "open",
            service=row.service,
        )
        for row in connection.execute(query)
    )


def _series(
    connection: Connection, study_uid: str, of_others: Collection[str]
) -> tuple[SeriesTold, ...]:
    query = select(SeriesRow).where(SeriesRow.study_uid == study_uid).order_by(SeriesRow.series_uid)
    return tuple(
        SeriesTold(
            series_uid=row.series_uid,
            modality=row.modality,
            description=next(iter(row.header.get("SeriesDescription", [])), ""),
            instances=row.instance_count,
            of_another_patient=row.series_uid in of_others,
        )
        for row in connection.execute(query)
    )


def _revisions(connection: Connection, study_uid: str) -> tuple[RevisionTold, ...]:
    query = select(RevisionRow).where(RevisionRow.study_uid == study_uid).order_by(RevisionRow.id)
    return tuple(
        RevisionTold(
            number=row.number,
            series_uid=row.series_uid,
            reason=row.reason,
            closed_at=row.closed_at,
            instances=row.instance_count,
            evidence=row.evidence,
            rule_set_digest=row.rule_set_digest or "",
            verdicts=tuple(row.verdicts or ()),
        )
        for row in connection.execute(query)
    )


def _jobs(connection: Connection, study_uid: str) -> tuple[JobTold, ...]:
    query = select(JobRow).where(JobRow.study_uid == study_uid).order_by(JobRow.created_at)
    return tuple(_job(connection, row) for row in connection.execute(query).all())


def _job(connection: Connection, row: Row[Any]) -> JobTold:
    paths = select(ResultRow.path).where(ResultRow.job_id == row.id).order_by(ResultRow.kind)
    return JobTold(
        id=row.id,
        rule=row.rule_name,
        algorithm=row.algorithm,
        version=row.algorithm_version or "",
        state=row.state,
        error=row.error,
        reason=row.reason,
        priority=row.priority,
        attempt=row.attempt,
        run=row.run,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        seconds=row.seconds or {},
        warnings=tuple(row.warnings or ()),
        findings=findings_told(connection, row.id),
        paths=tuple(connection.scalars(paths)),
        deliveries=_deliveries(connection, row.id),
    )


def findings_told(connection: Connection, job_id: str) -> tuple[FindingTold, ...]:
    """The findings of a job, in their order."""
    query = select(FindingRow).where(FindingRow.job_id == job_id).order_by(FindingRow.number)
    told = []
    for row in connection.execute(query).all():
        measured = select(MeasurementRow).where(MeasurementRow.finding_id == row.id)
        numbers = tuple(
            _number(number) for number in connection.execute(measured.order_by(MeasurementRow.id))
        )
        sides = [part for part in (row.laterality, row.code_meaning) if part]
        told.append(
            FindingTold(
                number=row.number,
                name=row.name,
                kind=row.kind,
                meaning=" ".join(sides),
                score=row.score,
                text=row.text or "",
                numbers=numbers,
            )
        )
    return tuple(told)


def _number(row: Row[Any]) -> str:
    name = f"{row.code_meaning}, {row.derivation}" if row.derivation else row.code_meaning
    return f"{name} {number_in_words(row.value, row.unit)}"


def _deliveries(connection: Connection, job_id: str) -> tuple[DeliveryTold, ...]:
    # Every run has a report, and it is new wherever anything that the run says is.
    last_report = aliased(ResultRow)
    current_since = (
        select(func.max(last_report.created_at))
        .where(last_report.job_id == job_id, last_report.kind == ResultKind.SR.value)
        .scalar_subquery()
    )
    query = (
        select(
            DeliveryRow,
            ResultRow.kind,
            (ResultRow.created_at < current_since).label("superseded"),
        )
        .join(ResultRow, ResultRow.sop_instance_uid == DeliveryRow.result_uid)
        .where(DeliveryRow.job_id == job_id)
        .order_by(DeliveryRow.destination, ResultRow.created_at, ResultRow.kind)
    )
    return tuple(
        DeliveryTold(
            kind=row.kind,
            sop_instance_uid=row.result_uid,
            destination=row.destination,
            state=row.state,
            status=row.status,
            reason=row.reason,
            confirmed_by=row.confirmed_by or "",
            superseded=bool(row.superseded),
        )
        for row in connection.execute(query)
    )


def _events(connection: Connection, study_uid: str) -> tuple[EventTold, ...]:
    query = select(EventRow).where(EventRow.study_uid == study_uid).order_by(EventRow.id)
    return tuple(
        EventTold(at=row.at, name=row.name, job_id=row.job_id or "", facts=row.facts)
        for row in connection.execute(query)
    )
