"""Where models and reports differ, page by page, on both databases."""

import pytest

from dicomnode.store.database import Database
from dicomnode.store.disagreements import Disagreement, DisagreementKey, disagreements
from dicomnode.store.report_matching import match_new_reports
from tests.contract.store_scenes import NOON
from tests.contract.test_store_lesions import studied
from tests.contract.test_store_reports import incoming, keep, mine
from tests.contract.test_store_summaries import class_findings

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]


def differing(database: Database, studies: int) -> None:
    """As many studies, each with two labels that the model asserts and the report denies."""
    for number in range(1, studies + 1):
        said = class_findings(("nodule", 0.7), ("effusion", 0.9), ("mass", 0.1))
        job = studied(database, number, "20240131", said)
        words = "No effusion. No nodule. No mass."
        keep(database, incoming(words, source_id=f"R{number}", study_uid=job.study_uid))
    match_new_reports(database, 100, NOON)
    mine(database)


def page_by_page(database: Database, size: int) -> list[Disagreement]:
    found: list[Disagreement] = []
    behind: DisagreementKey | None = None
    while page := disagreements(database, limit=size, behind=behind):
        found += page
        behind = found[-1].key
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_pages_follow_by_key_without_a_gap_or_a_double(database: Database, size: int) -> None:
    differing(database, 3)
    found = page_by_page(database, size)
    assert [one.label for one in found] == ["effusion", "nodule"] * 3
    numbers = [one.report_id for one in found]
    assert numbers == sorted(numbers, reverse=True)
    assert len({one.key for one in found}) == 6
    assert {one.sentence for one in found} == {"No effusion.", "No nodule."}


def test_a_report_that_comes_meanwhile_shifts_no_page(database: Database) -> None:
    differing(database, 2)
    first = disagreements(database, limit=2)
    job = studied(database, 3, "20240131", class_findings(("effusion", 0.9)))
    keep(database, incoming("No effusion.", source_id="R3", study_uid=job.study_uid))
    match_new_reports(database, 100, NOON)
    mine(database)
    following = disagreements(database, limit=10, behind=first[-1].key)
    assert [one.report_id for one in following] == [first[0].report_id - 1] * 2
    assert disagreements(database, limit=1)[0].report_id > first[0].report_id


def test_the_list_is_narrowed_on_every_page(database: Database) -> None:
    differing(database, 2)
    (first,) = disagreements(database, label="nodule", limit=1)
    (second,) = disagreements(database, label="nodule", limit=9, behind=first.key)
    assert (first.label, second.label) == ("nodule", "nodule")
    assert disagreements(database, verdict="report-only", limit=9) == []
