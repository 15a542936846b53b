"""An index of any size, the same for the same seed: studies, jobs, reports and their labels.

A thousand reports are put together, kept and mined as in a running node; the others are copies of
them, made by the database itself (`INSERT ... SELECT`), which is its fastest way. `python
benchmarks/grown_index.py sqlite:////tmp/index.sqlite --studies 1000000`.

A report mentions about ten labels. Every tenth study has a job, and such a CT four lesions, of which
one in fifteen is that of an earlier CT. There are no instances: no saved question reads them.
"""

# ruff: noqa: E501 (statements in SQL)
import argparse
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Connection, make_url, text

from dicomnode.domain.incoming_reports import IncomingReport, ReportSource
from dicomnode.domain.reports import ReportPart
from dicomnode.reports import MinerSetup, open_miner
from dicomnode.steps.reporting import read_reports, register_version
from dicomnode.store.database import Database
from dicomnode.store.readings import record_readings, unmined_reports
from dicomnode.store.reports import keep_reports
from dicomnode.store.schema import upgrade
from dicomnode.store.summaries import recount_all

TEMPLATES = 1000
FIRST_DAY = date(2010, 1, 1)
DAYS = 5800
NOW = datetime(2026, 1, 1, tzinfo=UTC)

# Words, how often a report mentions them, and how often they are then positive and uncertain.
SAID = (
    ("pleural effusion", 0.95, 0.18, 0.04),
    ("pneumothorax", 0.95, 0.03, 0.01),
    ("cardiomegaly", 0.90, 0.22, 0.03),
    ("consolidation", 0.85, 0.12, 0.05),
    ("edema", 0.70, 0.12, 0.05),
    ("lymphadenopathy", 0.70, 0.10, 0.03),
    ("atelectasis", 0.60, 0.50, 0.10),
    ("nodule", 0.60, 0.25, 0.06),
    ("pneumonia", 0.60, 0.10, 0.15),
    ("mass", 0.50, 0.06, 0.03),
    ("infiltrate", 0.40, 0.20, 0.08),
    ("emphysema", 0.40, 0.30, 0.03),
    ("vascular calcification", 0.40, 0.80, 0.01),
    ("ground glass opacity", 0.40, 0.30, 0.05),
    ("fibrosis", 0.35, 0.30, 0.06),
    ("pleural thickening", 0.35, 0.30, 0.05),
    ("pulmonary embolism", 0.30, 0.08, 0.03),
    ("liver lesion", 0.30, 0.30, 0.08),
    ("hiatal hernia", 0.25, 0.40, 0.02),
    ("ascites", 0.20, 0.15, 0.02),
)
POSITIVE = (
    "Small {} on the left.",
    "There is {}, unchanged.",
    "Moderate {} in the right lower lobe.",
    "{} of 12 mm in the left lung (series 4 image {image}).",
)
UNCERTAIN = ("Possible {}.", "{} cannot be excluded.", "Findings may represent {}.")
NEGATIVE = ("No {}.", "No evidence of {}.", "There is no {} or acute change.")


def report_texts(count: int, chance: random.Random) -> Iterator[tuple[str, str]]:
    """Findings and impression; the last in a hundred is empty, which the miner flags."""
    for number in range(count):
        if number % 200 == 199:
            yield "", ""
            continue
        sentences = []
        for words, mentioned, positive, uncertain in chance.sample(SAID, len(SAID)):
            if chance.random() > mentioned:
                continue
            drawn = chance.random()
            forms = NEGATIVE
            if drawn < positive:
                forms = POSITIVE if chance.random() < 0.1 else POSITIVE[:3]
            elif drawn < positive + uncertain:
                forms = UNCERTAIN
            sentence = chance.choice(forms).format(words, image=chance.randint(1, 300))
            sentences.append(sentence[0].upper() + sentence[1:])
        cut = max(1, len(sentences) - 2)
        yield " ".join(sentences[:cut]), " ".join(sentences[cut:])


def keep_templates(database: Database, chance: random.Random) -> int:
    """Reports 1 to `TEMPLATES`, kept and mined by the node's own steps; return the version."""
    reports = [
        IncomingReport(
            source=ReportSource.BULK,
            source_id=f"template-{number}",
            parts=(
                ReportPart(name="findings", text=findings),
                ReportPart(name="impression", text=impression),
            ),
        )
        for number, (findings, impression) in enumerate(report_texts(TEMPLATES, chance))
    ]
    keep_reports(database, reports, NOW)
    miner = open_miner(MinerSetup())
    version = register_version(database, miner, NOW)
    stored = unmined_reports(database, TEMPLATES)
    record_readings(database, version, read_reports(miner, stored), in_force=True)
    return version


DRAWN = (
    "n integer, uid varchar(64), patient text, day varchar(8), moment text, modality varchar(16), "
    "scanner integer, unit text, template integer, job integer, sex varchar(1), born varchar(8), "
    "score double precision, volume double precision, matched integer, corrected integer"
)


def draw(studies: int, chance: random.Random) -> Iterator[tuple[Any, ...]]:
    """What is left to chance of each study, its report and its job."""
    for n in range(1, studies + 1):
        moment = datetime(2010, 1, 1, tzinfo=UTC) + timedelta(days=DAYS * n / studies)
        radiograph = chance.random() < 0.6
        drawn = chance.random()
        # 1: heart and lungs, 2: lungs, 3: fourteen classes.
        job = (1 if drawn < 0.07 else 3 if drawn < 0.09 else 0) if radiograph else int(drawn < 0.1)
        yield (
            n,
            f"1.2.826.0.1.3680043.10.{n}",
            f"P{chance.randint(1, studies // 3)}",
            moment.strftime("%Y%m%d"),
            moment.strftime("%Y-%m-%d %H:%M:%S.%f"),
            "DX" if radiograph else "CT",
            chance.randint(0, 19) if radiograph else chance.randint(20, 29),
            f"ward {int(chance.expovariate(0.08))}",
            chance.randint(1, TEMPLATES),
            job if radiograph else 2 * job,
            chance.choice("FM"),
            f"{chance.randint(1925, 2008)}{chance.randint(1, 12):02}{chance.randint(1, 28):02}",
            round(chance.random() ** 3, 4),
            round(chance.gauss(2500, 500), 1),
            int(chance.random() < 0.97),
            int(chance.random() < 0.01),
        )


def copies(version: int, is_sqlite: bool) -> list[str]:
    """What fills the tables from `drawn`, in the order of their foreign keys."""
    moment = "moment" if is_sqlite else "CAST(moment || '+00' AS timestamptz)"
    later = (
        "strftime('%Y-%m-%d %H:%M:%S', moment, '+{} seconds') || '.000000'"
        if is_sqlite
        else f"{moment} + interval '{{}} seconds'"
    )
    true, false, json = ("1", "0", "") if is_sqlite else ("true", "false", "::jsonb")
    header = (
        '\'{"StationName": ["ROOM\' || scanner || \'"], "Manufacturer": ["Maker\' '
        '|| (scanner % 4) || \'"], "ManufacturerModelName": ["Model\' || (scanner % 7) || \'"]}\''
    )
    algorithm = "CASE job WHEN 1 THEN 'cxr_heart_lung' WHEN 2 THEN 'lung_ct' ELSE 'cxr_14' END"
    classes = [words for words, *_ in SAID[:14]]
    names = {
        "pleural effusion": "effusion",
        "infiltrate": "infiltration",
        "lymphadenopathy": "lymph node",
    }
    label_rows = " UNION ALL ".join(
        f"SELECT {number} AS k, '{names.get(words, words)}' AS name"
        for number, words in enumerate(classes, start=1)
    )
    copied = "FROM drawn d JOIN {} t ON t.report_id = d.template"
    report = (
        "INSERT INTO report (id, source, source_id, number, message_id, content_sha256, status, "
        "is_current, supersedes_id, received_at, patient_id, patient_birth_date, patient_sex, "
        "accession_number, stated_study_uid, study_date, modality, referring_unit, study_uid, "
        "matched_by, match_tried_at, match_note, version_id) "
    )
    shared = (
        f"{moment}, patient, born, sex, 'A' || n, '', day, modality, unit, "
        "CASE matched WHEN 1 THEN uid END, CASE matched WHEN 1 THEN 'accession' END, "
        f"{moment}, CASE matched WHEN 1 THEN '' ELSE 'no such study yet' END, {version} FROM drawn"
    )
    mention = (
        "concept, label, part, section, char_start, char_end, sentence_start, sentence_end, "
        "assertion, hedge, circumstance, method, rule, trigger_start, trigger_end, window_says, "
        "graph_says, side, severity, change, largest_mm, how_many, more"
    )
    jobs = "FROM drawn WHERE job > 0"
    four = "SELECT 1 AS k UNION SELECT 2 UNION SELECT 3 UNION SELECT 4"
    return [
        (
            "INSERT INTO association (id, calling_ae, called_ae, address, receiver, opened_at) "
            f"SELECT 'a', 'PACS', 'DICOMNODE', '10.0.0.1', '', {moment} FROM drawn WHERE n = 1"
        ),
        f"INSERT INTO rule_set (digest, text, first_used_at) SELECT 'r', '# rules', {moment} FROM drawn WHERE n = 1",
        (
            "INSERT INTO study (study_uid, patient_id, patient_name, patient_birth_date, patient_sex, "
            "study_date, accession_number, description, header, instance_count, revision, "
            "new_instances, received_at, reports_sought_at) SELECT uid, patient, 'Name^' || patient, "
            f"born, sex, day, 'A' || n, modality || ' chest', '{{}}'{json}, "
            f"CASE modality WHEN 'CT' THEN 300 ELSE 2 END, 1, 0, {moment}, {moment} FROM drawn"
        ),
        (
            "INSERT INTO series (series_uid, study_uid, modality, header, instance_count, revision, "
            f"new_instances) SELECT uid || '.1', uid, modality, ({header}){json}, 2, 0, 0 FROM drawn"
        ),
        (
            "INSERT INTO series (series_uid, study_uid, modality, header, instance_count, revision, "
            f"new_instances) SELECT uid || '.2', uid, modality, ({header}){json}, 298, 0, 0 "
            "FROM drawn WHERE modality = 'CT'"
        ),
        (
            "INSERT INTO revision (id, study_uid, series_uid, number, reason, evidence, calling_aes, "
            "closed_at, instance_count, matched_at, rule_set_digest) "
            f"SELECT n, uid, '', 1, 'quiet', '{{}}'{json}, '[]'{json}, {later.format(60)}, 2, "
            f"{later.format(61)}, 'r' {jobs}"
        ),
        (
            "INSERT INTO job (id, revision_id, study_uid, rule_name, rule_set_digest, algorithm, "
            "algorithm_version, inputs, input_digest, priority, destinations, state, reason, error, "
            "attempt, run, created_at, started_at, finished_at, device) "
            f"SELECT 'job-' || n, n, uid, 'rule', 'r', {algorithm}, '1.0', '{{}}'{json}, '', 100, "
            f"'[]'{json}, CASE WHEN n % 500 = 0 THEN 'failed' ELSE 'succeeded' END, '', '', 1, 1, "
            f"{later.format(61)}, {later.format(70)}, {later.format(90)}, 'cpu' {jobs}"
        ),
        (
            "INSERT INTO finding (id, job_id, number, kind, name, code_value, code_scheme) "
            "SELECT n * 20 + k, 'job-' || n, k, 'segment', "
            "CASE k WHEN 1 THEN 'right lung' WHEN 2 THEN 'left lung' ELSE 'heart' END, '39607008', "
            "'SCT' FROM drawn JOIN (SELECT 1 AS k UNION SELECT 2 UNION SELECT 3) s "
            "ON s.k <= CASE job WHEN 1 THEN 3 ELSE 2 END WHERE job IN (1, 2)"
        ),
        (
            "INSERT INTO finding (id, job_id, number, kind, name, score, text) "
            "SELECT n * 20 + k, 'job-' || n, k, 'class', name, p, "
            "CASE WHEN p > 0.5 THEN 'positive' ELSE 'negative' END FROM (SELECT n, k, name, "
            "abs(score * 100 - k * 7) / 100 AS p FROM drawn "
            f"CROSS JOIN ({label_rows}) l WHERE job = 3) c"
        ),
        (
            "INSERT INTO measurement (finding_id, code_value, code_scheme, code_meaning, value, unit) "
            "SELECT n * 20 + 3, 'ctr', '99DICOMNODE', 'Cardiothoracic ratio', "
            "0.35 + score * 0.4, '{ratio}' FROM drawn WHERE job = 1"
        ),
        (
            "INSERT INTO measurement (finding_id, code_value, code_scheme, code_meaning, value, unit) "
            "SELECT n * 20 + k, '118565006', 'SCT', 'Volume', volume - k * 200, 'mL' FROM drawn "
            "CROSS JOIN (SELECT 1 AS k UNION SELECT 2) s WHERE job = 2"
        ),
        # Every CT job found four lesions; where the patient had an earlier one, they were matched.
        (
            "INSERT INTO finding (id, job_id, number, kind, name, score, code_value, code_scheme, "
            "code_meaning, site_meaning) SELECT n * 20 + 10 + k, 'job-' || n, "
            "10 + k, 'lesion', 'Lesion ' || k, score, '59441001', 'SCT', CASE WHEN k = 1 THEN "
            "'Lymph node structure' ELSE 'Lesion' END, 'Lung structure' "
            f"FROM drawn CROSS JOIN ({four}) f WHERE job = 2"
        ),
        (
            "INSERT INTO lesion (finding_id, job_id, tracking_uid, x, y, z, long_axis_mm, "
            "short_axis_mm, volume_ml, sop_instance_uid, prior_job_id, days, long_axis_percent, "
            "short_axis_percent, volume_percent) SELECT c.n * 20 + 10 + k, 'job-' || c.n, '2.25.' || "
            "(c.first * 10 + k), k, k, k, 8 + 20 * c.score, 6 + 15 * c.score, c.score, c.uid || '.1.' || k, "
            "CASE WHEN c.prior > 0 THEN 'job-' || c.prior END, CASE WHEN c.prior > 0 THEN 90 END, "
            "CASE WHEN c.prior > 0 THEN 100 * (c.score - .3) END, "
            "CASE WHEN c.prior > 0 THEN 100 * (c.score - .3) END, "
            "CASE WHEN c.prior > 0 THEN 200 * (c.score - .3) END FROM (SELECT n, uid, score, "
            "min(n) OVER (PARTITION BY patient) AS first, lag(n) OVER (PARTITION BY patient ORDER BY n) "
            f"AS prior FROM drawn WHERE job = 2) c CROSS JOIN ({four}) f"
        ),
        f"INSERT INTO body_map (job_id, map) SELECT 'job-' || n, '{{}}'{json} FROM drawn WHERE job = 2",
        (
            "INSERT INTO follow_up (job_id, prior_job_id, days, agreement, common_mm, reason) SELECT "
            "job_id, min(prior_job_id), 90, .97, 250, '' FROM lesion WHERE prior_job_id IS NOT NULL "
            "GROUP BY job_id"
        ),
        (
            "INSERT INTO result (sop_instance_uid, job_id, kind, sop_class_uid, study_uid, "
            "series_uid, path, sha256, created_at) SELECT uid || '.9.' || kind, 'job-' || n, kind, "
            f"'1.2.840.10008.5.1.4.1.1.66.4', uid, uid || '.9', 'r', '', {later.format(90)} "
            "FROM drawn CROSS JOIN (SELECT 'SEG' AS kind UNION SELECT 'SR') k "
            "WHERE job > 0 AND n % 500 > 0 AND (job < 3 OR kind = 'SR')"
        ),
        (
            "INSERT INTO delivery (result_uid, job_id, destination, state, attempt, reason, sent_at, "
            "confirmed_at, confirmed_by, created_at) SELECT t.sop_instance_uid, t.job_id, 'pacs', "
            "CASE WHEN n % 200 = 1 THEN 'sent-unconfirmed' ELSE 'confirmed' END, 1, '', "
            f"{later.format(95)}, CASE WHEN n % 200 <> 1 THEN {later.format(99)} END, "
            f"CASE WHEN n % 200 <> 1 THEN 'c-find' END, {later.format(91)} "
            "FROM drawn d JOIN result t ON t.study_uid = d.uid"
        ),
        # What a correction replaced comes before it.
        (
            f"{report} SELECT {TEMPLATES} + 2 * n, 'bulk', 'R' || n, 1, '', '', 'final', {false}, "
            f"NULL, {shared} WHERE corrected = 1"
        ),
        (
            f"{report} SELECT {TEMPLATES} + 2 * n + 1, 'bulk', 'R' || n, 2, '', '', "
            f"CASE corrected WHEN 1 THEN 'corrected' ELSE 'final' END, {true}, "
            f"CASE corrected WHEN 1 THEN {TEMPLATES} + 2 * n END, {shared}"
        ),
        (
            f"INSERT INTO report_part (report_id, number, name, text) SELECT {TEMPLATES} + 2 * d.n + 1,"
            f" t.number, t.name, t.text {copied.format('report_part')}"
        ),
        (
            "INSERT INTO report_reading (version_id, report_id, is_normal, flags) SELECT t.version_id, "
            f"{TEMPLATES} + 2 * d.n + 1, t.is_normal, t.flags {copied.format('report_reading')}"
        ),
        (
            "INSERT INTO report_section (version_id, report_id, number, part, kind, char_start, "
            f"char_end) SELECT t.version_id, {TEMPLATES} + 2 * d.n + 1, t.number, t.part, t.kind, "
            f"t.char_start, t.char_end {copied.format('report_section')}"
        ),
        (
            f"INSERT INTO mention (version_id, report_id, number, {mention}) SELECT t.version_id, "
            f"{TEMPLATES} + 2 * d.n + 1, t.number, {mention} {copied.format('mention')}"
        ),
        (
            "INSERT INTO report_label (version_id, report_id, name, value, said, mention) "
            f"SELECT t.version_id, {TEMPLATES} + 2 * d.n + 1, t.name, t.value, t.said, t.mention "
            f"{copied.format('report_label')}"
        ),
        (
            "INSERT INTO image_reference (version_id, report_id, mention, label, series, image) "
            f"SELECT t.version_id, {TEMPLATES} + 2 * d.n + 1, t.mention, t.label, t.series, t.image "
            f"{copied.format('image_reference')}"
        ),
    ]


def fill_drawn(database: Database, connection: Connection, studies: int, seed: int) -> None:
    connection.execute(text(f"CREATE TEMPORARY TABLE drawn ({DRAWN})"))
    rows = draw(studies, random.Random(seed))
    width = DRAWN.count(",") + 1
    if database.is_sqlite:
        marks = ", ".join("?" * width)
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        raw.executemany(f"INSERT INTO drawn VALUES ({marks})", rows)
        return
    raw = connection.connection.driver_connection
    assert isinstance(raw, psycopg.Connection)
    with raw.cursor() as cursor, cursor.copy("COPY drawn FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
    connection.execute(text("ANALYZE drawn"))


def grow(database: Database, studies: int, seed: int) -> None:
    """An index of that many studies, each with a report; deterministic by `seed`."""
    upgrade(database)
    version = keep_templates(database, random.Random(seed))
    with database.engine.connect() as connection:
        if database.is_sqlite:
            # Not the node's way: nothing here has to outlive a crash.
            raw = connection.connection.driver_connection
            assert isinstance(raw, sqlite3.Connection)
            for pragma in ("synchronous=OFF", "cache_size=-1000000", "foreign_keys=OFF"):
                raw.execute(f"PRAGMA {pragma}")
        with connection.begin(), without_indexes(connection):
            fill_drawn(database, connection, studies, seed)
            for statement in copies(version, database.is_sqlite):
                started = time.monotonic()
                connection.exec_driver_sql(
                    statement if database.is_sqlite else statement.replace("%", "%%")
                )
                print(f"{time.monotonic() - started:6.1f} s  {statement[:60]}", flush=True)
            connection.execute(text("DROP TABLE drawn"))
        settle(database)
        with connection.begin():
            started = time.monotonic()
            recount_all(connection)
            print(f"{time.monotonic() - started:6.1f} s  sums and comparisons")
        connection.detach()
    settle(database)


@contextmanager
def without_indexes(connection: Connection) -> Iterator[None]:
    """On PostgreSQL: no check of foreign keys, and indexes made at the end, words' index too."""
    if connection.dialect.name == "sqlite":
        yield
        return
    connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
    connection.exec_driver_sql("SET LOCAL work_mem = '256MB'")
    found = connection.exec_driver_sql(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index i "
        "JOIN pg_class c ON c.oid = i.indrelid WHERE NOT indisunique "
        "AND c.relnamespace = 'public'::regnamespace AND NOT EXISTS ("
        "SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid)"
    ).all()
    for name, _ in found:
        connection.exec_driver_sql(f"DROP INDEX {name}")
    yield
    started = time.monotonic()
    connection.exec_driver_sql(
        "INSERT INTO report_search SELECT id, to_tsvector('english', left(text, 200000)) "
        "FROM report_part ON CONFLICT DO NOTHING"
    )
    print(f"{time.monotonic() - started:6.1f} s  words")
    for _, definition in found:
        connection.exec_driver_sql(definition)
    print(f"{time.monotonic() - started:6.1f} s  indexes")


def settle(database: Database) -> None:
    """What PostgreSQL does by itself within minutes."""
    if not database.is_sqlite:
        with psycopg.connect(
            database.url.set(drivername="postgresql").render_as_string(hide_password=False),
            autocommit=True,
        ) as connection:
            connection.execute("VACUUM ANALYZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="SQLAlchemy URL of a database that is not there, or empty")
    parser.add_argument("--studies", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    path = make_url(options.url).database or ""
    database = Database(options.url, Path(path).parent)
    started = time.monotonic()
    grow(database, options.studies, options.seed)
    with database.reading() as connection:
        labels = connection.execute(text("SELECT count(*) FROM report_label")).scalar()
    print(f"{options.studies} studies, {labels} label rows: {time.monotonic() - started:.0f} s")
    database.dispose()


if __name__ == "__main__":
    main()
