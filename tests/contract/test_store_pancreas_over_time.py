"""What a clinician asks of the pancreas of one patient, by the saved question."""

from dataclasses import replace

import pytest

from dicomnode.domain.codes import ML, VOLUME, Code
from dicomnode.domain.findings import Measurement
from dicomnode.domain.identifiers import SeriesUid
from dicomnode.domain.outcomes import FindingRecord
from dicomnode.store.asking import asked
from dicomnode.store.database import Database
from dicomnode.store.jobs import load_job, start_job
from dicomnode.store.outcomes import record_outcome
from dicomnode.store.questions import load_questions
from tests.contract.store_scenes import at, close, lung_match, match_lungs, outcome_of
from tests.contract.test_store_questions import reader_url  # noqa: F401
from tests.contract.test_store_summaries import receive_from

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]

PANCREAS = Code(value="15776009", scheme="SCT", meaning="Pancreas")


def measured(database: Database, study: int, date: str, patient: str, millilitres: float) -> None:
    """One CT, and a job that found so much pancreas on it."""
    series = SeriesUid(f"1.2.{study}.1")
    receive_from(database, f"{series}.1", "ROOM1", study_date=date, patient_id=patient)
    found = replace(lung_match(series), algorithm="pancreas", rule_name="pancreas")
    job_id = match_lungs(database, close(database), found)
    assert start_job(database, job_id, deadline=at(600), now=at(1))
    job = load_job(database, job_id)
    finding = FindingRecord(
        kind="segment",
        name="pancreas",
        code=PANCREAS,
        laterality=None,
        measurements=(Measurement(name=VOLUME, value=millilitres, unit=ML),),
    )
    outcome = replace(outcome_of(database, job), findings=(finding,))
    assert record_outcome(database, job, outcome, at(5))


def test_the_volume_of_the_pancreas_is_told_over_time_and_for_this_patient_alone(
    database: Database, request: pytest.FixtureRequest
) -> None:
    reader: str = request.getfixturevalue("reader_url")
    measured(database, 1, "20250214", "P1", 61.0)
    measured(database, 2, "20240131", "P1", 72.5)
    measured(database, 3, "20240301", "P2", 80.0)
    question = load_questions()["volume_over_time"]
    query = question.sqlite if database.is_sqlite else question.postgresql
    given = question.values({"patient": "P1", "finding": "pancreas"})

    with asked(database, query, given, reader_url=reader) as answer:
        rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]

    told = [(row["study_date"], row["value"], row["unit"], row["algorithm"]) for row in rows]
    assert told == [("20240131", 72.5, "ml", "pancreas"), ("20250214", 61.0, "ml", "pancreas")]
