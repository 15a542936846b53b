"""Searches over a large index: SQLite filled with studies of two series each, without files.

`python benchmarks/archive_search.py --studies 1000000` fills it (0.8 GB, minutes) and prints the
best of three times of each search that a client may ask by DICOMweb, 101 answers at most.
"""

import argparse
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from dicomnode.domain.catalogue import Between, Condition, Level, Like, OneOf, Search
from dicomnode.store.catalogue import find_series, find_studies
from dicomnode.store.database import Database
from dicomnode.store.schema import upgrade

STUDY = (
    "study_uid, patient_id, patient_name, name_key, patient_birth_date, patient_sex, study_date, "
    "study_time, accession_number, description, study_id, referrer_key, header, instance_count, "
    "revision, new_instances, received_at"
)
SERIES = "series_uid, study_uid, modality, series_number, header, instance_count, revision"
MODALITIES = ["CT"] * 40 + ["CR"] * 30 + ["MR"] * 20 + ["US"] * 9 + ["NM"]
HEADER = '{"PatientName":["%s"],"StudyTime":["120000"],"PatientAge":["050Y"]}'
LETTERS = "abcdefghijklmnopqrstuvwxyz"
RARE = 50
"""Studies with a modality of their own."""


def names() -> list[str]:
    chosen = random.Random(1)
    return ["".join(chosen.choice(LETTERS) for _ in range(6)) for _ in range(40_000)]


def study_rows(count: int) -> Iterator[tuple[object, ...]]:
    known = names()
    for i in range(count):
        name = f"{known[i % 40_000]}^{known[i * 7 % 40_000]}"
        date = f"{2000 + i * 24 // count}{1 + i % 12:02}{1 + i % 28:02}"
        yield (
            *(f"1.2.826.0.1.{i}", f"P{i // 3}", name, name, "19700101", "M", date, "120000"),
            *(f"A{i}", "Chest", f"S{i}", "house^g", HEADER % name, 300, 1, 0),
            "2024-01-01 00:00:00.000000",
        )


def series_rows(count: int) -> Iterator[tuple[object, ...]]:
    for i in range(count):
        modality = "OP" if i % (count // RARE) == 0 else MODALITIES[i * 13 % 100]
        for number in (1, 2):
            uid = f"1.2.826.0.1.{i}"
            yield f"{uid}.{number}", uid, modality, number, "{}", 150, 0, 0


def fill(file: Path, count: int) -> None:
    """Rows first, indexes afterwards; nothing is flushed, for it can be made again."""
    database = Database(f"sqlite:///{file}", file.parent)
    upgrade(database)
    database.dispose()
    with sqlite3.connect(file) as connection:
        for pragma in ("synchronous=off", "journal_mode=off", "cache_size=-400000"):
            connection.execute(f"PRAGMA {pragma}")
        indexes = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
            " AND tbl_name IN ('study', 'series')"
        ).fetchall()
        for name, _ in indexes:
            connection.execute(f'DROP INDEX "{name}"')
        connection.executemany(
            f"INSERT INTO study ({STUDY}) VALUES ({', '.join('?' * 17)})", study_rows(count)
        )
        connection.executemany(
            f"INSERT INTO series ({SERIES}, new_instances) VALUES ({', '.join('?' * 8)})",
            series_rows(count),
        )
        for _, statement in indexes:
            connection.execute(statement)


def questions() -> Iterator[tuple[str, Level, int, dict[str, Condition]]]:
    name = names()[500]
    spring = Between(first="20100101", last="20100131")
    yield "the latest", Level.STUDY, 0, {}
    yield "the latest, offset 10,000", Level.STUDY, 10_000, {}
    yield "PatientID", Level.STUDY, 0, {"PatientID": OneOf(values=("P77777",))}
    yield "AccessionNumber=A7777*", Level.STUDY, 0, {"AccessionNumber": Like(pattern="A7777*")}
    yield "PatientName=abcdef*", Level.STUDY, 0, {"PatientName": Like(pattern=f"{name}*")}
    yield "PatientName=a*", Level.STUDY, 0, {"PatientName": Like(pattern="a*")}
    yield "StudyDate, a month", Level.STUDY, 0, {"StudyDate": spring}
    yield (
        "StudyDate, a month, and ModalitiesInStudy=CT",
        Level.STUDY,
        0,
        {"StudyDate": spring, "ModalitiesInStudy": OneOf(values=("CT",))},
    )
    yield "ModalitiesInStudy=CT", Level.STUDY, 0, {"ModalitiesInStudy": OneOf(values=("CT",))}
    yield (
        "ModalitiesInStudy, 50 studies have it",
        Level.STUDY,
        0,
        {"ModalitiesInStudy": OneOf(values=("OP",))},
    )
    yield (
        "ModalitiesInStudy, none has it",
        Level.STUDY,
        0,
        {"ModalitiesInStudy": OneOf(values=("XX",))},
    )
    yield "series of any study, Modality=CT", Level.SERIES, 0, {"Modality": OneOf(values=("CT",))}
    yield "series of a patient", Level.SERIES, 0, {"PatientID": OneOf(values=("P777",))}
    yield "PatientName=*bcde*", Level.STUDY, 0, {"PatientName": Like(pattern=f"*{name[1:5]}*")}
    yield "PatientName, ideographic", Level.STUDY, 0, {"PatientName": Like(pattern="山田*")}
    yield "StudyDescription, none fits", Level.STUDY, 0, {"StudyDescription": Like(pattern="z*")}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=1_000_000)
    count: int = parser.parse_args().studies
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "index.sqlite"
        fill(file, count)
        print(f"{count} studies, {file.stat().st_size / 1e9:.2f} GB")
        database = Database(f"sqlite:///{file}", file.parent)
        for what, level, offset, conditions in questions():
            find = find_studies if level is Level.STUDY else find_series
            search = Search(level=level, conditions=conditions, limit=101, offset=offset)
            times = []
            for _ in range(3):
                start = time.perf_counter()
                found = find(database, search)
                times.append(time.perf_counter() - start)
            print(f"| {what} | {len(found)} | {min(times) * 1000:.0f} ms |", flush=True)
        database.dispose()


if __name__ == "__main__":
    main()
