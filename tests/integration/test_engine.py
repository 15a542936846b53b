"""What the flow rests on: the pinned engine does what the node expects, also after kill -9.

There can be one engine a process, so each scenario runs in one of its own.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from dbos import EnqueueOptions
from dbos._context import DBOSContext
from dbos._core import ActiveWorkflowById
from dbos._serialization import DBOSDefaultSerializer
from dbos._sys_db import SystemDatabase

from dicomnode.engine import MAX_RECOVERIES

ROOT = Path(__file__).parents[2]

# Not imported from there: that would put a second flow into this process's registry.
SCENARIOS = (
    "same_id_twice",
    "most_urgent_first",
    "partitions",
    "delayed",
    "quiet",
    "forgotten",
    "poisoned",
)


def begin(module: str, scenario: str, folder: Path) -> "subprocess.Popen[str]":
    """A process that runs one scenario."""
    command = [sys.executable, "-m", f"tests.integration.{module}", scenario, str(folder)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> Any:
    """What a scenario saw, or the signal that ended its process."""
    out, err = process.communicate(timeout=250)
    if process.returncode < 0:
        return signal.Signals(-process.returncode)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What every scenario that needs one process saw; they run at the same time."""
    folder = tmp_path_factory.mktemp("engines")
    running = {name: begin("engine_process", name, folder / name) for name in SCENARIOS}
    yield {name: ended(process) for name, process in running.items()}
    for process in running.values():
        process.kill()


def test_the_names_of_the_engine_that_are_not_its_public_interface_exist() -> None:
    """They are replaced or filled in by `dicomnode.engine`; a new version may rename them."""
    assert callable(DBOSDefaultSerializer.serialize)
    assert callable(DBOSDefaultSerializer.deserialize)
    assert get_type_hints(EnqueueOptions).keys() >= {
        *("queue_name", "workflow_name", "workflow_id", "app_version", "class_name"),
        *("instance_name", "priority", "delay_seconds", "queue_partition_key"),
    }
    for name in ("reenqueue_for_recovery", "get_workflow_owner", "get_queue"):
        assert callable(getattr(SystemDatabase, name))
    assert {"workflow_id", "owner_xid"} <= vars(DBOSContext()).keys()
    assert callable(ActiveWorkflowById().activeList)


def test_one_workflow_id_starts_nothing_twice(seen: dict[str, Any]) -> None:
    assert seen["same_id_twice"] == ["once", "after"]


def test_the_most_urgent_goes_first(seen: dict[str, Any]) -> None:
    assert seen["most_urgent_first"] == ["stat", "high", "routine", "low"]


def test_a_line_that_is_held_up_holds_up_no_other(seen: dict[str, Any]) -> None:
    assert seen["partitions"] == {"while_held": ["beside"], "in_the_end": ["beside", "behind"]}


def test_a_delayed_start_waits_and_counts_as_active(seen: dict[str, Any]) -> None:
    later = seen["delayed"]
    assert later["notes"] == ["now", "later"]
    assert later["seconds"] >= 1.0
    assert later["is_active_while_it_waits"]


def test_queues_are_asked_less_often_while_there_is_no_work(seen: dict[str, Any]) -> None:
    assert seen["quiet"] == {
        "at work": [0.02, 2.0],
        "when quiet": [0.25, 2.0],
        "in a workflow": ["0.02"],
    }


def test_only_what_ended_before_is_forgotten(seen: dict[str, Any]) -> None:
    assert seen["forgotten"] == {
        "too_young": 0,
        "old_enough": 1,
        "old": None,
        "waiting": "ENQUEUED",
    }


def test_a_row_with_pickled_code_executes_nothing_listed_or_dequeued(seen: dict[str, Any]) -> None:
    poisoned = seen["poisoned"]
    assert poisoned["is_potent"], "unpickled, the payload does leave its mark"
    assert not poisoned["executed"]
    # The row is passed over, and other work goes on.
    assert poisoned["notes"] == ["listed", "after"]


def test_a_killed_process_goes_on_behind_its_last_finished_step(tmp_path: Path) -> None:
    assert ended(begin("engine_process", "crashed", tmp_path)) is signal.SIGKILL
    assert ended(begin("engine_process", "crashed", tmp_path)) == [
        "first",
        "second",
        "second",
        "third",
    ]


def test_a_job_that_kills_its_node_is_given_up_and_failed_with_a_reason(tmp_path: Path) -> None:
    for _ in range(1 + MAX_RECOVERIES):
        assert ended(begin("flow_process", "killing", tmp_path)) is signal.SIGKILL
    left = ended(begin("flow_process", "killing", tmp_path))
    assert (left["state"], left["error"]) == (["failed"], ["StudyError"])
    assert "MAX_RECOVERY_ATTEMPTS_EXCEEDED" in left["reason"][0]


def test_overdue_deliveries_are_taken_up_once_however_long_their_line(tmp_path: Path) -> None:
    two_destinations = 2
    assert ended(begin("flow_process", "overdue", tmp_path)) == [two_destinations] * 4
