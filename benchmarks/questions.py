"""How long each saved question takes on a large index: first after a start, then again and again.

`python benchmarks/questions.py --sqlite /tmp/index.sqlite --postgresql URL --plans docs/plans`
asks indexes that `grown_index.py` has filled. A question is asked as `dicomnode sql` asks it: a
connection of its own each time, a thousand rows at most. Cold: the pages of its files are not in
memory. Processor: time of this process alone, which other work on the machine hardly changes; with
SQLite that is the whole question. Prints a table in Markdown.
"""

import argparse
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

import psycopg
from psycopg import sql as psql

from dicomnode.domain.questions import Bounds, Cell, Question, QuestionTooLong
from dicomnode.store.asking import SECRETS, asked
from dicomnode.store.database import Database
from dicomnode.store.questions import load_questions

BOUNDS = Bounds(seconds=10.0, rows=1000)
TYPICAL: dict[str, list[dict[str, str]]] = {
    "cohort": [
        {},
        {"label": "pneumothorax", "sex": "F", "youngest": "60", "modality": "CT"},
        {"label": "nodule", "since": "2015-01-01", "until": "2015-12-31"},
    ],
    "disagreements": [{}, {"verdict": "report-only"}],
    "findings": [{}, {"name": "heart"}, {"algorithm": "cxr_14", "least_score": "0.5"}],
    "key_images": [{}, {"label": "pneumothorax"}],
    "largest_changes": [{}, {"measure": "Cardiothoracic ratio"}],
    "measure_over_time": [{"patient": "P325804"}],
    "mentioned_but_not_by_model": [{}, {"label": "cardiomegaly"}],
    "occurring_with": [{}, {"label": "hernia"}],
    "patient_lesions": [{"patient": "P325804"}],
    "positives": [{}, {"label": "pneumothorax"}],
    "prevalence_by_month": [{}, {"label": "hernia"}],
    "prevalence_by_scanner": [{}, {"label": "hernia"}],
    "prevalence_by_unit": [{}, {"label": "hernia"}],
    "recist_sums": [{"patient": "P325804"}],
    "search_reports": [
        {"words": "effusion"},
        {"words": '"liver lesion" unchanged'},
        {"words": "vascular hernia pneumothorax ascites"},
    ],
    "volume_over_time": [{"patient": "P325804"}],
}


LEFT_OUT = (
    *("Planning", "Buckets", "Worker", "Heap Fetches", "Rows Removed", "I/O", "Sort Method"),
    *("Cache", "Hits", "Batches", "Full-sort", "Pre-sorted", "Filter"),
)
"""Lines of PostgreSQL's plans that do not tell which index is used, or how much is read."""


def forget(folder: Path) -> None:
    """Have the kernel drop what it holds of the files of a folder."""
    os.sync()
    for path in [p for p in folder.rglob("*") if p.is_file()] if folder.is_dir() else [folder]:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def ask(
    database: Database, question: Question, values: dict[str, Cell], url: str
) -> tuple[float, float, int]:
    """Milliseconds from the question to its last row, those on the processor; rows; -1: stopped."""
    query = question.sqlite if database.is_sqlite else question.postgresql
    started, used = time.perf_counter(), time.process_time()
    try:
        with asked(database, query, values, bounds=BOUNDS, reader_url=url) as answer:
            rows = sum(1 for _ in answer.rows)
    except QuestionTooLong:
        rows = -1
    processor = 1000 * (time.process_time() - used)
    return 1000 * (time.perf_counter() - started), processor, rows


def plan(database: Database, question: Question, values: dict[str, Cell], url: str) -> str:
    """What the database means to do, or has done."""
    if database.is_sqlite:
        with sqlite3.connect(f"file:{database.url.database}?mode=ro", uri=True) as connection:
            rows = connection.execute(f"EXPLAIN QUERY PLAN {question.sqlite}", values).fetchall()
        depth = {0: 0}
        lines = []
        for number, parent, _, words in rows:
            depth[number] = depth.get(parent, 0) + 1
            lines.append("  " * (depth[number] - 1) + words)
        return "\n".join(lines)
    query = question.postgresql.replace("%", "%%")
    for name in values:
        query = re.sub(rf"(?<![:\w]):{name}\b", f"%({name})s", query)
    with psycopg.connect(url.replace("+psycopg", "")) as connection, connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 60000")
        cursor.execute("SET LOCAL work_mem = '32MB'")
        cursor.execute("SET LOCAL jit = off")
        cursor.execute("SET LOCAL cursor_tuple_fraction = 0.02")
        try:
            # As a cursor's, of which the first thousand rows are fetched.
            text = f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, SUMMARY OFF) {query} LIMIT 1000"
            cursor.execute(text.encode(), values)
        except psycopg.errors.QueryCanceled:
            return "(stopped after 60 s)"
        lines = [line for (line,) in cursor.fetchall()]
        lines = [line for line in lines if not line.lstrip().startswith(LEFT_OUT)]
        buffers = [line for line in lines if line.lstrip().startswith("Buffers")]
        # Those of the whole, which come first.
        kept = [line for line in lines if line not in buffers or line is buffers[0]]
        return "\n".join(kept)


def cases(only: list[str]) -> Iterator[tuple[Question, dict[str, str]]]:
    for name, question in load_questions().items():
        if not only or name in only:
            for given in TYPICAL.get(name, [{}]):
                yield question, given


def measure(
    database: Database, options: argparse.Namespace, url: str, folder: Path
) -> dict[tuple[str, str], tuple[float, ...]]:
    """(question, parameters) -> cold, p50, p95, processor in milliseconds."""
    found = {}
    kind = "sqlite" if database.is_sqlite else "postgresql"
    plans = []
    for question, given in cases(options.only):
        values = question.values(given)
        words = ", ".join(f"{name}={value}" for name, value in given.items())
        if options.cold:
            forget(folder)
        cold, processor, rows = ask(database, question, values, url)
        times = [cold] if cold >= 3000 else []
        used = [processor] if cold >= 3000 else []
        for _ in range(options.repeats if cold < 3000 else 0):
            took, processor, rows = ask(database, question, values, url)
            times.append(took)
            used.append(processor)
        p95 = quantiles(times, n=20)[-1] if len(times) > 4 else max(times)
        found[question.name, words] = (cold, median(times), p95, median(used))
        flag = "  <--" if p95 > 300 else ""
        print(
            f"{kind} {question.name} ({words}): cold {cold:.0f}, p50 {median(times):.0f}, "
            f"p95 {p95:.0f}, processor {median(used):.0f} ms, {rows} rows{flag}",
            flush=True,
        )
        if options.plans:
            plans.append(f"## {question.name} {words}\n{plan(database, question, values, url)}\n")
    if options.plans:
        options.plans.mkdir(parents=True, exist_ok=True)
        (options.plans / f"{kind}.txt").write_text("\n".join(plans))
    return found


def reader(database: Database) -> str:
    """A login that may only read."""
    with psycopg.connect(
        database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    ) as connection:
        if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'asker'").fetchone() is None:
            connection.execute("CREATE ROLE asker LOGIN")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO asker")
        closed = psql.SQL(", ").join(map(psql.Identifier, sorted(SECRETS)))
        connection.execute(psql.SQL("REVOKE SELECT ON {} FROM asker").format(closed))
    return database.url.set(username="asker").render_as_string(hide_password=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sqlite", type=Path, help="file of an index")
    parser.add_argument("--postgresql", help="SQLAlchemy URL of an index")
    parser.add_argument("--postgresql-data", type=Path, help="its folder, for cold runs")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--plans", type=Path, help="folder for the plans")
    options = parser.parse_args()
    found = {}
    if options.sqlite:
        database = Database(f"sqlite:///{options.sqlite}", options.sqlite.parent)
        found["SQLite"] = measure(database, options, "", options.sqlite)
    if options.postgresql:
        database = Database(options.postgresql, Path())
        folder = options.postgresql_data or Path()
        found["PostgreSQL"] = measure(database, options, reader(database), folder)
    heads = " | ".join(f"{kind}: cold | p50 | p95 | processor" for kind in found)
    print(f"| question | {heads} |\n| --- |" + " --- |" * 4 * len(found))
    for key in next(iter(found.values())):
        name = f"{key[0]} ({key[1]})" if key[1] else key[0]
        cells = " | ".join(f"{one:.0f}" for each in found.values() for one in each[key])
        print(f"| {name} | {cells} |")


if __name__ == "__main__":
    main()
