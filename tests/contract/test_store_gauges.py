"""Monitoring sees what waits, how long, and nothing that has ended well."""

from dicomnode.domain.incoming_reports import IncomingReport, ReportSource
from dicomnode.domain.reports import ReportPart
from dicomnode.store.database import Database
from dicomnode.store.gauges import Stage, Standing, standing
from dicomnode.store.reports import keep_reports
from tests.contract.store_scenes import NOON, SERIES, at, close, finished_job, land, receive, uids

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]


def ages(seen: Standing) -> dict[Stage, tuple[int, float]]:
    """Stage -> (how many, age of the oldest), where anything waits."""
    return {each.stage: (each.count, each.oldest_s) for each in seen.waiting if each.count}


def test_an_idle_node_waits_for_nothing(database: Database) -> None:
    seen = standing(database, NOON)
    assert ages(seen) == {}
    assert {each.stage for each in seen.waiting} == set(Stage)
    assert all(each.oldest_s == 0 for each in seen.waiting)


def test_each_stage_knows_its_oldest(database: Database) -> None:
    land(database, uids(SERIES, [1, 2]), association="a1", moment=NOON)
    assert ages(standing(database, at(9))) == {Stage.LANDED: (2, 9.0)}
    receive(database, uids(SERIES, [3]), association="a2", moment=at(10))
    assert ages(standing(database, at(20))) == {Stage.OPEN: (1, 20.0)}
    close(database, at(30))
    assert ages(standing(database, at(31))) == {Stage.CLOSED: (1, 1.0)}


def test_results_wait_by_destination_and_a_clock_set_back_makes_no_negative_age(
    database: Database,
) -> None:
    finished_job(database)
    seen = standing(database, at(-1000))
    assert ages(seen)[Stage.WAITING][1] == 0
    assert set(seen.undelivered) == {("pacs", "waiting"), ("archive", "waiting")}


def test_unread_reports_are_counted_and_the_last_hour_is_sixty_minutes(
    database: Database,
) -> None:
    part = ReportPart(name="findings", text="No effusion.")
    report = IncomingReport(source=ReportSource.HL7, source_id="R1", parts=(part,))
    keep_reports(database, [report], NOON)
    receive(database, uids(SERIES, [1, 2]), moment=NOON)
    assert ages(standing(database, at(60)))[Stage.UNREAD] == (1, 60.0)
    for later, expected in ((3599, (1, 2)), (3601, (0, 0))):
        seen = standing(database, at(later))
        assert (seen.studies_last_hour, seen.instances_last_hour) == expected
