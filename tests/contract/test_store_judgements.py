"""What people say of results is kept in all its versions, on both databases."""

import pytest

from dicomnode.domain.errors import StudyError
from dicomnode.domain.identifiers import JobId
from dicomnode.domain.judgements import WHOLE_RESULT, Judgement, Verdict
from dicomnode.store.asking import asked
from dicomnode.store.database import Database
from dicomnode.store.jobs import rerun_job
from dicomnode.store.judgements import judge
from dicomnode.store.results_told import ResultSearch, result_told, results_told
from tests.contract.store_scenes import at, finished_job, queued_job

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]


def word(
    job: JobId,
    verdict: Verdict,
    *,
    finding: int = WHOLE_RESULT,
    remark: str = "",
    seconds: float = 60,
) -> Judgement:
    return Judgement(
        job_id=job, finding=finding, verdict=verdict, by="anna", at=at(seconds), remark=remark
    )


def test_a_later_word_supersedes_and_the_first_is_kept(database: Database) -> None:
    job = finished_job(database).id
    judge(database, word(job, Verdict.ACCEPTED, finding=1))
    judge(database, word(job, Verdict.REJECTED, finding=1, remark="too large", seconds=90))
    told = result_told(database, job)
    assert told.in_force[1].verdict is Verdict.REJECTED
    assert told.in_force[1].remark == "too large"
    (first,) = told.superseded
    assert (first.verdict, first.superseded_at) == (Verdict.ACCEPTED, at(90))


def test_the_same_word_twice_is_one(database: Database) -> None:
    job = finished_job(database).id
    judge(database, word(job, Verdict.ACCEPTED))
    judge(database, word(job, Verdict.ACCEPTED, seconds=90))
    told = result_told(database, job)
    assert told.in_force[WHOLE_RESULT].at == at(60)
    assert told.superseded == ()


def test_a_rerun_has_to_be_judged_anew(database: Database) -> None:
    job = finished_job(database)
    judge(database, word(job.id, Verdict.REJECTED))
    rerun_job(database, job.id, at(100))
    assert results_told(database, ResultSearch(), limit=10) == []
    with pytest.raises(StudyError):
        judge(database, word(job.id, Verdict.ACCEPTED))


def test_what_is_not_there_cannot_be_judged(database: Database) -> None:
    with pytest.raises(StudyError):
        judge(database, word(JobId("nothing"), Verdict.ACCEPTED))
    with pytest.raises(StudyError):
        judge(database, word(queued_job(database), Verdict.ACCEPTED))


def test_a_finding_that_is_not_there_cannot_be_judged(database: Database) -> None:
    job = finished_job(database).id
    with pytest.raises(StudyError):
        judge(database, word(job, Verdict.ACCEPTED, finding=2))


def test_results_are_found_by_word_name_and_algorithm(database: Database) -> None:
    job = finished_job(database).id
    assert len(results_told(database, ResultSearch(unjudged=True), limit=10)) == 1
    judge(database, word(job, Verdict.REJECTED, finding=1))
    for search, count in (
        (ResultSearch(unjudged=True), 0),
        (ResultSearch(verdict=Verdict.REJECTED), 1),
        (ResultSearch(verdict=Verdict.ACCEPTED), 0),
        (ResultSearch(finding="LEFT lu"), 1),
        (ResultSearch(finding="%"), 0),
        (ResultSearch(algorithm="lung_ct"), 1),
        (ResultSearch(algorithm="other"), 0),
    ):
        assert len(results_told(database, search, limit=10)) == count, search
    assert results_told(database, ResultSearch(), limit=10, skip=1) == []


def test_the_view_has_the_words_in_force(database: Database) -> None:
    job = finished_job(database).id
    judge(database, word(job, Verdict.ACCEPTED, finding=1))
    judge(database, word(job, Verdict.REJECTED, finding=1, seconds=90))
    if database.is_sqlite:
        with asked(database, "SELECT finding, verdict, judged_by FROM judged") as answer:
            assert list(answer.rows) == [("left lung", "rejected", "anna")]
