"""Studies a minute with a model that costs nothing: one, two and four worker processes.

A node without a worker of its own, an embedded PACS, and so many `dicomnode work` processes. Small
CTs (8 slices of 32 x 32) are received while the queue of models is halted; then it is let go, and
the time is taken until the last of their jobs has succeeded, and until the last result was sent.
The algorithm is one 1x1x1 convolution, so that what is left is the flow: queue, child process,
reading, SEG and SR with their checks, index, sending. Every worker has run a job before.

    python benchmarks/workers.py [--studies 60] [--workers 1 2 4] [--json FILE]

On a machine that is busy otherwise: `nice -n -15 python benchmarks/workers.py`.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table
from soak import AE, Site
from sqlalchemy import text

from dicomnode.store.workers import pause_inference, resume_inference
from dicomnode.testing.modality import send_study
from dicomnode.testing.pacs import EmbeddedPacs
from dicomnode.testing.postgresql import RunningPostgresql
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series

GEOMETRY = SeriesGeometry(rows=32, columns=32, slices=8)
SENDER = "WARD_CT"
PATIENCE_S = 900.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--studies", type=int, default=60)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    console = Console()
    rows = []
    for database in options.databases:
        for workers in options.workers:
            rows.append({"database": database, **measure(database, workers, options.studies)})
            console.print(rows[-1], style="dim")
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console.print(table)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def measure(database: str, workers: int, studies: int) -> dict[str, object]:
    """One row: so many workers on one database."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if database == "sqlite":
            return run(folder, None, workers, studies)
        # It does not flush; what a commit to disk costs is not in these figures.
        with RunningPostgresql(bears_kill=True) as server:
            return run(folder, server.new_database(), workers, studies)


def run(folder: Path, url: str | None, workers: int, studies: int) -> dict[str, object]:
    with EmbeddedPacs(folder / "pacs") as pacs:
        site = Site(folder, url, pacs, workers)
        try:
            site.wait_for_port()
            warm_up(site, folder, workers)
            pause_inference(site.database, by="benchmark", reason="", now=datetime.now(UTC))
            done = count(site, "succeeded")
            for number in range(studies):
                send(site, folder, f"timed {number}")
            wait(lambda: count(site, "queued") == studies, "every job is queued")
            sent = deliveries(site)
            began, cpu = time.perf_counter(), processor_s(site)
            resume_inference(site.database, datetime.now(UTC))
            wait(lambda: count(site, "succeeded") == done + studies, "every job succeeded")
            ran = time.perf_counter() - began
            wait(lambda: deliveries(site) == sent + 2 * studies, "every result was sent")
            delivered = time.perf_counter() - began
            return {
                "workers": workers,
                "studies": studies,
                "ran_s": round(ran, 2),
                "a_minute": round(60 * studies / ran, 1),
                "delivered_s": round(delivered, 2),
                "delivered_a_minute": round(60 * studies / delivered, 1),
                "processor_s_a_study": round((processor_s(site) - cpu) / studies, 2),
                "child_s_median": round(statistics.median(child_seconds(site)), 2),
            }
        finally:
            site.end()


def warm_up(site: Site, folder: Path, workers: int) -> None:
    """Until each worker's child has loaded the model."""
    query = "SELECT count(DISTINCT worker) FROM job WHERE state = 'succeeded'"
    for number in range(40):
        if site.scalar(query) == workers:
            return
        for part in range(2 * workers):
            send(site, folder, f"warm {number} {part}")
        wait(lambda: count(site, "queued") + count(site, "running") == 0, "it is warm", least=1)
    raise SystemExit("not every worker takes jobs")


def send(site: Site, folder: Path, seed: str) -> None:
    study = folder / seed.replace(" ", "-")
    study.mkdir()
    paths = []
    for ds in ct_series(StudyIdentity(seed=seed), GEOMETRY):
        paths.append(study / f"{ds.InstanceNumber}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    send_study(paths, host="127.0.0.1", port=site.port, called_ae=AE, calling_ae=SENDER)


def count(site: Site, state: str) -> int:
    return site.scalar(f"SELECT count(*) FROM job WHERE state = '{state}'")


def deliveries(site: Site) -> int:
    return site.scalar("SELECT count(*) FROM delivery WHERE state <> 'waiting'")


def child_seconds(site: Site) -> list[float]:
    """What the child of each job took, all stages."""
    with site.database.reading() as connection:
        rows = connection.execute(text("SELECT seconds FROM job WHERE state = 'succeeded'"))
        read = [json.loads(row[0]) if isinstance(row[0], str) else row[0] for row in rows]
    return [sum(one.values()) for one in read]


def processor_s(site: Site) -> float:
    """Processor time of node and workers with all that they have started, so far."""
    total = 0.0
    for process in (site.node, *site.workers):
        parent = psutil.Process(process.pid)
        for one in (parent, *parent.children(recursive=True)):
            used = one.cpu_times()
            total += used.user + used.system
    return total


def wait(look: Callable[[], bool], what: str, least: int = 0) -> None:
    """Until `look` holds `least` + 1 times in a row."""
    deadline, held = time.monotonic() + PATIENCE_S, 0
    while held <= 3 * least:
        if time.monotonic() > deadline:
            raise SystemExit(f"not in {PATIENCE_S:.0f} s: {what}")
        time.sleep(0.02 if not least else 1.0)
        held = held + 1 if look() else 0


if __name__ == "__main__":
    main()
