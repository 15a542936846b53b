"""From closed to delivered: what the node adds to a model's own forward time.

Sends a synthetic CT several times to a running node (SQLite) whose results go to an embedded PACS,
and reports for each run the seconds from `study.closed` to the last `result.sent`, the seconds of
the model's run, and the difference. The first run pays for loading torch and the model and is
shown apart.

    python benchmarks/flow.py [--slices 300] [--size 512] [--runs 3] [--json FILE]
"""

import argparse
import json
import statistics
import tempfile
import time
from datetime import datetime
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from dicomnode.demo import SETTINGS, free_port, node_process
from dicomnode.settings import load_settings
from dicomnode.store.database import Database
from dicomnode.store.story import Story, story
from dicomnode.testing.modality import send_study
from dicomnode.testing.pacs import EmbeddedPacs
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, chest_phantom, ct_series

RULES = """\
[[rule]]
name = "lungs"
algorithm = "lung_ct"
[rule.series.image]
Modality = "CT"
"""


def main() -> None:
    options = _options()
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        measured = _measure(Path(name), options, console)
    table = Table("run", "closed to sent, s", "model run, s", "rest, s", "allowed, s")
    for number, one in enumerate(measured):
        label = "first (loads torch and model)" if number == 0 else str(number)
        table.add_row(label, *(f"{one[key]:.2f}" for key in ("total", "infer", "rest", "allowed")))
    console.print(table)
    warm = measured[1:] or measured
    rest = statistics.median(one["rest"] for one in warm)
    allowed = statistics.median(one["allowed"] for one in warm)
    console.print(f"median rest {rest:.2f} s, aim at most {allowed:.2f} s (15 % of forward + 5 s)")
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _measure(folder: Path, options: argparse.Namespace, console: Console) -> list[dict[str, float]]:
    port = free_port()
    with EmbeddedPacs(folder / "pacs") as pacs:
        settings_path = folder / "dicomnode.toml"
        settings_path.write_text(
            SETTINGS.format(
                node_ae="DICOMNODE",
                port=port,
                pacs_ae=pacs.ae_title,
                pacs_port=pacs.port,
                with_pages="false",
                web_port=0,
            )
        )
        (folder / "rules.toml").write_text(RULES)
        settings = load_settings(settings_path, {})
        measured = []
        with node_process(settings_path, folder / "node.log", port, 120):
            database = Database(settings.index_url, settings.data_dir)
            for number in range(options.runs + 1):
                console.print(f"study {number}: {options.slices} slices", style="dim")
                measured.append(_one(database, port, folder, options, number))
    return measured


def _one(
    database: Database, port: int, folder: Path, options: argparse.Namespace, number: int
) -> dict[str, float]:
    identity = StudyIdentity(seed=f"benchmark {number}")
    spacing = 350.0 / options.size
    geometry = SeriesGeometry(
        rows=options.size,
        columns=options.size,
        slices=options.slices,
        spacing_mm=(1.0, spacing, spacing),
    )
    noise = np.random.default_rng(number).normal(0, 15, (geometry.rows, geometry.columns))
    values = chest_phantom(geometry) + noise.astype(np.int16)
    study = folder / f"study{number}"
    study.mkdir()
    paths = []
    for index, ds in enumerate(ct_series(identity, geometry, values)):
        paths.append(study / f"{index}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    send_study(paths, host="127.0.0.1", port=port, called_ae="DICOMNODE")
    told = _wait(database, identity.study_uid)
    moments = {event.name: event.at for event in told.events}
    infer = told.jobs[0].seconds["infer"]
    total = _seconds(moments["study.closed"], moments["result.sent"])
    return {
        "total": total,
        "infer": infer,
        "rest": total - infer,
        "allowed": 0.15 * infer + 5,
        **told.jobs[0].seconds,
    }


def _seconds(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()


def _wait(database: Database, study_uid: str) -> Story:
    deadline = time.monotonic() + 1200
    while time.monotonic() < deadline:
        time.sleep(0.5)
        told = story(database, study_uid)
        for job in told.jobs:
            if job.state in ("failed", "refused"):
                raise SystemExit(f"the job {job.state}: {job.error}: {job.reason}")
            if job.deliveries and all(one.state != "waiting" for one in job.deliveries):
                return told
    raise SystemExit("not delivered in time")


if __name__ == "__main__":
    main()
