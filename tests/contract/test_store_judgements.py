"""What people say of results is kept in all its versions, on both databases."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, update

from dicomnode.domain.errors import StudyError
from dicomnode.domain.identifiers import JobId
from dicomnode.domain.judgements import (
    WHOLE_RESULT,
    Correction,
    CorrectionState,
    Judgement,
    SegmentComparison,
    Sign,
    Verdict,
)
from dicomnode.domain.sop_classes import SEGMENTATIONS
from dicomnode.store.asking import asked
from dicomnode.store.closing import open_studies
from dicomnode.store.corrections import (
    MayCorrect,
    record_corrections,
    record_no_correction,
    waiting_for_correction,
)
from dicomnode.store.database import Database
from dicomnode.store.indexing import index_instances
from dicomnode.store.jobs import rerun_job
from dicomnode.store.judgements import judge
from dicomnode.store.results_told import ResultKey, ResultSearch, result_told, results_told
from dicomnode.store.tables import JobRow
from tests.contract.store_scenes import at, finished_job, land, queued_job, waiting
from tests.contract.test_store_lesions import studied

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


def test_pages_of_results_follow_each_other_without_gap_or_repeat(database: Database) -> None:
    """Newest first; four of them ended at the same moment."""
    for number in range(1, 8):
        studied(database, number, "20240131", [])
    with database.writing() as connection:
        connection.execute(
            update(JobRow).where(JobRow.finished_at < at(10)).values(finished_at=at(6))
        )
    everything = [one.key for one in results_told(database, ResultSearch(), limit=50)]
    assert len(set(everything)) == 7
    assert everything == sorted(everything, key=lambda key: (key.finished_at, key.job_id))[::-1]
    assert [key.finished_at for key in everything].count(at(6)) == 4
    for limit in (1, 2, 3):
        seen: list[ResultKey] = []
        while page := results_told(
            database, ResultSearch(before=seen[-1] if seen else None), limit=limit
        ):
            seen += [one.key for one in page]
        assert seen == everything


def test_a_page_of_results_is_read_from_an_index(tmp_path: Path, migrated_sqlite: Path) -> None:
    """However many there are: neither all are read nor any sorted."""
    file = tmp_path / "index.sqlite"
    shutil.copy(migrated_sqlite, file)
    database = Database(f"sqlite:///{file}", tmp_path)
    asked: list[tuple[str, Any]] = []

    def note(_: object, __: object, statement: str, values: Any, *___: object) -> None:
        asked.append((statement, values))

    event.listen(database.engine, "before_cursor_execute", note)
    before = ResultKey(finished_at=at(6), job_id="x")
    results_told(database, ResultSearch(before=before), limit=21)
    database.dispose()
    ((statement, values),) = [one for one in asked if "FROM job" in one[0]]
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
    plan = [str(row[3]) for row in rows]
    assert any("ix_job_finished (state=? AND finished_at<?)" in line for line in plan), plan
    assert not [line for line in plan if "SCAN" in line or "TEMP B-TREE" in line], plan


def test_the_view_has_the_words_in_force(database: Database) -> None:
    job = finished_job(database).id
    judge(database, word(job, Verdict.ACCEPTED, finding=1))
    judge(database, word(job, Verdict.REJECTED, finding=1, seconds=90))
    if database.is_sqlite:
        with asked(database, "SELECT finding, verdict, judged_by FROM judged") as answer:
            assert list(answer.rows) == [("left lung", "rejected", "anna")]


def returned_object(database: Database) -> MayCorrect:
    """An SEG that came into the study of a finished job, indexed and not looked at yet."""
    land(database, ["1.2.1.9.1"], association="back", moment=at(50), sop_class=SEGMENTATIONS[0])
    index_instances(database, waiting(database), [], at(50))
    (received,) = waiting_for_correction(database, 10)
    return received


def test_an_object_that_came_back_is_kept_once_with_its_segments(database: Database) -> None:
    job = finished_job(database).id
    received = returned_object(database)
    assert open_studies(database) == ()
    part = SegmentComparison(
        name="left lung", ours_voxels=10, theirs_voxels=8, ours_ml=1.0, theirs_ml=0.8, dice=0.75
    )
    correction = Correction(
        sop_instance_uid=received.sop_instance_uid,
        job_id=job,
        kind="SEG",
        sign=Sign.REFERENCE,
        sent_by=received.sent_by,
        made_with="Viewer",
        segments=(part,),
    )
    for _ in range(2):
        record_corrections(database, received, [correction], at(60))
    (back,) = result_told(database, job).corrections
    assert (back.sent_by, back.segments[0].dice, back.at) == ("CT1", 0.75, at(60))
    assert result_told(database, job).in_force[WHOLE_RESULT].is_from_object
    assert waiting_for_correction(database, 10) == []


def test_what_corrects_nothing_opens_its_study_once(database: Database) -> None:
    finished_job(database)
    received = returned_object(database)
    for _ in range(2):
        record_no_correction(database, received, CorrectionState.NONE)
    (study,) = open_studies(database)
    assert (study.evidence.new_instances, study.evidence.first_new_at) == (1, at(50))
    assert study.evidence.received_instances == 4
