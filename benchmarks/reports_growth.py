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
from pathlib import Path

import psutil
from sqlalchemy import text

from dicomnode.store.database import Database
from dicomnode.store.schema import upgrade

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


def watch(command: list[str], database: Database, stop_at: int | None) -> tuple[float, list[float]]:
    """Seconds and resident MB over time; killed once `stop_at` reports are mined."""
    started, memory = time.monotonic(), []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        child = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                memory.append(child.memory_info().rss / 1e6)
            except psutil.NoSuchProcess:
                break
            mined = "SELECT count(*) FROM report_reading"
            if stop_at is not None and count(database, mined) >= stop_at:
                process.send_signal(signal.SIGKILL)
            time.sleep(1)
    return time.monotonic() - started, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--windows-only", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        graph = "false" if options.windows_only else "true"
        (folder / "dicomnode.toml").write_text(f"[reports]\ngraph = {graph}\n")
        data = folder / "dicomnode-data"
        data.mkdir()
        write_archive(folder / "reports.csv", options.reports)
        database = Database(f"sqlite:///{data / 'index.sqlite'}", data)
        upgrade(database)
        command = [sys.executable, "-m", "dicomnode", "reports", "import"]
        command += [str(folder / "reports.csv"), "-s", str(folder / "dicomnode.toml")]
        command += ["--workers", str(options.workers)]
        first_s, first = watch(command, database, options.reports // 2)
        kept = count(database, "SELECT count(*) FROM report_reading")
        second_s, second = watch(command, database, None)
        total = count(database, "SELECT count(*) FROM report")
        ids = count(database, "SELECT count(DISTINCT source_id) FROM report")
        mined = count(database, "SELECT count(*) FROM report_reading")
        labels = count(database, "SELECT count(*) FROM report_label")
        size = sum(path.stat().st_size for path in data.glob("index.sqlite*"))
        assert total == ids == mined == options.reports, (total, ids, mined)
        quarter = len(second) // 4
        print(f"{options.reports} reports: killed at {kept} after {first_s:.0f} s,")
        print(f"done {second_s:.0f} s after the second start: {mined / (first_s + second_s):.0f}/s")
        print(f"labels {labels}, index {size / 1e6:.0f} MB ({size / mined:.0f} bytes a report)")
        early, late = max(second[: quarter or 1]), max(second[-(quarter or 1) :])
        print(f"memory: {early:.0f} MB in the first quarter, {late:.0f} MB in the last,")
        print(f"{max([*first, *second]):.0f} MB at most")
        database.dispose()


if __name__ == "__main__":
    main()
