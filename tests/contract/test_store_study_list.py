"""Studies in a list: filters, pages, what is stuck; on both databases."""

from datetime import timedelta

import pytest

from dicomnode.domain.errors import MissingSlices
from dicomnode.domain.jobs import JobState
from dicomnode.store.database import Database
from dicomnode.store.jobs import end_job_by_error
from dicomnode.store.study_list import StudySearch, StudyState, list_studies
from tests.contract.store_scenes import (
    STUDY,
    at,
    close,
    finished_job,
    receive,
    running_job,
)

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]

LATER = at(3600)


def found(database: Database, limit: int = 50, longest: int = 1000, **wanted: object) -> list[str]:
    """UIDs of all pages."""
    search = StudySearch(**wanted)  # type: ignore[arg-type]
    uids: list[str] = []
    while True:
        page = list_studies(database, search, LATER, limit=limit, longest=longest)
        uids += [one.study_uid for one in page.studies]
        if page.next is None:
            return uids
        search = StudySearch(**{**wanted, "before": page.next})  # type: ignore[arg-type]


def many(database: Database, count: int, *, from_number: int = 10) -> list[str]:
    """Open studies, two each second; UIDs newest first."""
    uids = [f"1.2.{number}" for number in range(from_number, from_number + count)]
    for number, uid in enumerate(uids):
        moment = at(number // 2)
        receive(database, [f"{uid}.1.1"], association=f"m{uid}", moment=moment)
    return sorted(uids, key=lambda uid: ((uids.index(uid)) // 2, uid), reverse=True)


def test_an_empty_node_lists_nothing(database: Database) -> None:
    assert found(database) == []


def test_pages_follow_each_other_without_gap_or_repeat(database: Database) -> None:
    uids = many(database, 7)
    assert found(database, limit=2) == uids
    assert found(database, limit=50) == uids


def test_each_state_finds_its_studies(database: Database) -> None:
    receive(database, ["1.2.7.1.1"], association="n", moment=at(-50))
    close(database, at(-20))
    finished_job(database)
    many(database, 1)
    (working,) = list_studies(database, StudySearch(state=StudyState.WORKING), LATER).studies
    assert (working.study_uid, working.state) == (STUDY, StudyState.WORKING)
    assert working.deliveries == {"waiting": 4}
    assert working.modalities == ("CT",)
    assert found(database, state=StudyState.RECEIVING) == ["1.2.10"]
    assert found(database, state=StudyState.DONE) == []
    # Its revision was never matched, which takes seconds.
    (stuck,) = list_studies(database, StudySearch(state=StudyState.STUCK), LATER).studies
    assert (stuck.study_uid, stuck.stuck) == ("1.2.7", ("closed but not matched yet",))
    assert found(database, state=StudyState.NO_JOB) == ["1.2.7"]


def test_what_is_stuck_says_why(database: Database) -> None:
    job = running_job(database)
    end_job_by_error(database, job.id, JobState.REFUSED, MissingSlices("gap after 40"), at(5))
    (told,) = list_studies(database, StudySearch(state=StudyState.STUCK), LATER).studies
    assert told.stuck == ("lung_ct refused: MissingSlices: gap after 40",)
    assert (told.state, told.jobs) == (StudyState.STUCK, {"refused": 1})


@pytest.mark.parametrize(
    ("text", "is_found"),
    [("chest", True), ("CT CH", True), ("P1", True), ("1.2.10", True), ("%", False), ("x", False)],
)
def test_a_text_is_part_of_the_description_or_names_the_study(
    database: Database, text: str, is_found: bool
) -> None:
    uids = many(database, 1)
    assert found(database, text=text) == (uids if is_found else [])


def test_modality_and_age_leave_out_the_others(database: Database) -> None:
    uids = many(database, 4)
    assert found(database, modality="CT") == uids
    assert found(database, modality="MR") == []
    assert found(database, since=at(1)) == uids[:2]
    assert found(database, since=at(1), modality="CT", text="chest") == uids[:2]


def test_a_search_through_very_many_stops_and_can_go_on(database: Database) -> None:
    uids = many(database, 7)
    search = StudySearch(text="nothing like it")
    page = list_studies(database, search, LATER, longest=3)
    assert (page.studies, page.next is None) == ((), False)
    assert page.looked_back_to == at(2)
    assert found(database, longest=3, text="nothing like it") == []
    assert found(database, limit=2, longest=3, text="chest") == uids
    # Named exactly, it is found at once.
    exact = list_studies(database, StudySearch(text=uids[-1]), LATER, longest=3)
    assert [one.study_uid for one in exact.studies] == [uids[-1]]


def test_moments_are_compared_as_moments(database: Database) -> None:
    uids = many(database, 2)
    assert found(database, since=at(0) + timedelta(microseconds=1)) == []
    assert found(database, since=at(0)) == uids
