"""SEG and SR that may correct results of ours, and what became of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, insert, select, update

from dicomnode.domain.events import Event, EventName
from dicomnode.domain.identifiers import InstanceUid, JobId, StudyUid
from dicomnode.domain.jobs import JobState
from dicomnode.domain.judgements import (
    WHOLE_RESULT,
    Correction,
    CorrectionState,
    Judgement,
    Verdict,
)
from dicomnode.store.database import Database
from dicomnode.store.events import write_events
from dicomnode.store.judgements import write_judgement
from dicomnode.store.tables import (
    AssociationRow,
    CorrectionRow,
    CorrectionSegmentRow,
    InstanceRow,
    JobRow,
    ResultRow,
    SeriesRow,
    StudyRow,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MayCorrect:
    """An SEG or SR that came into a study with results of ours."""

    sop_instance_uid: InstanceUid
    study_uid: StudyUid
    path: Path
    sent_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnResult:
    """A result of ours that it may be about."""

    sop_instance_uid: InstanceUid
    job_id: JobId
    kind: str
    path: Path
    segmentation: Path | None
    """The job's SEG."""
    inputs: frozenset[str]
    """Series the job read."""


def waiting_for_correction(
    database: Database, limit: int, *, but: Sequence[str] = ()
) -> list[MayCorrect]:
    """The next ones, oldest first, without those in `but`."""
    query = (
        select(
            InstanceRow.sop_instance_uid,
            InstanceRow.study_uid,
            InstanceRow.path,
            AssociationRow.calling_ae,
        )
        .join(AssociationRow, AssociationRow.id == InstanceRow.association_id)
        .where(
            InstanceRow.correction_state == CorrectionState.WAITING.value,
            InstanceRow.sop_instance_uid.not_in(but),
        )
        .order_by(InstanceRow.received_at)
        .limit(limit)
    )
    with database.reading() as connection:
        return [
            MayCorrect(
                sop_instance_uid=InstanceUid(row.sop_instance_uid),
                study_uid=StudyUid(row.study_uid or ""),
                path=database.absolute(row.path),
                sent_by=row.calling_ae,
            )
            for row in connection.execute(query)
        ]


def own_results(database: Database, study_uid: StudyUid) -> list[OwnResult]:
    """SEG and SR of ours in a study, the newest job's first."""
    query = (
        select(ResultRow, JobRow.inputs)
        .join(JobRow, JobRow.id == ResultRow.job_id)
        .where(
            ResultRow.study_uid == study_uid,
            ResultRow.kind.in_(["SEG", "SR"]),
            JobRow.state == JobState.SUCCEEDED.value,
        )
        .order_by(JobRow.finished_at.desc(), ResultRow.kind)
    )
    with database.reading() as connection:
        rows = connection.execute(query).all()
    segmentations = {row.job_id: database.absolute(row.path) for row in rows if row.kind == "SEG"}
    return [
        OwnResult(
            sop_instance_uid=InstanceUid(row.sop_instance_uid),
            job_id=JobId(row.job_id),
            kind=row.kind,
            path=database.absolute(row.path),
            segmentation=segmentations.get(row.job_id),
            inputs=frozenset(row.inputs.values()),
        )
        for row in rows
    ]


def record_corrections(
    database: Database, received: MayCorrect, corrections: Sequence[Correction], now: datetime
) -> None:
    """Keep what an object corrects, and say so of each result, in one commit. May be repeated."""
    with database.writing() as connection:
        if not _settle(connection, received, CorrectionState.KEPT):
            return
        for correction in corrections:
            _record(connection, received, correction, now)


def _record(
    connection: Connection, received: MayCorrect, correction: Correction, now: datetime
) -> None:
    run = connection.scalar(select(JobRow.run).where(JobRow.id == correction.job_id))
    number = connection.execute(
        insert(CorrectionRow)
        .values(
            sop_instance_uid=correction.sop_instance_uid,
            job_id=correction.job_id,
            run=run,
            kind=correction.kind,
            sign=correction.sign.value,
            sent_by=correction.sent_by,
            made_with=correction.made_with,
            note=correction.note,
            at=now,
        )
        .returning(CorrectionRow.id)
    ).scalar_one()
    for one in correction.segments:
        connection.execute(
            insert(CorrectionSegmentRow).values(
                correction_id=number,
                name=one.name,
                ours_voxels=one.ours_voxels,
                theirs_voxels=one.theirs_voxels,
                ours_ml=one.ours_ml,
                theirs_ml=one.theirs_ml,
                dice=one.dice,
            )
        )
    if correction.changes_something:
        word = Judgement(
            job_id=correction.job_id,
            finding=WHOLE_RESULT,
            verdict=Verdict.CORRECTED,
            by=correction.sent_by,
            at=now,
        )
        write_judgement(connection, word, correction_id=number)
    facts = {
        "sop_instance_uid": correction.sop_instance_uid,
        "kind": correction.kind,
        "sign": correction.sign.value,
        "segments": len(correction.segments),
    }
    event = Event(
        name=EventName.RESULT_CORRECTED,
        study_uid=received.study_uid,
        job_id=correction.job_id,
        facts=facts,
    )
    write_events(connection, [event], now)


def record_no_correction(database: Database, received: MayCorrect, state: CorrectionState) -> None:
    """It is about something else, or cannot be read: it opens its study, as any instance does."""
    with database.writing() as connection:
        if not _settle(connection, received, state):
            return
        row = connection.execute(
            select(InstanceRow).where(InstanceRow.sop_instance_uid == received.sop_instance_uid)
        ).one()
        _open(connection, StudyRow, StudyRow.study_uid == row.study_uid, row)
        _open(connection, SeriesRow, SeriesRow.series_uid == row.series_uid, row)


def _settle(connection: Connection, received: MayCorrect, state: CorrectionState) -> bool:
    """False: somebody was quicker."""
    settled = connection.execute(
        update(InstanceRow)
        .where(
            InstanceRow.sop_instance_uid == received.sop_instance_uid,
            InstanceRow.correction_state == CorrectionState.WAITING.value,
        )
        .values(correction_state=state.value)
    )
    return settled.rowcount > 0


def _open(
    connection: Connection,
    table: type[StudyRow | SeriesRow],
    which: ColumnElement[bool],
    instance: Row[Any],
) -> None:
    """Count an instance as new, as the indexing left to do."""
    row = connection.execute(select(table).where(which).with_for_update()).one()
    moment = instance.received_at
    connection.execute(
        update(table)
        .where(which)
        .values(
            new_instances=row.new_instances + 1,
            first_new_at=min(row.first_new_at or moment, moment),
            last_new_at=max(row.last_new_at or moment, moment),
        )
    )
