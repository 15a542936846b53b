"""Bringing an archive in may be stopped at any moment; begun again, nothing is there twice."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from sqlalchemy import text

from dicomnode.store.database import Database
from dicomnode.store.schema import upgrade

ROWS = 6000


def archive(folder: Path, rows: int = ROWS) -> Path:
    source = folder / "reports.csv"
    with source.open("w") as file:
        file.write("uid,findings,impression\n")
        for number in range(rows):
            file.write(f"{number},Nodule of {number} mm in the left lung.,No effusion.\n")
    return source


def importing(folder: Path, source: Path) -> list[str]:
    (folder / "dicomnode.toml").write_text("[reports]\ngraph = false\n")
    settings = str(folder / "dicomnode.toml")
    return [sys.executable, "-m", "dicomnode", "reports", "import", str(source), "-s", settings]


def count(database: Database, query: str) -> int:
    with database.reading() as connection:
        return int(connection.execute(text(query)).scalar() or 0)


def test_an_import_that_is_killed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    source = archive(tmp_path)
    data = tmp_path / "dicomnode-data"
    data.mkdir()
    database = Database(f"sqlite:///{data / 'index.sqlite'}", data)
    upgrade(database)
    with subprocess.Popen(
        importing(tmp_path, source), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        while count(database, "SELECT count(*) FROM report_reading") == 0:
            assert process.poll() is None
            os.sched_yield()
        process.send_signal(signal.SIGKILL)
    kept = count(database, "SELECT count(*) FROM report")
    assert 0 < kept < ROWS

    done = subprocess.run(
        importing(tmp_path, source), capture_output=True, text=True, check=True, timeout=60
    )
    assert f"{ROWS} rows: {ROWS - kept} new" in done.stdout
    assert count(database, "SELECT count(*) FROM report") == ROWS
    assert count(database, "SELECT count(DISTINCT source_id) FROM report") == ROWS
    assert count(database, "SELECT count(*) FROM report WHERE version_id IS NULL") == 0
    positive = "SELECT count(*) FROM report_label WHERE name = 'nodule' AND value = 1"
    assert count(database, positive) == ROWS
    database.dispose()


def test_workers_read_the_same_as_one_process(tmp_path: Path) -> None:
    source = archive(tmp_path, 2500)
    for workers in ("1", "2"):
        folder = tmp_path / workers
        folder.mkdir()
        subprocess.run(
            [*importing(folder, source), "--workers", workers],
            capture_output=True,
            check=True,
            timeout=60,
        )
    columns = "report_id, name, value, said, mention"
    query = text(f"SELECT {columns} FROM report_label ORDER BY report_id, name")
    read = []
    for workers in ("1", "2"):
        data = tmp_path / workers / "dicomnode-data"
        database = Database(f"sqlite:///{data / 'index.sqlite'}", data)
        with database.reading() as connection:
            read.append(connection.execute(query).all())
        database.dispose()
    assert read[0] == read[1]
    assert len(read[0]) == 2 * 2500
