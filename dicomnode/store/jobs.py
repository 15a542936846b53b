"""Jobs: made by matching, moved from state to state, each move in one commit with its event."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime

from sqlalchemy import select, update

from dicomnode.domain.errors import DicomNodeError, StudyError
from dicomnode.domain.events import Event, EventName, FactValue
from dicomnode.domain.identifiers import JobId, SeriesUid, StudyUid
from dicomnode.domain.jobs import Job, JobState
from dicomnode.domain.matching import Match, Priority, RuleVerdict
from dicomnode.domain.studies import StudySnapshot
from dicomnode.store.comparisons import compare_jobs
from dicomnode.store.database import Database
from dicomnode.store.events import write_events
from dicomnode.store.predecessors import load_predecessor
from dicomnode.store.tables import JobRow, RevisionRow, RuleSetRow
from dicomnode.store.turns import give_turns
from dicomnode.store.upsert import insert_new

UNFINISHED = (JobState.QUEUED, JobState.RUNNING)


def save_rule_set(database: Database, digest: str, text: str, now: datetime) -> None:
    """Keep the text of a rule version, so that every job can be explained by it."""
    with database.writing() as connection:
        insert_new(connection, RuleSetRow, [{"digest": digest, "text": text, "first_used_at": now}])


def rule_set_text(database: Database, digest: str) -> str | None:
    """The rule file as it was in that version."""
    with database.reading() as connection:
        return connection.scalar(select(RuleSetRow.text).where(RuleSetRow.digest == digest))


def record_match(
    database: Database,
    revision_id: int,
    snapshot: StudySnapshot,
    *,
    rule_set_digest: str,
    verdicts: Sequence[RuleVerdict],
    jobs: Mapping[JobId, tuple[Match, str]],
    now: datetime,
) -> None:
    """Store what matching said and make its jobs.

    `jobs` maps a job to its match and the digest of its input images. A job that an earlier
    revision made on the same images is not made again. May be called twice.
    """
    with database.writing() as connection:
        already = connection.execute(
            select(RevisionRow.matched_at).where(RevisionRow.id == revision_id).with_for_update()
        ).scalar_one()
        if already is not None:
            return
        connection.execute(
            update(RevisionRow)
            .where(RevisionRow.id == revision_id)
            .values(
                matched_at=now,
                rule_set_digest=rule_set_digest,
                verdicts=[_verdict_json(verdict) for verdict in verdicts],
            )
        )
        known = frozenset(connection.scalars(select(JobRow.id).where(JobRow.id.in_(jobs))))
        rows = [
            {
                "id": job,
                "revision_id": revision_id,
                "input_digest": digest,
                "created_at": now,
                **_job_values(snapshot.study_uid, match),
            }
            for job, (match, digest) in jobs.items()
            if job not in known
        ]
        give_turns(connection, rows)
        insert_new(connection, JobRow, rows)
        write_events(connection, _match_events(snapshot, verdicts, rows, known), now)


def _job_values(study_uid: StudyUid, match: Match) -> dict[str, object]:
    return {
        "study_uid": study_uid,
        "rule_name": match.rule_name,
        "rule_set_digest": match.ruleset_digest,
        "algorithm": match.algorithm,
        "inputs": dict(match.inputs),
        "priority": match.priority.value,
        "destinations": list(match.destinations),
        "state": JobState.QUEUED.value,
    }


def _match_events(
    snapshot: StudySnapshot,
    verdicts: Sequence[RuleVerdict],
    rows: Sequence[Mapping[str, object]],
    known: frozenset[str],
) -> list[Event]:
    matched = [verdict.rule_name for verdict in verdicts if verdict.matches]
    facts: dict[str, FactValue] = {
        "revision": snapshot.revision,
        "rules_tried": len(verdicts),
        "rules_matched": ", ".join(matched),
        "inputs_unchanged": len(known),
    }
    events = [Event(name=EventName.STUDY_MATCHED, study_uid=snapshot.study_uid, facts=facts)]
    return events + [
        Event(
            name=EventName.JOB_QUEUED,
            study_uid=snapshot.study_uid,
            job_id=JobId(str(row["id"])),
            facts={"rule": str(row["rule_name"]), "algorithm": str(row["algorithm"])},
        )
        for row in rows
    ]


def _verdict_json(verdict: RuleVerdict) -> dict[str, object]:
    return {
        "rule": verdict.rule_name,
        "reason": verdict.reason,
        "conditions": [asdict(condition) for condition in verdict.conditions],
        "matches": [dict(match.inputs) for match in verdict.matches],
    }


def load_job(database: Database, job: JobId) -> Job:
    """One job.

    Raises:
        StudyError: there is none with this id.
    """
    query = (
        select(JobRow, RevisionRow.number.label("revision"))
        .join(RevisionRow, RevisionRow.id == JobRow.revision_id)
        .where(JobRow.id == job)
    )
    with database.reading() as connection:
        row = connection.execute(query).one_or_none()
        if row is None:
            raise StudyError(f"there is no job {job}")
        predecessor = load_predecessor(database, connection, row.predecessor_id)
    return Job(
        id=JobId(row.id),
        revision_id=row.revision_id,
        study_uid=StudyUid(row.study_uid),
        revision=row.revision,
        rule_name=row.rule_name,
        rule_set_digest=row.rule_set_digest,
        algorithm=row.algorithm,
        inputs={name: SeriesUid(uid) for name, uid in row.inputs.items()},
        priority=Priority(row.priority),
        destinations=tuple(row.destinations),
        state=JobState(row.state),
        attempt=row.attempt,
        run=row.run,
        created_at=row.created_at,
        predecessor=predecessor,
    )


def start_job(
    database: Database, job: JobId, *, deadline: datetime, now: datetime, worker: str = ""
) -> bool:
    """Mark a job as running; False if a person cancelled it or it has ended already."""
    return _move(
        database,
        Event(name=EventName.JOB_STARTED, job_id=job),
        now,
        from_states=UNFINISHED,
        values={
            "state": JobState.RUNNING.value,
            "started_at": now,
            "deadline_at": deadline,
            "worker": worker or None,
            "waits_for": "",
        },
    )


def end_job_by_error(
    database: Database, job: JobId, state: JobState, error: DicomNodeError, now: datetime
) -> None:
    """Put a job away with the reason a person reads: REFUSED or FAILED."""
    name = EventName.JOB_REFUSED if state is JobState.REFUSED else EventName.JOB_FAILED
    kind, reason = type(error).__name__, str(error)
    _move(
        database,
        Event(name=name, job_id=job, facts={"error": kind, "reason": reason}),
        now,
        from_states=UNFINISHED,
        values={
            "state": state.value,
            "finished_at": now,
            "reason": reason,
            "error": kind,
            "waits_for": "",
        },
    )


def retry_job(
    database: Database,
    job: JobId,
    *,
    failed_attempt: int,
    error: DicomNodeError,
    delay_s: float,
    now: datetime,
) -> None:
    """Queue a job again after a passing fault, also one that came before it could start.

    Repeating it for one attempt changes nothing.
    """
    kind = type(error).__name__
    with database.writing() as connection:
        moved = connection.execute(
            update(JobRow)
            .where(
                JobRow.id == job,
                JobRow.attempt == failed_attempt,
                JobRow.state.in_([state.value for state in UNFINISHED]),
            )
            .values(
                state=JobState.QUEUED.value,
                attempt=failed_attempt + 1,
                error=kind,
                reason=str(error),
                deadline_at=None,
                waits_for="",
            )
            .returning(JobRow.study_uid)
        ).scalar_one_or_none()
        if moved is not None:
            facts: dict[str, FactValue] = {
                "error": kind,
                "attempt": failed_attempt,
                "delay_s": delay_s,
            }
            event = Event(
                name=EventName.JOB_RETRYING, study_uid=StudyUid(moved), job_id=job, facts=facts
            )
            write_events(connection, [event], now)


def rerun_job(database: Database, job: JobId, now: datetime) -> None:
    """Queue an ended job again, at a person's word.

    Raises:
        StudyError: the job does not exist or has not ended.
    """
    moved = _move(
        database,
        Event(name=EventName.JOB_RERUN, job_id=job),
        now,
        from_states=[state for state in JobState if state.is_final],
        values={
            "state": JobState.QUEUED.value,
            "run": JobRow.run + 1,
            "attempt": 1,
            "reason": "",
            "error": "",
            "finished_at": None,
        },
    )
    if not moved:
        raise StudyError(f"job {job} does not exist or has not ended; cancel it first")


def rerun_failed(database: Database, now: datetime, algorithm: str | None = None) -> int:
    """Queue every job that failed again, of all algorithms or of one; return how many."""
    with database.as_one(), database.reading() as connection:
        query = select(JobRow.id).where(JobRow.state == JobState.FAILED.value)
        if algorithm is not None:
            query = query.where(JobRow.algorithm == algorithm)
        failed = [JobId(job) for job in connection.scalars(query.order_by(JobRow.created_at))]
        for job in failed:
            rerun_job(database, job, now)
        return len(failed)


def dismiss_job(database: Database, job: JobId, now: datetime) -> None:
    """Take a job that ended without results off the list of what needs a person.

    Raises:
        StudyError: the job does not exist or is not one that ended without results.
    """
    moved = _move(
        database,
        Event(name=EventName.JOB_DISMISSED, job_id=job),
        now,
        from_states=[JobState.REFUSED, JobState.FAILED, JobState.CANCELLED],
        values={"state": JobState.DISMISSED.value},
    )
    if not moved:
        raise StudyError(f"job {job} does not exist or did not fail")


def cancel_job(database: Database, job: JobId, now: datetime) -> None:
    """Take back a job that has not ended.

    Raises:
        StudyError: the job does not exist or has ended.
    """
    reason = "cancelled by a person"
    moved = _move(
        database,
        Event(name=EventName.JOB_CANCELLED, job_id=job),
        now,
        from_states=UNFINISHED,
        values={
            "state": JobState.CANCELLED.value,
            "finished_at": now,
            "reason": reason,
            "waits_for": "",
        },
    )
    if not moved:
        raise StudyError(f"job {job} does not exist or has ended")


def _move(
    database: Database,
    event: Event,
    now: datetime,
    *,
    from_states: Sequence[JobState],
    values: Mapping[str, object],
) -> bool:
    """Change the row of the event's job if it stands in one of `from_states`; say if it did."""
    with database.writing() as connection:
        moved = connection.execute(
            update(JobRow)
            .where(JobRow.id == event.job_id, JobRow.state.in_([one.value for one in from_states]))
            .values(**values)
            .returning(JobRow.study_uid)
        ).scalar_one_or_none()
        if moved is None:
            return False
        if JobState.SUCCEEDED in from_states:
            compare_jobs(connection, moved)
        write_events(connection, [replace(event, study_uid=StudyUid(moved))], now)
        return True
