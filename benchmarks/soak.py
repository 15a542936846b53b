"""A long night: many studies, mixed priorities, workers killed and frozen by chance.

A node without a worker and several workers on PostgreSQL; several studies are sent at once, each
over one association; every few jobs one worker is killed (SIGKILL, started again) or frozen
(SIGSTOP for longer than `take_over_s`, then SIGCONT). At the end everything is accounted for: each
data set by its SHA-256 as sent, in the index and on disk, each job once, each result once in the
index and at the PACS. The memory of node, receiver and workers is sampled.

The algorithm is a stand-in (one 1x1x1 convolution): the run is about queues, not about models.
`--sqlite` puts the index on SQLite, which node and workers then share as a file.

    python benchmarks/soak.py [--studies 200] [--instances 100] [--workers 2] [--json FILE]

Ends with 1 if anything is missing, changed, failed or there twice.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from sqlalchemy import text

from dicomnode.demo import free_port
from dicomnode.settings import load_settings
from dicomnode.store.database import Database
from dicomnode.store.schema import upgrade
from dicomnode.testing.bundles import BundleRecipe, write_bundle
from dicomnode.testing.modality import send_study
from dicomnode.testing.pacs import EmbeddedPacs
from dicomnode.testing.postgresql import RunningPostgresql
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series

AE = "DICOMNODE"
# Longer than `take_over_s` below.
FROZEN_S = 40
# SEG and SR.
RESULTS_PER_STUDY = 2
SENDERS = {"ER_CT": "stat", "WARD_CT": "routine", "STUDY_CT": "low"}
RULE = """\
[[rule]]
name = "{sender}"
algorithm = "test_air"
priority = "{priority}"
[rule.study]
calling_ae = "{sender}"
[rule.series.image]
Modality = "CT"
"""
SETTINGS = """\
ae_title = "DICOMNODE"
data_dir = "data"
rules = "rules.toml"
log_level = "warning"
[receive]
port = {port}
reserve_mb = 10
[assembly]
quiet_s = 3.0
released_s = 0.5
[flow]
devices = ["cpu"]
take_over_s = 20.0
[algorithms]
roots = ["bundles"]
[web]
enabled = false
[[destinations]]
name = "archive"
ae_title = "{pacs_ae}"
host = "127.0.0.1"
port = {pacs_port}
confirm = "read-back"
"""


class Site:
    """Node and workers on one database."""

    def __init__(self, folder: Path, url: str | None, pacs: EmbeddedPacs, workers: int) -> None:
        self.port = free_port()
        self._folder = folder
        self._environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._environment.pop("DICOMNODE_DATABASE_URL", None)
        if url is not None:
            self._environment["DICOMNODE_DATABASE_URL"] = url
        write_bundle(folder / "bundles", BundleRecipe(time_limit_s=600.0))
        rules = "".join(RULE.format(sender=one, priority=how) for one, how in SENDERS.items())
        (folder / "rules.toml").write_text(rules)
        self._settings_path = folder / "dicomnode.toml"
        filled = SETTINGS.format(port=self.port, pacs_ae=pacs.ae_title, pacs_port=pacs.port)
        self._settings_path.write_text(filled)
        settings = load_settings(self._settings_path, self._environment)
        self.database = Database(settings.index_url, settings.data_dir)
        upgrade(self.database)
        self.node = self._start("serve", "--no-worker")
        self.workers = [self._start("work", "--name", f"w{number}") for number in range(workers)]
        self.killed = self.frozen = 0
        self.memory: dict[str, list[float]] = {"node": [], "receiver": [], "worker": []}
        self.load: list[float] = []

    def _start(self, *command: str) -> "subprocess.Popen[bytes]":
        with (self._folder / "node.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dicomnode", *command, "-s", str(self._settings_path)],
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )

    def wait_for_port(self) -> None:
        """Until the receiver listens."""
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.5)
        raise SystemExit(f"the node did not start: {self._folder / 'node.log'}")

    def disturb(self, chance: random.Random, every: int, stop: threading.Event) -> None:
        """Kill or freeze one worker after another, each time some more jobs are done."""
        due = every
        while not stop.wait(1):
            done = self.scalar("SELECT count(*) FROM event WHERE name = 'job.succeeded'")
            if done < due:
                continue
            due = done + chance.randint(1, 2 * every)
            number = chance.randrange(len(self.workers))
            worker = self.workers[number]
            if chance.random() < 0.5:
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()
                self.killed += 1
                self.workers[number] = self._start("work", "--name", f"w{number}")
            else:
                os.killpg(worker.pid, signal.SIGSTOP)
                self.frozen += 1
                stop.wait(FROZEN_S)
                os.killpg(worker.pid, signal.SIGCONT)

    def sample(self, stop: threading.Event) -> None:
        """Note resident memory (largest receiver; largest worker with its model) and load."""
        while not stop.wait(2):
            self.load.append(os.getloadavg()[0])
            # A process may end between being found and being asked.
            with suppress(psutil.Error, ValueError):
                node = psutil.Process(self.node.pid)
                self.memory["node"].append(_resident(node))
                self.memory["receiver"].append(max(map(_resident, node.children())))
                self.memory["worker"].append(max(_family(one.pid) for one in self.workers))

    def end(self) -> None:
        """Stop everything."""
        for process in (*self.workers, self.node):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)
                process.terminate()
        for process in (*self.workers, self.node):
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)

    def scalar(self, query: str) -> int:
        """One number of the index."""
        with self.database.reading() as connection:
            return int(connection.scalar(text(query)) or 0)


def _resident(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20


def _family(pid: int) -> float:
    process = psutil.Process(pid)
    return sum(map(_resident, (process, *process.children(recursive=True))))


def main() -> None:
    options = _options()
    console = Console()
    # Ends what it started, however it is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))
    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        url = None
        if not options.sqlite:
            url = undo.enter_context(RunningPostgresql(bears_kill=True)).new_database()
        pacs = undo.enter_context(EmbeddedPacs(folder / "pacs"))
        site = Site(folder, url, pacs, options.workers)
        undo.callback(site.end)
        site.wait_for_port()
        measured = _soak(site, pacs, folder, options, console)
    console.print_json(json.dumps(measured))
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1), encoding="utf-8")
    if measured["faults"]:
        raise SystemExit("not everything is accounted for")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--instances", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--senders", type=int, default=4, help="studies sent at once")
    parser.add_argument("--sqlite", action="store_true")
    parser.add_argument("--disturb-every", type=int, default=5, help="jobs, on average")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest-s", type=float, default=7200.0)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _soak(
    site: Site, pacs: EmbeddedPacs, folder: Path, options: argparse.Namespace, console: Console
) -> dict[str, Any]:
    stop = threading.Event()
    # Not for secrets: the same night again by the same number.
    chance = random.Random(options.seed)
    beside = [
        threading.Thread(target=site.disturb, args=(chance, options.disturb_every, stop)),
        threading.Thread(target=site.sample, args=(stop,)),
    ]
    for thread in beside:
        thread.start()
    began = time.monotonic()
    try:
        with ThreadPoolExecutor(options.senders) as pool:
            numbers = range(options.studies)
            sent = list(pool.map(lambda n: _send(site, folder, options.instances, n), numbers))
        received_s = time.monotonic() - began
        digests = {uid: digest for study in sent for uid, digest in study.items()}
        _wait(site, options, console)
    finally:
        stop.set()
        for thread in beside:
            thread.join()
    total_s = time.monotonic() - began
    return {
        "studies": options.studies,
        "instances": len(digests),
        "database": "sqlite" if options.sqlite else "postgresql",
        "workers": options.workers,
        "received_s": round(received_s, 1),
        "total_s": round(total_s, 1),
        "killed": site.killed,
        "frozen": site.frozen,
        "taken_over": site.scalar("SELECT count(*) FROM event WHERE name = 'job.taken-over'"),
        "load": [round(min(site.load), 1), round(max(site.load), 1)],
        # The highest of each quarter of the run.
        "memory_mb": {name: _quarters(seen) for name, seen in site.memory.items()},
        "faults": _account(site, pacs, digests, options.studies),
    }


def _quarters(seen: list[float]) -> list[int]:
    size = max(1, len(seen) // 4)
    parts = (seen[start : start + size] for start in range(0, 4 * size, size))
    return [round(max(part)) for part in parts if part]


def _send(site: Site, folder: Path, instances: int, number: int) -> dict[str, str]:
    """Send one study, again what was not taken; SOP Instance UID -> SHA-256 of the data set."""
    identity = StudyIdentity(seed=f"soak {number}", patient_id=f"SOAK-{number}")
    study = folder / "sent" / str(number)
    study.mkdir(parents=True)
    digests = {}
    paths = []
    geometry = SeriesGeometry(rows=32, columns=32, slices=instances)
    for index, ds in enumerate(ct_series(identity, geometry)):
        paths.append(study / f"{index}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
        digests[str(ds.SOPInstanceUID)] = _digest(paths[-1])
    sender = list(SENDERS)[number % len(SENDERS)]
    left = paths
    while left:
        answers = send_study(
            left, host="127.0.0.1", port=site.port, called_ae=AE, calling_ae=sender
        )
        pairs = zip(left, answers, strict=True)
        left = [path for path, answer in pairs if answer.status != 0]
    for path in paths:
        path.unlink()
    return digests


def _digest(path: Path) -> str:
    """Of the encoded data set: what follows the File Meta Information (PS3.10, 7.1)."""
    content = path.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")
    return hashlib.sha256(content[start:]).hexdigest()


def _wait(site: Site, options: argparse.Namespace, console: Console) -> None:
    """Until every study is delivered and proven."""
    deadline = time.monotonic() + options.longest_s
    wanted = RESULTS_PER_STUDY * options.studies
    done = -1
    while done < wanted:
        if time.monotonic() > deadline:
            console.print("not all was delivered in time", style="red")
            return
        time.sleep(2)
        now_done = site.scalar("SELECT count(*) FROM delivery WHERE state = 'confirmed'")
        if now_done // 20 != done // 20:
            console.print(f"{now_done} of {wanted} results are confirmed", style="dim")
        done = now_done


def _account(
    site: Site, pacs: EmbeddedPacs, digests: dict[str, str], studies: int
) -> dict[str, Any]:
    """What is missing or there twice; empty: everything is accounted for."""
    with site.database.reading() as connection:
        rows = connection.execute(text("SELECT sop_instance_uid, path, sha256 FROM instance")).all()
        jobs = Counter(connection.execute(text("SELECT study_uid FROM job")).scalars())
        states = Counter(connection.execute(text("SELECT state FROM job")).scalars())
        succeeded = Counter(
            connection.execute(
                text("SELECT job_id FROM event WHERE name = 'job.succeeded'")
            ).scalars()
        )
        results = set(connection.execute(text("SELECT sop_instance_uid FROM result")).scalars())
    kept = {uid: _digest(site.database.absolute(path)) for uid, path, _ in rows}
    indexed = {uid: digest for uid, _, digest in rows}
    stored = {instance.sop_instance_uid for instance in pacs.stored}
    sent = Counter(answer.sop_instance_uid for answer in pacs.answers)
    faults = {
        "instances_missing": len(digests.keys() - kept.keys()),
        "instances_too_many": len(kept.keys() - digests.keys()),
        "instances_changed": sum(kept.get(uid, one) != one for uid, one in digests.items()),
        "digests_of_the_index_wrong": sum(kept[uid] != one for uid, one in indexed.items()),
        "studies_without_a_job": studies - len(jobs),
        "studies_with_two_jobs": sum(count > 1 for count in jobs.values()),
        "jobs_not_succeeded": sum(states.values()) - states["succeeded"],
        "jobs_recorded_twice": sum(count > 1 for count in succeeded.values()),
        "results_missing": max(0, RESULTS_PER_STUDY * studies - len(results)),
        "results_not_at_the_pacs": len(results - stored),
        "results_at_the_pacs_too_many": len(stored - results),
        "results_sent_twice": sum(count > 1 for count in sent.values()),
    }
    return {name: count for name, count in faults.items() if count}


if __name__ == "__main__":
    main()
