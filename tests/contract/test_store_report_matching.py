"""A report is tied to the study it states, and to no other, in whatever order they come."""

from random import Random

import pytest
from sqlalchemy import select, text

from dicomnode.store.database import Database
from dicomnode.store.report_matching import match_new_reports, match_new_studies
from dicomnode.store.report_telling import latest_reports, report
from dicomnode.store.reports import keep_reports
from dicomnode.store.tables import EventRow, StudyRow
from tests.contract.store_scenes import NOON, receive
from tests.contract.test_store_reports import incoming, keep

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]


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


@pytest.mark.parametrize(
    ("stated", "note"),
    [
        ({"accession_number": "A9"}, "no study has its accession number yet"),
        ({"study_uid": "1.2.9"}, "no study has its study UID yet"),
        (
            {"study_uid": "1.2.9", "accession_number": "A1"},
            "no study has its study UID yet",
        ),
    ],
)
def test_a_stated_key_that_is_not_there_waits_for_its_study(
    database: Database, stated: dict[str, str], note: str
) -> None:
    study(database, "1.2.1", patient_id="P1", study_date="20240131", accession_number="A1")
    keep(database, incoming(study_date="20240131", **stated))
    assert matched(database) == [(None, note)]
    study(database, "1.2.9", patient_id="P1", study_date="20240131", accession_number="A9")
    assert matched(database)[0][0] == "1.2.9"


def events(database: Database) -> list[tuple[str, str | None]]:
    query = select(EventRow.name, EventRow.study_uid).where(EventRow.name.like("report.%"))
    with database.reading() as connection:
        return [
            (row.name, row.study_uid) for row in connection.execute(query.order_by(EventRow.id))
        ]


@pytest.mark.parametrize(
    ("stated", "note"),
    [
        ({"study_date": "20240131"}, "2 studies of the patient on that day"),
        ({"accession_number": "A1"}, "2 studies have its accession number"),
    ],
)
def test_a_second_study_that_fits_as_well_unties_a_report(
    database: Database, stated: dict[str, str], note: str
) -> None:
    same = {"patient_id": "P1", "study_date": "20240131", "accession_number": "A1"}
    study(database, "1.2.1", **same)
    keep(database, incoming(**stated))
    assert matched(database)[0][0] == "1.2.1"
    study(database, "1.2.2", **same)
    assert matched(database) == [(None, note)]
    assert matched(database) == [(None, note)]
    assert events(database) == [("report.matched", "1.2.1"), ("report.untied", "1.2.1")]


def test_a_report_moves_to_the_study_that_a_new_series_shows_to_be_its_own(
    database: Database,
) -> None:
    same = {"patient_id": "P1", "study_date": "20240131", "accession_number": "A1"}
    study(database, "1.2.1", **same)
    study(database, "1.2.2", **same)
    with database.writing() as connection:
        connection.execute(text("UPDATE series SET modality = 'CR'"))
    keep(database, incoming(accession_number="A1", modality="CT"))
    assert matched(database) == [(None, "2 studies have its accession number")]
    receive(database, ["1.2.2.7.1"], association="late")
    assert matched(database) == [("1.2.2", "accession")]


def test_a_correction_of_the_accession_number_moves_the_report(database: Database) -> None:
    study(database, "1.2.1", patient_id="P1", accession_number="A1")
    study(database, "1.2.2", patient_id="P1", accession_number="A2")
    keep(database, incoming(accession_number="A1"))
    assert matched(database) == [("1.2.1", "accession")]
    keep(database, incoming(accession_number="A2"))
    assert matched(database) == [("1.2.2", "accession")]


def test_the_order_in_which_things_come_decides_nothing(database: Database) -> None:
    """Each order is tried with a patient of its own; all must end the same."""
    ends = set()
    for turn in range(4):
        patient, accession, uid = f"P{turn}", f"A{turn}", f"1.2.{100 * (turn + 1)}"
        day = {"patient_id": patient, "study_date": "20240131"}
        things: list[tuple[str, dict[str, str]]] = [
            ("study", {"accession_number": accession}),
            ("study", {"accession_number": ""}),
            ("study", {"accession_number": accession, "patient_id": "other"}),
            ("report", {"accession_number": accession}),
            ("report", {}),
            ("report", {"accession_number": "none such"}),
            ("report", {"study_uid": f"{uid}1"}),
        ]
        order = list(enumerate(things))
        Random(turn).shuffle(order)
        names = {}
        for number, (kind, about) in order:
            if kind == "study":
                study(database, f"{uid}{number}", **{**day, **about})
            else:
                named = incoming(source_id=f"{turn}/{number}", **{**day, **about})
                names[number] = keep_reports(database, [named], NOON)[0].report_id
            match_new_studies(database, 100, NOON)
            match_new_reports(database, 100, NOON)
        told = [report(database, names[number]) for number in sorted(names)]
        ends.add(
            tuple(
                (
                    (each.line.study_uid or "").removeprefix(uid),
                    each.matched_by,
                    each.line.match_note,
                )
                for each in told
            )
        )
    assert ends == {
        (
            ("0", "accession", ""),
            ("", None, "2 studies of the patient on that day"),
            ("", None, "no study has its accession number yet"),
            ("1", "study-uid", ""),
        )
    }
