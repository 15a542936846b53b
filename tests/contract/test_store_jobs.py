"""Jobs from matching to recorded outcomes, on both databases."""

from dataclasses import replace

import pytest
from sqlalchemy import func, insert, select

from dicomnode.domain.errors import ChildDied, GeometryMismatch, MissingSlices, StudyError
from dicomnode.domain.events import EventName
from dicomnode.domain.identifiers import JobId, SeriesUid
from dicomnode.domain.jobs import Job, JobState
from dicomnode.domain.matching import Match, Priority
from dicomnode.domain.results import ResultKind
from dicomnode.store.closing import snapshot, unmatched_revisions
from dicomnode.store.database import Database
from dicomnode.store.jobs import (
    cancel_job,
    dismiss_job,
    end_job_by_error,
    load_job,
    record_match,
    rerun_job,
    retry_job,
    rule_set_text,
    save_rule_set,
    start_job,
)
from dicomnode.store.outcomes import record_outcome
from dicomnode.store.predecessors import settle_predecessor
from dicomnode.store.tables import (
    DeliveryRow,
    EventRow,
    FindingRow,
    JobRow,
    MeasurementRow,
    ResultRow,
    RevisionRow,
)
from dicomnode.store.unfinished import unfinished_jobs
from tests.contract.store_scenes import (
    RULES,
    SERIES,
    at,
    close,
    finished_job,
    lung_match,
    match_lungs,
    outcome_of,
    queued_job,
    receive,
    received_revision,
    running_job,
    uids,
)

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]


def count(database: Database, table: type) -> int:
    with database.reading() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def events(database: Database, name: EventName) -> int:
    with database.reading() as connection:
        query = select(func.count()).select_from(EventRow).where(EventRow.name == name.value)
        return connection.scalar(query) or 0


def state_of(database: Database, job: JobId) -> JobState:
    return load_job(database, job).state


def test_matching_twice_makes_one_job(database: Database) -> None:
    revision = received_revision(database)
    job = match_lungs(database, revision)
    assert match_lungs(database, revision, moment=at(9)) == job
    assert count(database, JobRow) == 1
    assert unmatched_revisions(database) == ()
    assert events(database, EventName.STUDY_MATCHED) == 1
    assert events(database, EventName.JOB_QUEUED) == 1


def test_matching_that_calls_for_nothing_is_remembered_too(database: Database) -> None:
    revision = received_revision(database)
    save_rule_set(database, RULES, "# rules", at(1))
    record_match(
        database,
        revision,
        snapshot(database, revision),
        rule_set_digest=RULES,
        verdicts=[],
        jobs={},
        now=at(1),
    )
    assert unmatched_revisions(database) == ()
    assert count(database, JobRow) == 0


def test_verdicts_are_kept_per_condition(database: Database) -> None:
    match_lungs(database, received_revision(database))
    with database.reading() as connection:
        yes, no = connection.scalar(select(RevisionRow.verdicts)) or []
    assert yes["matches"] == [{"image": SERIES}]
    assert no["conditions"][0]["held"] is False
    assert no["reason"] == "no series fits"


def test_a_job_is_loaded_as_it_was_matched(database: Database) -> None:
    job = load_job(database, queued_job(database))
    assert (job.state, job.revision, job.attempt, job.run) == (JobState.QUEUED, 1, 1, 1)
    assert job.inputs == {"image": SERIES}
    assert job.destinations == ("pacs", "archive")
    assert job.priority is Priority.ROUTINE
    assert job.predecessor is None


def test_a_rule_version_keeps_its_first_text(database: Database) -> None:
    save_rule_set(database, RULES, "# first", at(1))
    save_rule_set(database, RULES, "# second", at(2))
    assert rule_set_text(database, RULES) == "# first"
    assert rule_set_text(database, "0" * 64) is None


def test_a_late_image_makes_a_new_job_that_supersedes_the_first(database: Database) -> None:
    first = finished_job(database)
    receive(database, uids(SERIES, [4]), association="late", moment=at(60))
    late = match_lungs(database, close(database, at(90)), moment=at(91))
    settle_predecessor(database, late)
    second = load_job(database, late)
    assert second.id != first.id
    assert second.revision == 2
    assert second.predecessor is not None
    assert second.predecessor.job_id == first.id
    (report,) = (one for one in second.predecessor.objects if one.kind is ResultKind.SR)
    assert report.path == database.path_root / "results" / first.id[:2] / first.id / "SR.dcm"


def test_a_late_image_in_another_series_runs_nothing_again(database: Database) -> None:
    first = finished_job(database)
    receive(database, uids("1.2.1.2", [1]), association="late", moment=at(60))
    assert match_lungs(database, close(database, at(90))) == first.id
    assert count(database, JobRow) == 1
    assert state_of(database, first.id) is JobState.SUCCEEDED


OTHER_SERIES = SeriesUid("1.2.1.2")


def job_on_late_series(database: Database, *besides: Match) -> Job:
    receive(database, uids(OTHER_SERIES, [1]), association="late", moment=at(60))
    late = lung_match(OTHER_SERIES)
    job = match_lungs(database, close(database, at(90)), late, at(91), besides=besides)
    settle_predecessor(database, job)
    return load_job(database, job)


def test_a_late_series_that_the_rule_takes_instead_supersedes_the_first(
    database: Database,
) -> None:
    first = finished_job(database)
    second = job_on_late_series(database)
    assert second.predecessor is not None
    assert second.predecessor.job_id == first.id


def test_a_late_series_that_the_rule_takes_too_supersedes_nothing(database: Database) -> None:
    first = finished_job(database)
    second = job_on_late_series(database, lung_match(SERIES))
    assert second.id != first.id
    assert second.predecessor is None


def test_the_job_of_another_rule_is_no_predecessor(database: Database) -> None:
    finished_job(database)
    receive(database, uids(SERIES, [4]), association="late", moment=at(60))
    other = lung_match(rule_name="another rule")
    job = match_lungs(database, close(database, at(90)), other)
    assert load_job(database, job).predecessor is None


def test_unfinished_jobs_come_most_urgent_first(database: Database) -> None:
    revision = received_revision(database, [1])
    slow = match_lungs(database, revision)
    receive(database, uids(SERIES, [2]), association="late", moment=at(60))
    stat = lung_match(rule_name="emergency", priority=Priority.STAT)
    urgent = match_lungs(database, close(database, at(70)), stat, at(71))
    assert [job.id for job in unfinished_jobs(database)] == [urgent, slow]
    assert [job.id for job in unfinished_jobs(database, revision_id=revision)] == [slow]


def test_starting_twice_is_allowed_and_starting_an_ended_job_is_not(database: Database) -> None:
    job = running_job(database)
    assert start_job(database, job.id, deadline=at(900), now=at(2))
    cancel_job(database, job.id, at(3))
    assert not start_job(database, job.id, deadline=at(900), now=at(4))
    assert state_of(database, job.id) is JobState.CANCELLED


def test_a_cancelled_job_records_no_outcome(database: Database) -> None:
    job = running_job(database)
    cancel_job(database, job.id, at(3))
    assert not record_outcome(database, job, outcome_of(database, job), at(4))
    assert count(database, ResultRow) == count(database, FindingRow) == 0
    end_job_by_error(database, job.id, JobState.FAILED, StudyError("killed"), at(5))
    assert state_of(database, job.id) is JobState.CANCELLED


def test_a_passing_fault_queues_the_job_again_once(database: Database) -> None:
    job = running_job(database)
    for moment in (at(3), at(4)):
        fault = ChildDied("killed by signal 9")
        retry_job(database, job.id, failed_attempt=1, error=fault, delay_s=5.0, now=moment)
    again = load_job(database, job.id)
    assert (again.state, again.attempt) == (JobState.QUEUED, 2)
    assert events(database, EventName.JOB_RETRYING) == 1


def test_a_job_whose_try_failed_before_it_began_is_queued_again(database: Database) -> None:
    job = queued_job(database)
    fault = ChildDied("the pool was gone")
    retry_job(database, job, failed_attempt=1, error=fault, delay_s=5.0, now=at(3))
    assert load_job(database, job).attempt == 2


def test_a_job_supersedes_nothing_of_its_own_revision(database: Database) -> None:
    """Itself least of all: a workflow that is taken up again asks once more."""
    job = finished_job(database)
    settle_predecessor(database, job.id)
    assert load_job(database, job.id).predecessor is None
    other = replaced_rule_s_job(database, job)
    settle_predecessor(database, other)
    assert load_job(database, other).predecessor is None


def replaced_rule_s_job(database: Database, job: Job) -> JobId:
    """Another job of the rule in the same revision, on the same series."""
    other = JobId("1" + job.id[1:] if job.id[0] != "1" else "2" + job.id[1:])
    with database.writing() as connection:
        row = connection.execute(select(JobRow).where(JobRow.id == job.id)).one()
        values = {**row._mapping, "id": other, "state": JobState.RUNNING.value}
        connection.execute(insert(JobRow).values(values))
    return other


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (JobState.REFUSED, MissingSlices("gap of 12 mm after slice 40")),
        (JobState.FAILED, GeometryMismatch("the SEG lies 3 mm off")),
    ],
)
def test_a_job_that_ended_badly_can_be_rerun_or_dismissed(
    database: Database, state: JobState, error: Exception
) -> None:
    job = running_job(database)
    end_job_by_error(database, job.id, state, error, at(3))  # type: ignore[arg-type]
    assert state_of(database, job.id) is state
    dismiss_job(database, job.id, at(4))
    assert state_of(database, job.id) is JobState.DISMISSED
    rerun_job(database, job.id, at(5))
    again = load_job(database, job.id)
    assert (again.state, again.run, again.attempt) == (JobState.QUEUED, 2, 1)


def test_transitions_that_make_no_sense_are_refused(database: Database) -> None:
    job = running_job(database)
    with pytest.raises(StudyError, match="has not ended"):
        rerun_job(database, job.id, at(2))
    with pytest.raises(StudyError, match="did not fail"):
        dismiss_job(database, job.id, at(2))
    record_outcome(database, job, outcome_of(database, job), at(3))
    with pytest.raises(StudyError, match="has ended"):
        cancel_job(database, job.id, at(4))
    with pytest.raises(StudyError, match="did not fail"):
        dismiss_job(database, job.id, at(4))
    with pytest.raises(StudyError, match="there is no job"):
        load_job(database, JobId("none"))
    assert state_of(database, job.id) is JobState.SUCCEEDED


def test_an_outcome_recorded_twice_is_there_once(database: Database) -> None:
    job = running_job(database)
    for moment in (at(5), at(6)):
        assert record_outcome(database, job, outcome_of(database, job), moment)
    assert count(database, FindingRow) == count(database, MeasurementRow) == 1
    assert count(database, ResultRow) == 2
    assert count(database, DeliveryRow) == 4
    assert events(database, EventName.RESULT_ENCODED) == 2
    assert events(database, EventName.JOB_SUCCEEDED) == 1


def test_a_reruns_findings_take_the_place_of_the_first_ones(database: Database) -> None:
    job = finished_job(database)
    rerun_job(database, job.id, at(10))
    start_job(database, job.id, deadline=at(600), now=at(11))
    outcome = outcome_of(database, job)
    (finding,) = outcome.findings
    record_outcome(database, job, replace(outcome, findings=(finding, finding)), at(12))
    assert count(database, FindingRow) == 2
    assert count(database, ResultRow) == 2


def test_a_rerun_that_wrote_other_bytes_is_sent_by_their_digest(database: Database) -> None:
    job = finished_job(database)
    rerun_job(database, job.id, at(10))
    start_job(database, job.id, deadline=at(600), now=at(11))
    record_outcome(database, job, outcome_of(database, job, sha256="cd" * 32), at(12))
    with database.reading() as connection:
        assert set(connection.scalars(select(ResultRow.sha256))) == {"cd" * 32}


def test_result_paths_are_kept_relative_to_the_data_folder(database: Database) -> None:
    job = finished_job(database)
    with database.reading() as connection:
        paths = set(connection.scalars(select(ResultRow.path)))
    assert paths == {f"results/{job.id[:2]}/{job.id}/{kind}.dcm" for kind in ("SEG", "SR")}
