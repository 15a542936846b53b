"""Which earlier job's results a job's own supersede."""

from typing import Any

from sqlalchemy import Connection, Row, select, update

from dicomnode.domain.identifiers import JobId
from dicomnode.domain.jobs import JobState, Predecessor
from dicomnode.store.database import Database
from dicomnode.store.encoded import encoded_object
from dicomnode.store.tables import JobRow, ResultRow, RevisionRow


def settle_predecessor(database: Database, job: JobId) -> None:
    """Decide which earlier job's results this one's supersede; once decided it stays so.

    Called when the job starts, since the earlier one may still have been running at matching.
    """
    with database.writing() as connection:
        mine = connection.execute(select(JobRow).where(JobRow.id == job)).one_or_none()
        if mine is not None and mine.predecessor_id is None:
            found = _predecessor(connection, mine)
            connection.execute(update(JobRow).where(JobRow.id == job).values(predecessor_id=found))


def load_predecessor(
    database: Database, connection: Connection, job: str | None
) -> Predecessor | None:
    """That job and its objects; None for no job."""
    if job is None:
        return None
    rows = connection.execute(select(ResultRow).where(ResultRow.job_id == job)).all()
    objects = tuple(encoded_object(database, row) for row in rows)
    return Predecessor(job_id=JobId(job), objects=objects)


def _predecessor(connection: Connection, mine: Row[Any]) -> str | None:
    """The last job of the same rule on the same series, in an earlier revision, that has results.

    Jobs of one revision stand beside each other, whatever made them (a rule that was changed while
    the revision was being matched): none supersedes another, and none itself.

    Where the rule makes one job a revision, also the one on another series: a thinner series that
    comes late takes the place of the one that was read before it.
    """
    same_rule = (
        (JobRow.study_uid == mine.study_uid)
        & (JobRow.rule_name == mine.rule_name)
        & (JobRow.algorithm == mine.algorithm)
    )
    earlier = connection.execute(
        select(JobRow.id, JobRow.inputs)
        .where(
            same_rule,
            JobRow.state == JobState.SUCCEEDED.value,
            JobRow.revision_id < mine.revision_id,
        )
        .order_by(JobRow.revision_id.desc(), JobRow.created_at.desc())
    ).all()
    on_same = [row.id for row in earlier if row.inputs == mine.inputs]
    if on_same:
        return str(on_same[0])
    return str(earlier[0].id) if earlier and _is_the_only_match(connection, mine) else None


def _is_the_only_match(connection: Connection, mine: Row[Any]) -> bool:
    """Whether the rule fits one series of the revision.

    Asked of what matching said: jobs on unchanged images are not made again, so that they are not
    among the revision's own, and what they reported still holds.
    """
    verdicts = connection.scalar(
        select(RevisionRow.verdicts).where(RevisionRow.id == mine.revision_id)
    )
    matches = [
        match
        for verdict in verdicts or ()
        if verdict["rule"] == mine.rule_name
        for match in verdict["matches"]
    ]
    return matches == [mine.inputs]
