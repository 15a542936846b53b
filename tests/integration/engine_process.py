"""The engine in a process of its own, of which there can be one each; run by test_engine.

    python -m tests.integration.engine_process SCENARIO FOLDER

Each scenario prints what it saw as one JSON line. What steps did stands in FOLDER/notes, one line
each, as they did it.
"""

import base64
import json
import os
import pickle
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dbos._dbos import _get_dbos_instance

from dicomnode.engine import (
    ACTIVE,
    QUIET_AFTER_S,
    DurableInstance,
    Engine,
    durable_class,
    step,
    workflow,
)

LIMIT_S = 180.0


@durable_class("Flow")
class Flow(DurableInstance):
    """Workflows whose steps leave a note."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.holding = threading.Event()
        self.release = threading.Event()
        super().__init__("node")

    @workflow
    def note(self, text: str) -> None:
        """One step."""
        self.write(text)

    @workflow
    def asked(self) -> None:
        """How often its queue is asked while it runs."""
        self.write(str(asked_every_s("quick")))

    @workflow
    def hold(self) -> None:
        """A step that lasts until it is let go."""
        self.wait()

    @workflow
    def three(self) -> None:
        """Three steps; the process dies in the second, once."""
        self.write("first")
        self.die_once()
        self.write("third")

    @step
    def write(self, text: str) -> None:
        """Add a note."""
        with (self.folder / "notes").open("a", encoding="utf-8") as notes:
            notes.write(f"{text}\n")

    @step
    def wait(self) -> None:
        """Until released."""
        self.holding.set()
        self.release.wait(LIMIT_S)

    @step
    def die_once(self) -> None:
        """The first time the power fails."""
        marker = self.folder / "died"
        with (self.folder / "notes").open("a", encoding="utf-8") as notes:
            notes.write("second\n")
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    @property
    def notes(self) -> list[str]:
        """What steps did, in order."""
        path = self.folder / "notes"
        return path.read_text(encoding="utf-8").split() if path.exists() else []


def asked_every_s(queue: str) -> float:
    """The interval at which this process would ask a queue next."""
    found = _get_dbos_instance()._sys_db.get_queue(queue)
    assert found is not None
    return found._polling_interval_sec


def until(holds: Callable[[], bool]) -> None:
    """Wait for the engine, which answers only if asked."""
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


@dataclass(frozen=True, kw_only=True)
class Running:
    """A launched engine and its flow."""

    engine: Engine
    flow: Flow
    database: Path

    def ended(self, *ids: str) -> None:
        """Wait until these workflows have ended well."""
        until(lambda: all(self.engine.state(one) == "SUCCESS" for one in ids))


def same_id_twice(running: Running) -> object:
    """One workflow id, enqueued while it waits and after it ended."""
    engine = running.engine
    engine.enqueue("quick", "Flow.note", "same", "once")
    engine.enqueue("quick", "Flow.note", "same", "once")
    running.ended("same")
    engine.enqueue("quick", "Flow.note", "same", "once")
    engine.enqueue("quick", "Flow.note", "after", "after")
    running.ended("after")
    return running.flow.notes


def most_urgent_first(running: Running) -> object:
    """Three priorities wait behind a workflow that holds the only slot."""
    engine = running.engine
    engine.enqueue("one", "Flow.hold", "hold", priority=30)
    running.flow.holding.wait(LIMIT_S)
    for name, priority in (("low", 40), ("routine", 30), ("stat", 10), ("high", 20)):
        engine.enqueue("one", "Flow.note", name, name, priority=priority)
    running.flow.release.set()
    running.ended("low", "routine", "stat", "high")
    return running.flow.notes


def partitions(running: Running) -> object:
    """One partition's only slot is held; another partition has work."""
    engine = running.engine
    engine.enqueue("parts", "Flow.hold", "hold", partition="dead")
    running.flow.holding.wait(LIMIT_S)
    engine.enqueue("parts", "Flow.note", "behind", "behind", partition="dead")
    engine.enqueue("parts", "Flow.note", "beside", "beside", partition="alive")
    running.ended("beside")
    while_held = running.flow.notes
    running.flow.release.set()
    running.ended("behind")
    return {"while_held": while_held, "in_the_end": running.flow.notes}


def delayed(running: Running) -> object:
    """A delayed start is passed by an immediate one."""
    engine = running.engine
    began = time.monotonic()
    engine.enqueue("quick", "Flow.note", "later", "later", delay_s=1.0)
    state = engine.state("later")
    engine.enqueue("quick", "Flow.note", "now", "now")
    running.ended("later")
    return {
        "notes": running.flow.notes,
        "seconds": time.monotonic() - began,
        "is_active_while_it_waits": state in ACTIVE,
    }


def forgotten(running: Running) -> object:
    """Ended workflows are forgotten, waiting ones are not."""
    engine = running.engine
    engine.enqueue("quick", "Flow.note", "old", "old")
    engine.enqueue("nobody listens", "Flow.note", "waiting", "waiting")
    running.ended("old")
    now = datetime.now(UTC)
    return {
        "too_young": engine.forget_finished(before=now - timedelta(hours=1)),
        "old_enough": engine.forget_finished(before=now + timedelta(hours=1)),
        "old": engine.state("old"),
        "waiting": engine.state("waiting"),
    }


class Payload:
    """Unpickled, it runs `touch`: what somebody who can write a row would want."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self._marker,)


def poisoned(running: Running) -> object:
    """Rows of somebody else's making: one that is listed, one that is dequeued."""
    engine, marker = running.engine, running.flow.folder / "executed"
    poison = base64.b64encode(pickle.dumps(Payload(marker))).decode()
    pickle.loads(base64.b64decode(poison))
    is_potent = marker.exists()
    marker.unlink()
    engine.enqueue("quick", "Flow.note", "listed", "listed")
    engine.enqueue("not yet", "Flow.note", "dequeued", "dequeued")
    running.ended("listed")
    with closing(sqlite3.connect(running.database)) as connection, connection:
        connection.execute("UPDATE workflow_status SET serialization = 'py_pickle'")
        connection.execute("UPDATE workflow_input SET inputs = ?", (poison,))
        connection.execute(
            "INSERT OR REPLACE INTO workflow_output (workflow_uuid, output) VALUES ('listed', ?)",
            (poison,),
        )
    listed = engine.state("listed")
    engine.register_queue("not yet", poll_s=0.02)
    until(lambda: engine.state("dequeued") != "ENQUEUED")
    engine.enqueue("quick", "Flow.note", "after", "after")
    running.ended("after")
    return {
        "is_potent": is_potent,
        "listed": listed,
        "executed": marker.exists(),
        "notes": running.flow.notes,
    }


def quiet(running: Running) -> object:
    """The interval at which a queue is asked: while there is work, and when there was none."""
    running.engine.register_queue("patient", poll_s=2.0)
    running.engine.enqueue("quick", "Flow.asked", "later", delay_s=QUIET_AFTER_S + 2)
    at_work = [asked_every_s("quick"), asked_every_s("patient")]
    until(lambda: asked_every_s("quick") != at_work[0])
    when_quiet = [asked_every_s("quick"), asked_every_s("patient")]
    running.ended("later")
    return {"at work": at_work, "when quiet": when_quiet, "in a workflow": running.flow.notes}


def crashed(running: Running) -> object:
    """Started once, killed in the second step; a restart finds it by itself."""
    if not (running.flow.folder / "died").exists():
        running.engine.enqueue("quick", "Flow.three", "three")
    running.ended("three")
    return running.flow.notes


SCENARIOS = {
    one.__name__: one
    for one in (
        same_id_twice,
        most_urgent_first,
        partitions,
        delayed,
        forgotten,
        poisoned,
        quiet,
        crashed,
    )
}


def run(scenario: str, folder: Path) -> object:
    """Run one scenario on an engine and a database of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    database = folder / "flow.sqlite"
    engine = Engine(f"sqlite:///{database}", "node")
    running = Running(engine=engine, flow=Flow(folder), database=database)
    engine.launch()
    engine.register_queue("quick", poll_s=0.02, worker_concurrency=4)
    engine.register_queue("one", poll_s=0.02, worker_concurrency=1)
    engine.register_queue("parts", poll_s=0.02, partition_concurrency=1)
    seen = SCENARIOS[scenario](running)
    engine.stop()
    return seen


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(sys.argv[1], Path(sys.argv[2]))) + "\n")
