"""What is kept up to date equals what a count from nothing gives, whatever happened to reports."""

import random
import re
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, text

from dicomnode.domain.errors import StoreError
from dicomnode.domain.incoming_reports import ReportStatus
from dicomnode.domain.jobs import Job
from dicomnode.domain.outcomes import FindingRecord
from dicomnode.reports import MinerSetup, open_miner
from dicomnode.steps.reporting import read_reports, register_version
from dicomnode.store.database import Database
from dicomnode.store.indexing import Indexed, index_instances
from dicomnode.store.jobs import load_job, rerun_job, start_job
from dicomnode.store.outcomes import record_outcome
from dicomnode.store.readings import put_in_force, record_readings, unmined_reports, unread_after
from dicomnode.store.report_matching import match_new_reports, match_new_studies
from dicomnode.store.schema import upgrade
from dicomnode.store.summaries import recount_all
from dicomnode.store.tables import (
    Base,
    ComparisonRow,
    LabelMonthRow,
    LabelScannerRow,
    LabelTogetherRow,
    LabelUnitRow,
    MeasuredChangeRow,
    PositiveStudyRow,
    ReportMonthRow,
    StudyRow,
)
from tests.contract.store_scenes import (
    NOON,
    at,
    finished_job,
    header,
    land,
    outcome_of,
    running_job,
    waiting,
)
from tests.contract.test_store_reports import incoming, keep, mine

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]

SUMS: tuple[type[Base], ...] = (
    ReportMonthRow,
    LabelMonthRow,
    LabelUnitRow,
    LabelScannerRow,
    LabelTogetherRow,
)
OTHERS: tuple[type[Base], ...] = (PositiveStudyRow, ComparisonRow, MeasuredChangeRow)
SENTENCES = (
    "Small effusion.",
    "Effusion and cardiomegaly.",
    "No pneumothorax.",
    "Possible nodule.",
    "Mass in the left lung. No effusion.",
    "",
)


def kept(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Every row but those that sum up to nothing."""
    found = {}
    with database.reading() as connection:
        for table in (*SUMS, *OTHERS):
            rows = [tuple(row) for row in connection.execute(select(table))]
            if table in SUMS:
                sums = [
                    c.name in {"reports", "positive", "negative", "uncertain"}
                    for c in table.__table__.columns
                ]
                rows = [row for row in rows if any(v for v, s in zip(row, sums, strict=True) if s)]
            found[table.__tablename__] = sorted(rows, key=repr)
    return found


def assert_as_counted_anew(database: Database) -> None:
    before = kept(database)
    with database.writing() as connection:
        recount_all(connection)
    assert before == kept(database)


def receive_from(database: Database, uid: str, scanner: str, **values: str) -> None:
    """One instance of a study of a patient, made by a scanner."""
    land(database, [uid], association=f"a{uid}")
    told = header(uid, StationName=scanner, Manufacturer="Maker")
    indexed = [Indexed(landed=one.landed, header=told) for one in waiting(database)]
    index_instances(database, indexed, [], NOON)
    with database.writing() as connection:
        table: Any = StudyRow.__table__
        study = ".".join(uid.split(".")[:3])
        connection.execute(table.update().where(table.c.study_uid == study).values(**values))


class Life:
    """What happens to an archive of reports, by chance."""

    def __init__(self, database: Database, chance: random.Random) -> None:
        self.database = database
        self.chance = chance
        self.miners = [
            open_miner(MinerSetup(policy=policy, graph=False)) for policy in ("strict", "openi")
        ]
        self.instances = 0

    def goes_on(self) -> None:
        self.chance.choice(
            [
                self.keeps,
                self.keeps,
                self.mines,
                self.mines,
                self.matches,
                self.receives,
                self.reads_again,
                self.puts_in_force,
            ]
        )()

    def keeps(self) -> None:
        number = self.chance.randint(1, 6)
        report = incoming(
            self.chance.choice(SENTENCES),
            source_id=f"R{number}",
            accession_number=f"A{number % 3}",
            study_date=self.chance.choice(["20240131", "20240201", ""]),
            referring_unit=self.chance.choice(["ward", "clinic" * 50]),
        )
        status = self.chance.choice(
            [ReportStatus.FINAL, ReportStatus.FINAL, ReportStatus.CORRECTED, ReportStatus.CANCELLED]
        )
        keep(self.database, replace(report, status=status))

    def mines(self) -> None:
        """As a node that was started with one policy or the other."""
        miner = self.chance.choice(self.miners)
        version = register_version(self.database, miner, NOON)
        reports = unmined_reports(self.database, 2)
        record_readings(self.database, version, read_reports(miner, reports), in_force=True)

    def reads_again(self) -> None:
        miner = self.chance.choice(self.miners)
        version = register_version(self.database, miner, NOON)
        reports = unread_after(self.database, version, self.chance.randint(0, 4), 3)
        record_readings(self.database, version, read_reports(miner, reports), in_force=False)

    def puts_in_force(self) -> None:
        miner = self.chance.choice(self.miners)
        version = register_version(self.database, miner, NOON)
        if self.chance.random() < 0.5:
            reports = unread_after(self.database, version, 0, 100)
            record_readings(self.database, version, read_reports(miner, reports), in_force=False)
        put_in_force(self.database, version)

    def matches(self) -> None:
        match_new_studies(self.database, 100, NOON)
        match_new_reports(self.database, 100, NOON)

    def receives(self) -> None:
        self.instances += 1
        study = self.chance.randint(0, 2)
        # A later series may be the first by its UID, and of another scanner.
        series = self.chance.randint(1, 9)
        receive_from(
            self.database,
            f"1.2.{study}.{series}.{self.instances}",
            f"ROOM{series % 4}",
            accession_number=f"A{study}",
            study_date="20240131",
        )


@pytest.mark.parametrize("seed", range(4))
def test_sums_are_right_after_whatever_happened(database: Database, seed: int) -> None:
    life = Life(database, random.Random(seed))
    for _ in range(40):
        life.goes_on()
    life.matches()
    life.mines()
    assert kept(database)["label_month"]
    assert_as_counted_anew(database)


def test_a_correction_takes_its_labels_from_the_sums(database: Database) -> None:
    keep(database, incoming("Small effusion.", study_date="20240131"))
    mine(database)
    assert [row[2:] for row in kept(database)["label_month"]] == [("effusion", "2024-01", 1, 0, 0)]
    keep(database, incoming("No effusion.", study_date="20240131"))
    assert kept(database)["label_month"] == []
    mine(database)
    assert [row[2:] for row in kept(database)["label_month"]] == [("effusion", "2024-01", 0, 1, 0)]


def test_a_commit_that_fails_leaves_the_sums_as_they_were(database: Database) -> None:
    keep(database, incoming("Small effusion."))
    first = unmined_reports(database, 1)
    version = mine(database)
    before = kept(database)
    keep(database, incoming("Small effusion.", source_id="R2"))
    miner = open_miner(MinerSetup(graph=False))
    readings = read_reports(miner, [*first, *unmined_reports(database, 10)])
    lost = replace(readings[0], report_id=77)
    with pytest.raises(StoreError, match="report_reading"):
        record_readings(database, version, [*readings, lost], in_force=True)
    assert kept(database) == before
    record_readings(database, version, readings, in_force=True)
    assert_as_counted_anew(database)


def test_an_index_that_kept_no_sums_has_them_after_the_upgrade(database: Database) -> None:
    keep(database, incoming("Effusion and cardiomegaly."))
    mine(database)
    before = kept(database)
    with database.writing() as connection:
        for table in (*SUMS, *OTHERS):
            connection.execute(text(f"DELETE FROM {table.__tablename__}"))
    upgrade(database)
    assert kept(database) == before


def class_findings(*said: tuple[str, float]) -> tuple[FindingRecord, ...]:
    return tuple(
        FindingRecord(
            kind="class",
            name=name,
            score=score,
            text="positive" if score > 0.5 else "negative",
        )
        for name, score in said
    )


def verdicts(database: Database) -> set[tuple[str, str]]:
    with database.reading() as connection:
        rows = connection.execute(text("SELECT label, verdict FROM ai_versus_report"))
        return {(row.label, row.verdict) for row in rows}


def record(database: Database, job: Job, *said: tuple[str, float]) -> None:
    outcome = replace(outcome_of(database, job), findings=class_findings(*said))
    assert record_outcome(database, job, outcome, at(5))


def test_models_and_reports_are_compared_whichever_came_first(database: Database) -> None:
    job = running_job(database)
    record(database, job, ("effusion", 0.9), ("nodule", 0.1), ("mass", 0.2))
    assert verdicts(database) == set()
    keep(database, incoming("Small effusion. Nodule.", study_uid=job.study_uid))
    mine(database)
    match_new_reports(database, 10, NOON)
    found = {("effusion", "agree"), ("nodule", "report-only"), ("mass", "agree")}
    assert verdicts(database) == found
    keep(database, incoming("Mass.", study_uid=job.study_uid))
    assert verdicts(database) == set()
    match_new_reports(database, 10, NOON)
    mine(database)
    found = {("effusion", "ai-only"), ("nodule", "agree"), ("mass", "report-only")}
    assert verdicts(database) == found
    assert_as_counted_anew(database)


def test_a_job_that_runs_again_is_compared_again(database: Database) -> None:
    job = running_job(database)
    keep(database, incoming("Small effusion.", study_uid=job.study_uid))
    match_new_reports(database, 10, NOON)
    mine(database)
    record(database, job, ("effusion", 0.1))
    assert verdicts(database) == {("effusion", "report-only")}
    rerun_job(database, job.id, at(6))
    assert verdicts(database) == set()
    assert start_job(database, job.id, deadline=at(600), now=at(7))
    record(database, load_job(database, job.id), ("effusion", 0.9))
    assert verdicts(database) == {("effusion", "agree")}
    assert_as_counted_anew(database)


def test_a_measurement_is_followed_per_patient(database: Database) -> None:
    finished_job(database)
    (row,) = kept(database)["measured_change"]
    assert row[:3] == ("P1", "left lung", "Volume")
    assert_as_counted_anew(database)


def test_no_batch_reads_the_whole_table_of_reports(migrated_sqlite: Path, tmp_path: Path) -> None:
    """Each would take as long as the archive is large."""
    file = tmp_path / "index.sqlite"
    shutil.copy(migrated_sqlite, file)
    database = Database(f"sqlite:///{file}", tmp_path)
    asked: list[tuple[str, Any]] = []

    def note(_: object, __: object, statement: str, values: Any, ___: object, many: bool) -> None:
        if not many and statement.lstrip().startswith(("SELECT", "UPDATE", "INSERT", "DELETE")):
            asked.append((statement, values))

    event.listen(database.engine, "before_cursor_execute", note)
    receive_from(database, "1.2.1.1.1", "ROOM1", accession_number="A1", study_date="20240131")
    reports = [
        incoming("Small effusion.", source_id=f"R{n}", accession_number="A1") for n in range(30)
    ]
    keep(database, *reports)
    mine(database)
    match_new_reports(database, 100, NOON)
    receive_from(database, "1.2.2.1.1", "ROOM1", accession_number="A2", study_date="20240131")
    match_new_studies(database, 100, NOON)
    keep(database, *reports)
    database.dispose()
    with sqlite3.connect(file) as connection:
        plans = {
            f"{row[3]}: {statement}"
            for statement, values in asked
            for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)
        }
    connection.close()
    assert len(plans) > 20
    read = re.compile(r"SCAN (report|r|report_label|l|report_part|mention|study|series)(:| USING)")
    assert [plan for plan in plans if read.match(plan)] == []
