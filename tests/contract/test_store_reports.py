"""Reports are kept once in all their versions, find their studies, and keep what was read."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from dicomnode.domain.incoming_reports import IncomingReport, Kept, ReportSource, ReportStatus
from dicomnode.domain.reports import ReportPart
from dicomnode.reports import MinerSetup, open_miner
from dicomnode.reports.bulk import BadRow
from dicomnode.steps.report_archive import import_reports, remine_reports
from dicomnode.steps.reporting import read_reports, register_version
from dicomnode.store.database import Database
from dicomnode.store.readings import put_in_force, record_readings, unmined_reports, unread_after
from dicomnode.store.report_telling import UnknownReport, differences, latest_reports, report
from dicomnode.store.reports import keep_reports
from dicomnode.store.tables import ReportRow
from tests.contract.store_scenes import NOON, at

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
    everything = unread_after(database, version, 0, 100)
    stored = unmined_reports(database, 100) if in_force else everything
    record_readings(database, version, read_reports(miner, stored), in_force=in_force)
    return version


def test_the_same_words_again_add_nothing(database: Database) -> None:
    assert keep(database, incoming()) == [Kept.NEW]
    assert keep(database, incoming()) == [Kept.DUPLICATE]
    assert len(current(database)) == 1


def test_a_message_that_is_sent_again_after_a_later_one_adds_nothing(database: Database) -> None:
    assert keep(database, incoming(message_id="M1")) == [Kept.NEW]
    assert keep(database, incoming("Other words.", message_id="M2")) == [Kept.SUPERSEDES]
    assert keep(database, incoming(message_id="M1")) == [Kept.DUPLICATE]


def test_a_message_id_that_is_used_again_for_other_words_hides_nothing(
    database: Database,
) -> None:
    assert keep(database, incoming(message_id="M1")) == [Kept.NEW]
    assert keep(database, incoming("Other words.", message_id="M1")) == [Kept.SUPERSEDES]
    assert keep(database, incoming(message_id="M1", source_id="R2")) == [Kept.NEW]


@pytest.mark.parametrize(
    "corrected",
    [{"accession_number": "A2"}, {"patient_id": "P2"}, {"study_date": "20240202"}],
)
def test_the_same_words_under_corrected_data_are_a_later_version(
    database: Database, corrected: dict[str, str]
) -> None:
    about = {"accession_number": "A1", "patient_id": "P1", "study_date": "20240131"}
    first, second, third = keep_reports(
        database,
        [incoming(**about), incoming(**{**about, **corrected}), incoming(**corrected)],
        NOON,
    )
    assert (first.outcome, second.outcome) == (Kept.NEW, Kept.SUPERSEDES)
    assert current(database) == [(second.report_id, "final")]
    # What a sender leaves out it does not take back.
    assert (third.outcome, third.report_id) == (Kept.DUPLICATE, second.report_id)


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


def addendum(words: str, **about: str) -> IncomingReport:
    parts = (ReportPart(name="addendum", text=words),)
    return replace(incoming(**about), parts=parts, status=ReportStatus.CORRECTED, is_addendum=True)


def test_an_addendum_goes_behind_the_text_that_is_current(database: Database) -> None:
    more, last = addendum("Nodule, too.", message_id="M2"), addendum("Mass, too.")
    assert keep(database, incoming(), more, more) == [
        Kept.NEW,
        Kept.SUPERSEDES,
        Kept.DUPLICATE,
    ]
    assert keep(database, last, last) == [Kept.SUPERSEDES, Kept.DUPLICATE]
    ((number, _),) = current(database)
    assert [part.text for part in report(database, number).parts] == [
        "No effusion.",
        "Nodule, too.",
        "Mass, too.",
    ]


def test_an_addendum_that_comes_first_stays_behind_its_report(database: Database) -> None:
    early = replace(addendum("Nodule, too.", message_id="M2"), issued_at=NOON)
    late = replace(incoming(message_id="M1"), issued_at=NOON - timedelta(hours=1))
    assert keep(database, early) == [Kept.NEW]
    assert keep(database, late, late) == [Kept.SUPERSEDES, Kept.DUPLICATE]
    ((number, _),) = current(database)
    assert [part.text for part in report(database, number).parts] == [
        "No effusion.",
        "Nodule, too.",
    ]
    assert keep(database, replace(early, message_id="M3")) == [Kept.SUPERSEDES]
    ((number, _),) = current(database)
    assert [part.text for part in report(database, number).parts] == [
        "No effusion.",
        "Nodule, too.",
    ]


def test_a_text_that_is_written_anew_takes_its_addenda_back(database: Database) -> None:
    keep(database, incoming(message_id="M1"), addendum("Nodule, too.", message_id="M2"))
    assert keep(database, incoming("Small effusion.", message_id="M3")) == [Kept.SUPERSEDES]
    ((number, _),) = current(database)
    assert [part.text for part in report(database, number).parts] == ["Small effusion."]


def test_one_report_from_several_senders_at_once_is_kept_once(database: Database) -> None:
    copies = 8
    with ThreadPoolExecutor(copies) as pool:
        outcomes = list(pool.map(lambda _: keep(database, incoming()), range(copies)))
    assert sorted(each.value for (each,) in outcomes) == ["duplicate"] * (copies - 1) + ["new"]


ODD = {
    "patient_sex": "undetermined",
    "study_uid": "1." * 40,
    "modality": "a modality of its own",
    "patient_id": "P\0",
    "accession_number": "\ud800",
    "study_date": "31 January 2024",
    "patient_birth_date": "unknown to us",
    "referring_unit": "w" * 10_000,
}


@pytest.mark.parametrize("field", ODD)
def test_an_odd_value_is_remarked_on_and_stops_nothing(database: Database, field: str) -> None:
    odd = incoming(source_id="R2", **{field: ODD[field]})
    batch = [incoming(source_id="R1"), odd, incoming(source_id="R3")]
    kept = keep_reports(database, batch, NOON)
    assert [one.outcome for one in kept] == [Kept.NEW] * 3
    assert report(database, kept[1].report_id).remarks.startswith(field)
    assert kept[0].remarks == kept[2].remarks == ""
    assert keep(database, *batch) == [Kept.DUPLICATE] * 3


def test_names_that_no_database_takes_stay_different_names(database: Database) -> None:
    names = ["R\0", "R\ud800", "R\ud801", "R" * 5000, "R" * 5001, "é" * 1000]
    batch = [incoming(source_id=name, message_id=name) for name in names]
    assert keep(database, *batch) == [Kept.NEW] * len(names)
    assert keep(database, *batch) == [Kept.DUPLICATE] * len(names)


@pytest.mark.parametrize("year", [1, 9999])
def test_a_moment_out_of_all_bounds_is_left_out(database: Database, year: int) -> None:
    moment = datetime(year, 12 if year > 1 else 1, 31, 23, tzinfo=timezone(timedelta(hours=23)))
    if year == 9999:
        moment = moment.replace(tzinfo=timezone(-timedelta(hours=23)))
    (kept,) = keep_reports(database, [replace(incoming(), issued_at=moment)], NOON)
    assert report(database, kept.report_id).remarks.startswith("issued_at")


ANY = st.text(st.characters(exclude_categories=()), max_size=12)


@given(text=ANY, name=ANY, value=ANY)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_stated_goes_in(database: Database, text: str, name: str, value: str) -> None:
    about = dict.fromkeys(ODD, value)
    odd = incoming(text, source_id=name, message_id=value, **about)
    renamed = replace(odd, parts=(*odd.parts, ReportPart(name=name, text=value)))
    assert keep(database, renamed)[0] in {Kept.NEW, Kept.SUPERSEDES, Kept.DUPLICATE}
    assert keep(database, renamed) == [Kept.DUPLICATE]


REFUSING = {
    True: """CREATE TRIGGER picky BEFORE INSERT ON report_part WHEN new.text = 'Mass.'
        BEGIN SELECT RAISE(ABORT, 'never that'); END""",
    False: "ALTER TABLE report_part ADD CONSTRAINT picky CHECK (text <> 'Mass.')",
}
TAKING = {
    True: "DROP TRIGGER picky",
    False: "ALTER TABLE report_part DROP CONSTRAINT picky",
}


@pytest.fixture
def picky(database: Database) -> Iterator[Database]:
    """A database that will not have one text, for a reason nobody foresaw."""
    for statements in (REFUSING, TAKING):
        with database.writing() as connection:
            connection.execute(text(statements[database.is_sqlite]))
        if statements is REFUSING:
            yield database


def test_what_the_database_refuses_is_listed_and_the_rest_goes_in(picky: Database) -> None:
    words = ["Effusion.", "Nodule.", "Mass.", "Edema.", "Hernia."]
    rows = [incoming(text, source_id=f"R{number}") for number, text in enumerate(words)]
    made = import_reports(
        picky,
        rows,
        setup=MinerSetup(graph=False),
        workers=1,
        clock=lambda: NOON,
        progress=lambda _rows: None,
    )
    assert made.bad == [BadRow(number=3, reason="the database refuses it")]
    assert (made.new, made.mined, len(current(picky))) == (4, 4, 4)


def test_what_no_database_takes_is_replaced_one_for_one(database: Database) -> None:
    keep(database, incoming("No\0effusion \ud800 seen."))
    (line,) = latest_reports(database, 10)
    assert report(database, line.id).parts[0].text == "No\ufffdeffusion \ufffd seen."


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
    one, *rest = unread_after(database, second, 0, 10)
    record_readings(database, second, read_reports(miner, [one]), in_force=False)
    assert not put_in_force(database, second)
    record_readings(database, second, read_reports(miner, rest), in_force=False)
    assert put_in_force(database, second)
    (change,) = differences(database, first, second)
    assert (change.name, change.before, change.after, change.reports) == ("effusion", -1, 0, 2)
    assert sorted(change.examples) == [one.id, rest[0].id]


def test_reading_again_reads_what_this_version_has_not_read(database: Database) -> None:
    keep(database, incoming("Effusion.", source_id="R1"))
    mine(database)
    keep(database, incoming("Nodule.", source_id="R2"))
    mine(database, "openi")
    steps: list[int] = []
    setup = MinerSetup(policy="openi", graph=False)
    remine_reports(database, setup=setup, workers=1, clock=lambda: NOON, progress=steps.append)
    assert steps == [1]
    assert {line.positive for line in latest_reports(database, 9)} == {("effusion",), ("nodule",)}


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
