"""Reports are kept once in all their versions, find their studies, and keep what was read."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from dicomnode.domain.incoming_reports import IncomingReport, Kept, ReportSource, ReportStatus
from dicomnode.domain.reports import ReportPart
from dicomnode.reports import MinerSetup, open_miner
from dicomnode.steps.reporting import read_reports, register_version
from dicomnode.store.database import Database
from dicomnode.store.readings import put_in_force, record_readings, reports_after, unmined_reports
from dicomnode.store.report_matching import match_new_reports, match_new_studies
from dicomnode.store.report_telling import UnknownReport, differences, latest_reports, report
from dicomnode.store.reports import keep_reports
from dicomnode.store.tables import ReportRow, StudyRow
from tests.contract.store_scenes import NOON, at, receive

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]


def incoming(words: str = "No effusion.", **about: str) -> IncomingReport:
    fields = {"source_id": "R1", "patient_id": "P1", **about}
    parts = (ReportPart(name="findings", text=words),)
    return IncomingReport(source=ReportSource.HL7, parts=parts, **fields)  # type: ignore[arg-type]


def keep(database: Database, *reports: IncomingReport) -> list[Kept]:
    return [one.outcome for one in keep_reports(database, reports, NOON)]


def current(database: Database) -> list[tuple[int, str]]:
    query = select(ReportRow.id, ReportRow.status).where(ReportRow.is_current)
    with database.reading() as connection:
        return [(row.id, row.status) for row in connection.execute(query.order_by(ReportRow.id))]


def mine(database: Database, policy: str = "strict", *, in_force: bool = True) -> int:
    miner = open_miner(MinerSetup(policy=policy, graph=False))
    version = register_version(database, miner, NOON)
    stored = unmined_reports(database, 100) if in_force else reports_after(database, 0, 100)
    record_readings(database, version, read_reports(miner, stored), in_force=in_force)
    return version


def test_the_same_words_again_add_nothing(database: Database) -> None:
    assert keep(database, incoming()) == [Kept.NEW]
    assert keep(database, incoming()) == [Kept.DUPLICATE]
    assert len(current(database)) == 1


def test_the_same_message_again_adds_nothing(database: Database) -> None:
    assert keep(database, incoming(message_id="M1")) == [Kept.NEW]
    assert keep(database, incoming("Other words.", message_id="M1")) == [Kept.DUPLICATE]
    assert keep(database, incoming("Other words.", message_id="M2")) == [Kept.SUPERSEDES]


def test_a_correction_supersedes_and_the_first_version_stays(database: Database) -> None:
    first, second = keep_reports(
        database,
        [incoming(), replace(incoming("Small effusion."), status=ReportStatus.CORRECTED)],
        NOON,
    )
    assert (first.outcome, second.outcome) == (Kept.NEW, Kept.SUPERSEDES)
    assert current(database) == [(second.report_id, "corrected")]
    assert report(database, first.report_id).parts[0].text == "No effusion."
    assert not report(database, first.report_id).is_current


def test_a_version_that_its_source_dates_earlier_does_not_become_current(
    database: Database,
) -> None:
    newer = replace(incoming("Small effusion."), issued_at=at(60))
    older = replace(incoming(), issued_at=at(0))
    kept = keep_reports(database, [newer, older, older], NOON)
    assert [one.outcome for one in kept] == [Kept.NEW, Kept.OUTDATED, Kept.DUPLICATE]
    assert current(database) == [(kept[0].report_id, "final")]


def test_a_report_may_replace_one_of_another_name(database: Database) -> None:
    assert keep(database, incoming(source_id="1.2.3")) == [Kept.NEW]
    successor = replace(incoming("Amended.", source_id="1.2.4"), predecessor_id="1.2.3")
    assert keep(database, successor) == [Kept.SUPERSEDES]
    assert len(current(database)) == 1


def test_reports_without_a_name_are_told_apart_by_their_words(database: Database) -> None:
    nameless = incoming(source_id="")
    assert keep(database, nameless, nameless) == [Kept.NEW, Kept.DUPLICATE]
    assert keep(database, replace(nameless, accession_number="A2")) == [Kept.NEW]


def test_what_no_database_takes_is_replaced_one_for_one(database: Database) -> None:
    keep(database, incoming("No\0effusion \ud800 seen."))
    (line,) = latest_reports(database, 10)
    assert report(database, line.id).parts[0].text == "No\ufffdeffusion \ufffd seen."


def study(database: Database, uid: str, **values: str) -> None:
    receive(database, [f"{uid}.1.1"], association=f"a{uid}")
    with database.writing() as connection:
        table = StudyRow.__table__
        connection.execute(
            table.update().where(table.c.study_uid == uid).values(**values)  # type: ignore[attr-defined]
        )


def matched(database: Database) -> list[tuple[str | None, str]]:
    match_new_studies(database, 100, NOON)
    match_new_reports(database, 100, NOON)
    lines = latest_reports(database, 100)
    told = [report(database, line.id) for line in lines]
    return [(each.line.study_uid, each.matched_by or each.line.match_note) for each in told]


@pytest.mark.parametrize("report_first", [True, False])
@pytest.mark.parametrize(
    ("about", "by"),
    [
        ({"study_uid": "1.2.1"}, "study-uid"),
        ({"accession_number": "A1"}, "accession"),
        ({"study_date": "20240131"}, "patient-and-date"),
    ],
)
def test_a_report_finds_its_study_whichever_came_first(
    database: Database, about: dict[str, str], by: str, report_first: bool
) -> None:
    if report_first:
        keep(database, incoming(**about))
        assert matched(database)[0][0] is None
    study(database, "1.2.1", patient_id="P1", study_date="20240131", accession_number="A1")
    if not report_first:
        keep(database, incoming(**about))
    assert matched(database) == [("1.2.1", by)]


def test_a_report_is_not_tied_to_another_patient_by_its_accession_number(
    database: Database,
) -> None:
    study(database, "1.2.1", patient_id="P2", accession_number="A1")
    keep(database, incoming(accession_number="A1"))
    note = "the study with its accession number has another patient ID"
    assert matched(database) == [(None, note)]


def test_two_studies_on_one_day_are_not_chosen_between(database: Database) -> None:
    study(database, "1.2.1", patient_id="P1", study_date="20240131")
    study(database, "1.2.2", patient_id="P1", study_date="20240131")
    keep(database, incoming(study_date="20240131"))
    assert matched(database) == [(None, "2 studies of the patient on that day")]


def test_a_report_that_states_nothing_says_so(database: Database) -> None:
    keep(database, incoming(patient_id=""))
    (_, note) = matched(database)[0]
    assert note.startswith("states neither")


def test_matching_is_done_once(database: Database) -> None:
    study(database, "1.2.1", accession_number="A2")
    keep(database, incoming(accession_number="A9"))
    assert match_new_reports(database, 100, NOON) == 1
    assert match_new_reports(database, 100, NOON) == 0
    assert match_new_studies(database, 100, NOON) == 1
    assert match_new_studies(database, 100, NOON) == 0


def test_labels_lead_back_to_their_words(database: Database) -> None:
    keep(database, incoming("Small left effusion, 12 mm. No pneumothorax. See series 4 image 56."))
    mine(database)
    (line,) = latest_reports(database, 10)
    told = report(database, line.id)
    assert line.positive == ("effusion",)
    by_name = {label.name: label for label in told.labels}
    assert {name: label.value for name, label in by_name.items()} == {
        "effusion": 1,
        "pneumothorax": 0,
    }
    for label in told.labels:
        assert label.mention is not None
        mention = told.mentions[label.mention]
        assert told.parts[mention.part].text[mention.start : mention.end] == mention.words
        assert mention.label == label.name


def test_mining_twice_changes_nothing(database: Database) -> None:
    keep(database, incoming("Small left effusion."))
    stored = unmined_reports(database, 10)
    version = mine(database)
    miner = open_miner(MinerSetup(graph=False))
    record_readings(database, version, read_reports(miner, stored), in_force=True)
    assert unmined_reports(database, 10) == []
    with database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM report_label")).scalar() == 1


def test_a_withdrawn_report_is_not_mined(database: Database) -> None:
    keep(database, incoming("Effusion."))
    keep(database, replace(incoming("Effusion."), status=ReportStatus.CANCELLED))
    stored = unmined_reports(database, 10)
    assert [each.report.parts[0].text for each in stored] == ["Effusion."]
    assert len(stored) == 1


def test_a_new_version_counts_only_once_it_has_read_all(database: Database) -> None:
    keep(database, incoming("Possible effusion.", source_id="R1"))
    first = mine(database)
    keep(database, incoming("Possible effusion again.", source_id="R2"))
    mine(database)
    miner = open_miner(MinerSetup(policy="chestxray8", graph=False))
    second = register_version(database, miner, NOON + timedelta(days=1))
    one, *rest = reports_after(database, 0, 10)
    record_readings(database, second, read_reports(miner, [one]), in_force=False)
    assert not put_in_force(database, second)
    record_readings(database, second, read_reports(miner, rest), in_force=False)
    assert put_in_force(database, second)
    (change,) = differences(database, first, second)
    assert (change.name, change.before, change.after, change.reports) == ("effusion", -1, 0, 2)
    assert sorted(change.examples) == [one.id, rest[0].id]


def test_labels_gained_and_lost_are_differences_too(database: Database) -> None:
    keep(database, incoming("Effusion.", source_id="R1"))
    first = mine(database)
    with database.writing() as connection:
        connection.execute(text("DELETE FROM report_label"))
    second = mine(database, "openi", in_force=False)
    (change,) = differences(database, first, second)
    assert (change.before, change.after) == (None, 1)
    (change,) = differences(database, second, first)
    assert (change.before, change.after) == (1, None)


def test_a_report_that_is_not_there_is_said_to_be_so(database: Database) -> None:
    with pytest.raises(UnknownReport):
        report(database, 7)
