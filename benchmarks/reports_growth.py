"""An archive of reports, imported in a child that is killed half-way and begun again.

Prints how many reports a second, the child's memory over the run, and checks that every report is
there exactly once. `python benchmarks/reports_growth.py --reports 1000000`.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
from sqlalchemy import text

from dicomnode.store.database import Database
from dicomnode.store.schema import upgrade
from dicomnode.testing.postgresql import RunningPostgresql

FINDINGS = ["effusion", "nodule", "consolidation", "pneumothorax", "atelectasis", "edema", "mass"]
PLACES = ["left lower lobe", "right upper lobe", "left base", "right hilum", "lingula", "apex"]
FORMS = [
    "Small {finding} in the {place}.",
    "No {finding} is seen.",
    "Possible {finding} in the {place}, measuring {size} mm.",
    "There is a {finding} of {size} mm in the {place}, unchanged.",
    "{finding} cannot be excluded in the {place}.",
    "The {place} is clear without {finding}.",
]


def write_archive(path: Path, reports: int) -> None:
    """Reports put together from parts; the same for the same number."""
    chance = random.Random(reports)
    with path.open("w", encoding="utf-8") as file:
        file.write("uid,findings,impression,patient_id,study_date\n")
        for number in range(reports):
            sentences = [
                chance.choice(FORMS).format(
                    finding=chance.choice(FINDINGS),
                    place=chance.choice(PLACES),
                    size=chance.randint(2, 90),
                )
                for _ in range(5)
            ]
            day = f"20{chance.randint(10, 25)}{chance.randint(1, 12):02}{chance.randint(1, 28):02}"
            words = " ".join(sentences[:4])
            file.write(f'{number},"{words}","{sentences[4]}",P{number % 50_000},{day}\n')


def count(database: Database, query: str) -> int:
    with database.reading() as connection:
        return int(connection.execute(text(query)).scalar() or 0)


def watch(
    command: list[str], database: Database, *, stop_at: int | None = None, seconds: float
) -> tuple[float, list[float]]:
    """Seconds and resident MB over time; killed once `stop_at` reports are mined, or it is late."""
    started, memory = time.monotonic(), []
    looked = started
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        child = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                memory.append(child.memory_info().rss / 1e6)
            except psutil.NoSuchProcess:
                break
            now = time.monotonic()
            late = now - started > seconds
            if not late and stop_at is not None and now - looked > 10:
                looked = now
                late = count(database, READ) >= stop_at
            if late:
                process.send_signal(signal.SIGKILL)
            time.sleep(1)
    return time.monotonic() - started, memory


READ = "SELECT count(*) FROM report_reading"


def report(database: Database, options: argparse.Namespace, folder: Path) -> None:
    """Two runs of the real command, the first one killed; then what is there."""
    command = [sys.executable, "-m", "dicomnode", "reports", "import"]
    command += [str(folder / "reports.csv"), "-s", str(folder / "dicomnode.toml")]
    command += ["--workers", str(options.workers)]
    limit = options.minutes * 60
    first_s, first = watch(
        command, database, stop_at=options.reports // 2, seconds=min(limit, options.kill_after * 60)
    )
    before = count(database, READ)
    print(f"killed with {before} read after {first_s:.0f} s: {before / first_s:.0f}/s", flush=True)
    second_s, second = watch(command, database, seconds=limit - first_s)
    total = count(database, "SELECT count(*) FROM report")
    ids = count(database, "SELECT count(DISTINCT source_id) FROM report")
    last = count(database, "SELECT max(CAST(substr(source_id, 13) AS integer)) FROM report")
    mined = count(database, READ)
    labels = count(database, "SELECT count(*) FROM report_label")
    summed = count(database, "SELECT sum(positive + negative + uncertain) FROM label_month")
    assert total == ids == last + 1, (total, ids, last)
    assert labels == summed, (labels, summed)
    assert total == options.reports == mined or second_s > limit - first_s - 5, (total, mined)
    print(f"{total} of {options.reports} reports there, each once; {mined} read, {labels} labels")
    print(f"second start: {second_s:.0f} s, {(mined - before) / second_s:.0f} new ones/s")
    if database.is_sqlite:
        size = sum(path.stat().st_size for path in folder.rglob("index.sqlite*"))
    else:
        size = count(database, "SELECT pg_database_size(current_database())")
    print(f"index {size / 1e6:.0f} MB ({size / total:.0f} bytes a report)")
    quarter = max(1, len(second) // 4)
    quarters = [max(second[n * quarter :][:quarter]) for n in range(4)]
    print(f"memory (MB at most): first start {max(first):.0f}, ", end="")
    print("quarters of the second " + ", ".join(f"{one:.0f}" for one in quarters))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--windows-only", action="store_true")
    parser.add_argument("--postgresql", action="store_true", help="a server of its own")
    parser.add_argument("--minutes", type=float, default=600, help="of both runs together")
    parser.add_argument("--kill-after", type=float, default=600, help="minutes of the first")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        data = folder / "dicomnode-data"
        data.mkdir()
        url = f"sqlite:///{data / 'index.sqlite'}"
        if options.postgresql:
            url = stack.enter_context(RunningPostgresql()).new_database()
        graph = "false" if options.windows_only else "true"
        settings = f'database_url = "{url}"\n[reports]\ngraph = {graph}\n'
        (folder / "dicomnode.toml").write_text(settings)
        write_archive(folder / "reports.csv", options.reports)
        database = Database(url, data)
        upgrade(database)
        report(database, options, folder)
        database.dispose()


if __name__ == "__main__":
    main()
