"""Lesions over time in the index, on both databases: what is compared, and what SQL tells of it."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date

import pytest
from sqlalchemy import text, update

from dicomnode.domain.codes import Code
from dicomnode.domain.events import Event, EventName
from dicomnode.domain.follow_up import (
    BodyMap,
    Compared,
    Fate,
    Growth,
    LesionPlace,
    LesionRecord,
    MissingLesion,
)
from dicomnode.domain.identifiers import JobId, StudyUid
from dicomnode.domain.jobs import Job
from dicomnode.domain.outcomes import FindingRecord
from dicomnode.store.database import Database
from dicomnode.store.events import log_events
from dicomnode.store.jobs import load_job, start_job
from dicomnode.store.lesions import priors_of
from dicomnode.store.outcomes import record_outcome
from dicomnode.store.tables import JobRow, StudyRow
from tests.contract.store_scenes import at, close, lung_match, match_lungs, outcome_of, receive

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]

NODE = Code("30746006", "SCT", "Lymph node structure")
LIVER = Code("4147007", "SCT", "Mass")
AXILLA = Code("91470000", "SCT", "Axilla")
MAP = BodyMap(shape=(2, 3, 4), origin_lps_mm=(1.0, 2.0, 3.5), spacing_mm=6.0, packed="abc=")


def lesion(
    uid: str,
    long_mm: float,
    short_mm: float,
    *,
    kind: Code = NODE,
    site: Code | None = AXILLA,
    since: tuple[JobId, int, float] | None = None,
) -> FindingRecord:
    """`since`: the prior job, days, percent of the long axis."""
    growth = None
    if since:
        growth = Growth(
            tracking_uid=uid,
            prior_job_id=since[0],
            prior_name="Node",
            days=since[1],
            long_axis_percent=since[2],
            short_axis_percent=0.0,
            volume_percent=None,
            doubling_days=None,
        )
    place = LesionPlace(
        tracking_uid=uid,
        center_lps_mm=(10.0, -20.0, 180.5),
        long_axis_mm=long_mm,
        short_axis_mm=short_mm,
        sop_instance_uid="1.2.1.1.7",
    )
    return FindingRecord(
        kind="lesion",
        name=f"Node {uid}",
        code=kind,
        site=site,
        score=0.8,
        lesion=LesionRecord(place=place, growth=growth),
    )


def studied(
    database: Database,
    number: int,
    when: str,
    found: Iterable[FindingRecord],
    *,
    compared: Sequence[Compared] = (),
    patient: str = "P1",
) -> Job:
    """A study of that date with a finished job that found these."""
    receive(database, [f"1.2.{number}.1.1"], association=f"a{number}")
    revision = close(database)
    match = lung_match(series=f"1.2.{number}.1", algorithm="nodes")  # type: ignore[arg-type]
    job_id = match_lungs(database, revision, match)
    study = f"1.2.{number}"
    with database.writing() as connection:
        connection.execute(
            update(StudyRow)
            .where(StudyRow.study_uid == study)
            .values(study_date=when, study_time="120000", patient_id=patient)
        )
        connection.execute(update(JobRow).where(JobRow.id == job_id).values(study_uid=study))
    assert start_job(database, job_id, deadline=at(600), now=at(1))
    job = load_job(database, job_id)
    made = replace(
        outcome_of(database, job), findings=tuple(found), body=MAP, compared=tuple(compared)
    )
    made = replace(made, objects=())
    assert record_outcome(database, job, made, at(5 + number), parcels=[])
    return load_job(database, job_id)


def rows(database: Database, query: str) -> list[tuple[object, ...]]:
    with database.reading() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def test_a_later_study_is_compared_with_the_earlier_ones_of_its_patient(
    database: Database,
) -> None:
    first = studied(database, 1, "20240131", [lesion("2.25.1", 20, 16)])
    second = studied(database, 2, "20240430", [])
    studied(database, 3, "20240201", [lesion("2.25.9", 20, 16)], patient="P2")
    later = studied(database, 4, "20240701", [])
    priors = priors_of(database, later)
    assert priors is not None
    assert priors.study_date == date(2024, 7, 1)
    assert [one.job_id for one in priors.studies] == [second.id, first.id]
    (kept,) = priors.studies[1].lesions
    assert kept.type == NODE
    assert kept.place.tracking_uid == "2.25.1"
    assert kept.place.center_lps_mm == (10.0, -20.0, 180.5)
    assert priors.studies[1].body == MAP
    # Nothing is compared with what came after it.
    earliest = priors_of(database, first)
    assert earliest is not None
    assert earliest.studies == ()


def test_another_birth_date_under_the_same_id_is_another_patient(database: Database) -> None:
    studied(database, 1, "20240131", [lesion("2.25.1", 20, 16)])
    later = studied(database, 2, "20240430", [])
    with database.writing() as connection:
        for study, born in (("1.2.1", "19500101"), ("1.2.2", "19700101")):
            connection.execute(
                update(StudyRow).where(StudyRow.study_uid == study).values(patient_birth_date=born)
            )
    priors = priors_of(database, later)
    assert priors is not None
    assert priors.studies == ()


@pytest.mark.parametrize("of_two", [1, 2])
def test_a_study_with_series_of_two_patients_is_compared_with_nothing(
    database: Database, of_two: int
) -> None:
    studied(database, 1, "20240131", [lesion("2.25.1", 20, 16)])
    later = studied(database, 2, "20240430", [])
    differ = Event(name=EventName.PATIENTS_DIFFER, study_uid=StudyUid(f"1.2.{of_two}"))
    log_events(database, [(differ, at(30))])
    priors = priors_of(database, later)
    assert (priors is None) == (of_two == 2)
    assert priors is None or priors.studies == ()


@pytest.mark.parametrize(("patient", "when"), [("", "20240430"), ("P1", ""), ("P1", "April")])
def test_without_patient_or_date_nothing_is_compared(
    database: Database, patient: str, when: str
) -> None:
    later = studied(database, 2, when, [], patient=patient)
    assert priors_of(database, later) is None


def test_growth_is_told_with_both_studies(database: Database) -> None:
    first = studied(database, 1, "20240131", [lesion("2.25.1", 20, 16)])
    compared = Compared(
        job_id=first.id,
        study_date=date(2024, 1, 31),
        days=90,
        agreement=0.97,
        common_mm=270.0,
        reason="",
        missing=(MissingLesion(name="Node 2", tracking_uid="2.25.2", fate=Fate.NOT_FOUND),),
    )
    studied(
        database,
        2,
        "20240430",
        [lesion("2.25.1", 30, 20, since=(first.id, 90, 50.0)), lesion("2.25.3", 12, 9)],
        compared=[compared],
    )
    assert rows(
        database,
        "SELECT patient, prior_date, study_date, days, prior_long_axis_mm, long_axis_mm, "
        "long_axis_percent, agreement FROM lesion_growth",
    ) == [("P1", "20240131", "20240430", 90, 20, 30, 50, 0.97)]
    assert rows(
        database, "SELECT name, tracking_uid, is_followed FROM lesion_seen ORDER BY finding_id"
    ) == [("Node 2.25.1", "2.25.1", 0), ("Node 2.25.1", "2.25.1", 1), ("Node 2.25.3", "2.25.3", 0)]
    assert rows(database, "SELECT name, fate FROM lesion_missing") == [
        ("Node 2", "not found again")
    ]


def test_a_rerun_takes_the_place_of_the_earlier_lesions(database: Database) -> None:
    job = studied(database, 1, "20240131", [lesion("2.25.1", 20, 16), lesion("2.25.2", 9, 8)])
    with database.writing() as connection:
        connection.execute(update(JobRow).where(JobRow.id == job.id).values(state="running"))
    again = replace(
        outcome_of(database, job), findings=(lesion("2.25.1", 21, 16),), objects=(), body=MAP
    )
    assert record_outcome(database, job, again, at(60), parcels=[])
    assert rows(database, "SELECT tracking_uid, long_axis_mm FROM lesion") == [("2.25.1", 21)]
    assert rows(database, "SELECT count(*) FROM body_map") == [(1,)]


def test_the_sum_of_diameters_follows_its_targets(database: Database) -> None:
    """Nodes count by their short axis from 15 mm, masses by their long one; two an organ."""
    first = studied(
        database,
        1,
        "20240101",
        [
            lesion("2.25.1", 30, 20),
            lesion("2.25.2", 25, 18),
            lesion("2.25.3", 24, 17),
            lesion("2.25.4", 30, 14),
            lesion("2.25.5", 40, 30, kind=LIVER, site=None),
            lesion("2.25.6", 9, 8, kind=LIVER, site=None),
        ],
    )
    since = (first.id, 60, 0.0)
    studied(
        database,
        2,
        "20240301",
        [
            lesion("2.25.1", 20, 10, since=since),
            lesion("2.25.2", 20, 10, since=since),
            lesion("2.25.5", 30, 20, kind=LIVER, site=None, since=since),
        ],
    )
    studied(
        database,
        3,
        "20240501",
        [
            lesion("2.25.1", 20, 12, since=since),
            lesion("2.25.2", 20, 15, since=since),
            lesion("2.25.5", 33, 20, kind=LIVER, site=None, since=since),
            lesion("2.25.7", 33, 20),
        ],
    )
    studied(database, 4, "20240701", [lesion("2.25.1", 20, 12, since=since)])
    assert rows(
        database, "SELECT tracking_uid, baseline_mm FROM recist_target ORDER BY tracking_uid"
    ) == [("2.25.1", 20), ("2.25.2", 18), ("2.25.5", 40)]
    sums = rows(
        database,
        "SELECT nth, targets, found, sum_mm, new_lesions, baseline_mm, nadir_mm, "
        "percent_of_baseline, percent_of_nadir FROM recist_sum ORDER BY nth",
    )
    assert sums == [
        (1, 3, 3, 78, 0, 78, None, None, None),
        (
            2,
            3,
            3,
            50,
            0,
            78,
            78,
            pytest.approx(-35.897, abs=0.01),
            pytest.approx(-35.897, abs=0.01),
        ),
        (3, 3, 3, 60, 1, 78, 50, pytest.approx(-23.077, abs=0.01), pytest.approx(20)),
        # Two targets were not marked again, which is not the same as gone.
        (4, 3, 1, 12, 0, 78, 50, None, None),
    ]
