"""What the pages count, on both databases."""

from datetime import timedelta

import pytest

from dicomnode.domain.results import Receipt
from dicomnode.store.database import Database
from dicomnode.store.deliveries import outbox, record_receipt
from dicomnode.store.disagreements import disagreements
from dicomnode.store.figures import HOURS, figures
from dicomnode.store.label_figures import (
    LabelCount,
    by_label,
    by_month,
    by_scanner,
    mined_reports,
)
from dicomnode.store.report_matching import match_new_reports
from tests.contract.store_scenes import NOON, STUDY, at, finished_job, queued_job, receive
from tests.contract.test_store_reports import incoming, keep, mine

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]


def test_studies_are_counted_by_the_hour_they_came(database: Database) -> None:
    receive(database, ["1.2.1.1.1"], moment=at(-5))
    receive(database, ["1.2.2.1.1"], association="b", moment=at(5))
    receive(database, ["1.2.3.1.1"], association="c", moment=at(10))
    counted = figures(database, at(20)).studies
    assert len(counted) == HOURS
    assert counted[-2:] == [(NOON - timedelta(hours=1), 1), (NOON, 2)]
    assert sum(count for _, count in counted) == 3


def test_turnaround_runs_from_closing_to_the_answer(database: Database) -> None:
    job = finished_job(database)
    for item, seconds in zip(outbox(database, job.id, "pacs"), (10, 30), strict=True):
        uid = item.object.sop_instance_uid
        moment = at(seconds)
        receipt = Receipt(sop_instance_uid=uid, destination="pacs", status=0, comment="", at=moment)
        record_receipt(database, item, receipt, job)
    (day,) = figures(database, at(60)).turnaround
    assert (day.day, day.results) == ("2024-01-31", 2)
    assert day.median_s == pytest.approx(20)
    assert day.slowest_tenth_s == pytest.approx(28)


def test_waiting_jobs_are_counted_by_age(database: Database) -> None:
    queued_job(database)
    assert figures(database, at(30)).waiting == [1, 0, 0, 0, 0]
    assert figures(database, at(10 * 60)).waiting == [0, 0, 1, 0, 0]
    assert figures(database, at(3 * 3600)).waiting == [0, 0, 0, 0, 1]


def test_labels_are_counted_among_what_they_say(database: Database) -> None:
    receive(database, ["1.2.1.1.1"])
    keep(database, incoming("Small effusion.", study_uid=STUDY, study_date="20240131"))
    keep(database, incoming("No effusion.", source_id="R2", study_date="20240131"))
    keep(database, incoming("Possible effusion.", source_id="R3", study_date="20240229"))
    keep(database, incoming("Clear.", source_id="R4", study_date="20240229"))
    match_new_reports(database, 100, NOON)
    mine(database)
    assert mined_reports(database) == 4
    (effusion,) = [one for one in by_label(database) if one.group == "effusion"]
    assert (effusion.positive, effusion.negative, effusion.uncertain) == (1, 1, 1)
    assert effusion.percent == 25.0
    january = LabelCount(group="2024-01", reports=2, positive=1, negative=1, uncertain=0)
    february = LabelCount(group="2024-02", reports=2, positive=0, negative=0, uncertain=1)
    assert by_month(database, "effusion") == [january, february]
    (scanner,) = by_scanner(database, "effusion")
    assert (scanner.group, scanner.reports, scanner.positive) == ("not stated", 1, 1)
    assert disagreements(database, limit=10) == []
