"""`docs/sql.md` describes the tables as they are, and its queries run on both databases."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row, text

from dicomnode.documents import filled
from dicomnode.domain.errors import MissingSlices
from dicomnode.domain.identifiers import JobId
from dicomnode.domain.jobs import Job, JobState
from dicomnode.domain.results import ConfirmationMethod, Receipt
from dicomnode.sql_reference import sql_tables
from dicomnode.store.database import Database
from dicomnode.store.deliveries import outbox, record_confirmation, record_receipt
from dicomnode.store.describe import described_tables
from dicomnode.store.jobs import end_job_by_error, start_job
from tests.contract.store_scenes import (
    SERIES,
    at,
    close,
    finished_job,
    lung_match,
    match_lungs,
    receive,
    uids,
)

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]

DOCUMENT = Path(__file__).parents[2] / "docs" / "sql.md"
QUERIES = re.findall(r"```sql\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)


def test_the_document_has_not_fallen_behind() -> None:
    written = DOCUMENT.read_text(encoding="utf-8")
    assert filled(written, sql_tables()) == written, (
        "run `python -m dicomnode.sql_reference docs/sql.md`"
    )


def test_every_table_and_column_is_described() -> None:
    for table in described_tables():
        assert table.words, table.name
        for column in table.columns:
            assert column.words, f"{table.name}.{column.name}"


@pytest.fixture
def lived_in(database: Database) -> Database:
    """One job done and confirmed at `pacs`, one refused, and a study that no rule wanted."""
    job = finished_job(database)
    _deliver(database, job)
    receive(database, uids(SERIES, [4]), association="late", moment=at(60))
    other = lung_match(rule_name="nodules", algorithm="nodule_ct")
    refused = match_lungs(database, close(database, at(90)), other, at(91))
    _refuse(database, refused)
    receive(database, ["1.2.2.1.1"], association="b", moment=at(100))
    close(database, at(130))
    return database


def _deliver(database: Database, job: Job) -> None:
    items = outbox(database, job.id, "pacs")
    for item in items:
        uid = item.object.sop_instance_uid
        receipt = Receipt(sop_instance_uid=uid, destination="pacs", status=0, comment="", at=at(10))
        record_receipt(database, item, receipt, job)
    method = ConfirmationMethod.READ_BACK
    record_confirmation(database, items, job, destination="pacs", method=method, now=at(20))


def _refuse(database: Database, job: JobId) -> None:
    start_job(database, job, deadline=at(900), now=at(92))
    end_job_by_error(database, job, JobState.REFUSED, MissingSlices("gap after 40"), at(93))


def asked(database: Database, query: str) -> Sequence[Row[Any]]:
    with database.reading() as connection:
        return connection.execute(text(query)).all()


def test_there_are_five_questions_and_each_has_an_answer(lived_in: Database) -> None:
    assert len(QUERIES) == 5
    assert all(asked(lived_in, query) for query in QUERIES)


def test_answers_are_those_of_the_questions(lived_in: Database) -> None:
    needs_a_person, without_job, deliveries, lungs, durations = (
        asked(lived_in, query) for query in QUERIES
    )
    assert [(row.algorithm, row.error) for row in needs_a_person] == [
        ("nodule_ct", "MissingSlices")
    ]
    assert [row.study_uid for row in without_job] == ["1.2.2"]
    assert [(row.destination, row.state, row.objects) for row in deliveries] == [
        ("archive", "waiting", 2),
        ("pacs", "confirmed", 2),
    ]
    assert [(row.name, row.value, row.unit) for row in lungs] == [("left lung", 2500.5, "ml")]
    assert [row.algorithm for row in durations] == ["lung_ct"]
