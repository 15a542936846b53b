"""One of several processes that share the queues on PostgreSQL; run by test_sharing.

    python -m tests.integration.sharing_process NAME FOLDER URL PACS_PORT

Its models are real steps of a real flow, but do nothing: each leaves a line `job name` in
FOLDER/runs, waits as long as there is a file FOLDER/hold, and leaves a SEG and an SR.
"""

import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from dicomnode.app import steering_loops, wait_for_signal
from dicomnode.domain.identifiers import JobId
from dicomnode.engine import Engine
from dicomnode.flow import Flow
from dicomnode.loops import Loop, Loops
from dicomnode.pipeline.child import Loading
from dicomnode.rules.loading import load_rules
from dicomnode.rules.watching import WatchedRules
from dicomnode.settings import Settings
from dicomnode.steering import Steering
from dicomnode.steps.inference import RunTask, write_outcome
from dicomnode.steps.node import Node
from dicomnode.store.database import Database
from dicomnode.store.jobs import load_job
from tests.contract.store_scenes import outcome_of
from tests.unit.steps_node import RULES, description
from tests.unit.test_steps_delivery import written

R = TypeVar("R")

ALGORITHMS = [f"model-{number:02}" for number in range(12)]
DEVICES = ("cpu-0", "cpu-1")


class Children:
    """Stand-ins for models, in threads."""

    def __init__(self, name: str, folder: Path, database: Database) -> None:
        self._name = name
        self._folder = folder
        self._database = database
        self._running: set[Future[object]] = set()

    def submit(
        self,
        function: Callable[..., R],
        args: Sequence[object],
        *,
        timeout_s: float,
        device: str = "",
        first: Loading | None = None,
    ) -> "Future[R]":
        """Begin a run."""
        task = args[1]
        assert isinstance(task, RunTask)
        done: Future[R] = Future()
        self._running.add(done)  # type: ignore[arg-type]
        threading.Thread(target=self._run, args=(task, done), daemon=True).start()
        return done

    def _run(self, task: RunTask, done: "Future[R]") -> None:
        job = task.derivation.job_key
        with (self._folder / "runs").open("a", encoding="utf-8") as runs:
            runs.write(f"{job} {self._name}\n")
        while (self._folder / "hold").exists():
            threading.Event().wait(0.02)
        made = outcome_of(self._database, load_job(self._database, JobId(job)))
        objects = tuple(written(one) for one in made.objects)
        write_outcome(replace(made, objects=objects), task.out)
        if not done.cancelled():
            done.set_result(None)  # type: ignore[arg-type]

    def cancel(self) -> None:
        """As when the node lost its work."""
        for one in self._running:
            one.cancel()


def opened(name: str, folder: Path, url: str, port: int) -> Node:
    """The node as every process sees it."""
    pacs = {
        "name": "pacs",
        "ae_title": "ARCHIVE",
        "host": "127.0.0.1",
        "port": port,
        "timeout_s": 60.0,
        "first_retry_s": 0.5,
        "longest_retry_s": 1.0,
        "confirm": "none",
    }
    settings = {
        "data_dir": folder,
        "database_url": url,
        "flow": {"take_over_s": 2.0, "retry_s": 0.2},
        "destinations": [pacs],
    }
    rules = folder / "rules.toml"
    rules.write_text(RULES, encoding="utf-8")
    return Node(
        settings=Settings.model_validate(settings),
        database=Database(url, folder),
        clock=lambda: datetime.now(UTC),
        rules=WatchedRules(rules, partial(load_rules, file=str(rules))),
        algorithms={known: description(known) for known in ALGORITHMS},
        broken={},
        worker=name,
    )


def share(name: str, folder: Path, url: str, port: int) -> None:
    """Take work until told to stop."""
    node = opened(name, folder, url, port)
    children = Children(name, folder, node.database)
    engine = Engine(url, executor=name)
    flow = Flow(node, engine, children)
    steering = Steering(node, engine, flow, DEVICES, executor=name, drop_work=children.cancel)
    reconcile = Loop(name="reconcile", action=flow.reconcile, every_s=0.5)
    loops = Loops((*steering_loops(steering), reconcile))
    steering.join()
    engine.launch()
    steering.start()
    loops.start()
    sys.stdout.write("started\n")
    sys.stdout.flush()
    wait_for_signal()
    loops.stop()
    engine.stop()
    steering.stop()


if __name__ == "__main__":
    share(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
