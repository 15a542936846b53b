"""The node's own flow on the real engine, in a process of its own; run by test_engine.

    python -m tests.integration.flow_process SCENARIO FOLDER

Prints what it saw as one JSON line.
"""

import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from dicomnode.engine import Engine
from dicomnode.flow import INFERENCE, Flow
from dicomnode.pipeline.child import Loading
from dicomnode.steps.node import Node
from dicomnode.store.unfinished import unfinished_jobs
from tests.contract.store_scenes import finished_job, queued_job
from tests.unit.steps_node import column, open_test_node, tick

R = TypeVar("R")

LIMIT_S = 180.0


class KillsItsNode:
    """Children that take the whole node down, as a broken driver can."""

    def submit(
        self,
        function: Callable[..., R],
        args: Sequence[object],
        *,
        timeout_s: float,
        device: str = "",
        first: Loading | None = None,
    ) -> Future[R]:
        """Never returns."""
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def opened(folder: Path) -> tuple[Node, Engine, Flow]:
    """The node of an earlier process, or a new one."""
    is_new = not (folder / "data").exists()
    node = open_test_node(folder, is_new=is_new)
    engine = Engine(node.settings.flow_url, "node")
    return node, engine, Flow(node, engine, KillsItsNode())


def killing(folder: Path) -> object:
    """A job that kills its node: each start runs it again, until the engine gives it up."""
    node, engine, flow = opened(folder)
    if not column(node.database, "job", "id"):
        queued_job(node.database)
    engine.launch()
    engine.register_queue(INFERENCE, poll_s=0.02, worker_concurrency=1)
    deadline = time.monotonic() + LIMIT_S
    while unfinished_jobs(node.database) and time.monotonic() < deadline:
        flow.reconcile()
        threading.Event().wait(0.05)
    engine.stop()
    return {name: column(node.database, "job", name) for name in ("state", "error", "reason")}


def overdue(folder: Path) -> object:
    """Deliveries nobody takes up, e.g. since their line is long, looked at again and again."""
    node, engine, flow = opened(folder)
    finished_job(node.database)
    engine.launch()
    counts = []
    for seconds in (100, 115, 130, 145):
        tick(node, seconds)
        flow.reconcile()
        with closing(sqlite3.connect(folder / "data" / "flow.sqlite")) as connection:
            counted = connection.execute("SELECT count(*) FROM workflow_status").fetchone()
            counts.append(counted[0])
    engine.stop()
    return counts


if __name__ == "__main__":
    scenario = {"killing": killing, "overdue": overdue}[sys.argv[1]]
    sys.stdout.write(json.dumps(scenario(Path(sys.argv[2]))) + "\n")
