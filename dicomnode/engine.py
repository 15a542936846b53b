"""The durable engine: the only module that knows DBOS.

What DBOS lacks stands here: giving the work of a dead process to others (`give_away`), the same for
one step that finds itself disowned, a limit of concurrency for each process, and asking for work
less often while there is none (`_Pace`).

Workflows and their finished steps are checkpointed in SQLite or PostgreSQL; after a crash the next
start goes on behind the last finished step. Steps run at least once, so each must bear being
repeated. What DBOS stores is JSON only: unpickling is switched off (`_refuse_pickle`), because a
row somebody else can write must never become code.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Collection
from contextlib import closing
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

from dbos import (
    DBOS,
    DBOSConfig,
    DBOSConfiguredInstance,
    DBOSPortableJSONSerializer,
    EnqueueOptions,
)
from dbos import _serialization as dbos_serialization
from dbos._context import get_local_dbos_context
from dbos._dbos import _get_dbos_instance
from dbos._sys_db import SystemDatabase
from sqlalchemy import make_url

from dicomnode.domain.errors import TakenOver
from dicomnode.domain.lines import database_line
from dicomnode.logs import WithoutWords

__all__ = ["DurableInstance", "Engine", "durable_class", "step", "workflow"]

P = ParamSpec("P")
R = TypeVar("R")

DurableInstance = DBOSConfiguredInstance
durable_class = DBOS.dbos_class

APPLICATION = "dicomnode"
# Raised only for a change that running workflows cannot survive; then the queues are drained first.
VERSION = "1"
INSTANCE = "node"
# A workflow that took the process down this often is not started again.
MAX_RECOVERIES = 3
# At a stop; deliveries take less, a model that runs longer is run again.
GRACE_S = 3

LONGEST_PAUSE_S = 10.0
# Named only by workflows that came from no queue, of which there are none.
RECOVERED = "recovered"

QUIET_AFTER_S = 5.0
QUIET_POLL_S = 0.25

# Queue -> how many of its workflows run in this process at once.
_LIMITS: dict[str, int] = {}
_READ_QUEUE = SystemDatabase.get_queue

FAILED_BY_ERROR = "ERROR"
"""State of a workflow that an error ended, as a full disk under the index may."""
ACTIVE = frozenset({"PENDING", "ENQUEUED", "DELAYED"})


class _Pace:
    """How often this process asks the queues for work: seldom once there was none for a while.

    Each question is a transaction or two, and a node of three queues that asked twenty times a
    second spent a quarter of a core on it day and night. DBOS reads a queue's interval anew before
    each question, and comes back to a shorter one within two seconds.
    """

    def __init__(self) -> None:
        self._last_work = time.monotonic()

    def work_seen(self) -> None:
        """Something was queued here, or begun."""
        self._last_work = time.monotonic()

    def poll_s(self, declared_s: float) -> float:
        """The interval for a queue that is declared with another."""
        is_quiet = time.monotonic() - self._last_work > QUIET_AFTER_S
        return max(declared_s, QUIET_POLL_S) if is_quiet else declared_s


_PACE = _Pace()


def workflow(function: Callable[P, R]) -> Callable[P, R]:
    """A durable function: only calls steps and enqueues, and may be started again at any point."""

    @wraps(function)
    def begun(*args: P.args, **kwargs: P.kwargs) -> R:
        _PACE.work_seen()
        return function(*args, **kwargs)

    return DBOS.workflow(max_recovery_attempts=MAX_RECOVERIES)(begun)


def step(function: Callable[P, R]) -> Callable[P, R]:
    """A part with effects; runs at least once, its JSON result is remembered."""
    return DBOS.step()(function)


def _refuse_pickle(*_args: object, **_kwargs: object) -> NoReturn:
    raise ValueError("pickled data in the flow database is refused")


def _get_queue(database: Any, name: str, *args: Any, **options: Any) -> Any:
    """A queue as declared in the database, with the limits and the pace of this process."""
    queue = _READ_QUEUE(database, name, *args, **options)
    if queue is None:
        return None
    queue._polling_interval_sec = _PACE.poll_s(queue._polling_interval_sec)
    limit = _LIMITS.get(name)
    if limit is not None:
        declared = queue._worker_concurrency
        queue._worker_concurrency = limit if declared is None else min(limit, declared)
    return queue


def _guard() -> None:
    serializer = dbos_serialization.DBOSDefaultSerializer
    serializer.serialize = _refuse_pickle  # type: ignore[method-assign]
    serializer.deserialize = _refuse_pickle  # type: ignore[method-assign]
    SystemDatabase.get_queue = _get_queue  # type: ignore[method-assign, assignment]


def _prepare_sqlite(url: str) -> None:
    """WAL doubles the engine's throughput and survives a crash as well."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        path = Path(parsed.database)
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")


def _options(
    queue: str,
    name: str,
    workflow_id: str,
    *,
    priority: int | None,
    delay_s: float | None,
    partition: str | None,
) -> EnqueueOptions:
    options = EnqueueOptions(
        queue_name=queue,
        workflow_name=name,
        workflow_id=workflow_id,
        app_version=VERSION,
        class_name="Flow",
        instance_name=INSTANCE,
    )
    if priority is not None:
        options["priority"] = priority
    if delay_s is not None:
        options["delay_seconds"] = delay_s
    if partition is not None:
        options["queue_partition_key"] = partition
    return options


class Engine:
    """One per process. `executor` must be the same after a restart, and unique among processes."""

    def __init__(self, url: str, executor: str) -> None:
        self._executor = executor
        _guard()
        _prepare_sqlite(url)
        config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": url,
            "application_version": VERSION,
            "executor_id": executor,
            "serializer": DBOSPortableJSONSerializer(),
            "log_level": "ERROR",
            "console_log_level": "ERROR",
            "notification_listener_polling_interval_sec": 0.05,
            "sys_db_pool_size": 8,
            # A stopped process must not hold rows of the queues for ever.
            "sys_db_idle_transaction_timeout_sec": LONGEST_PAUSE_S,
        }
        if make_url(url).get_backend_name() == "postgresql":
            config["db_engine_kwargs"] = {"connect_args": database_line(make_url(url).query)}
        DBOS(config=config)
        # It prints tracebacks of its own, with whatever an error says.
        for handler in logging.getLogger("dbos").handlers:
            handler.setFormatter(WithoutWords())

    def listen_to(self, queues: list[str]) -> None:
        """Take work only from these queues. Call before `launch`."""
        DBOS.listen_queues(queues)

    def launch(self) -> None:
        """Start, recovering what this executor left unfinished."""
        DBOS.launch()

    def limit_here(self, queue: str, concurrency: int) -> None:
        """Run at most so many workflows of a queue in this process. Call before `launch`.

        What a queue is declared with lies in the database and holds for every process.
        """
        _LIMITS[queue] = concurrency

    def register_queue(
        self,
        name: str,
        *,
        poll_s: float,
        worker_concurrency: int | None = None,
        partition_concurrency: int | None = None,
    ) -> None:
        """Declare a queue. With `partition_concurrency` each partition has a line of its own."""
        DBOS.register_queue(
            name,
            worker_concurrency=worker_concurrency,
            partition_concurrency=partition_concurrency,
            polling_interval_sec=poll_s,
            on_conflict="always_update",
        )

    def enqueue(
        self,
        queue: str,
        name: str,
        workflow_id: str,
        *args: str | float,
        priority: int | None = None,
        delay_s: float | None = None,
        partition: str | None = None,
    ) -> None:
        """Start `name` durably. A workflow id that exists already starts nothing."""
        options = _options(
            queue, name, workflow_id, priority=priority, delay_s=delay_s, partition=partition
        )
        DBOS.enqueue_workflow_with_options(options, *args)
        _PACE.work_seen()

    def state(self, workflow_id: str) -> str | None:
        """The engine's word for a workflow's state; None if it knows no such workflow."""
        status = DBOS.get_workflow_status(workflow_id)
        return None if status is None else str(status.status)

    def executors_at_work(self) -> frozenset[str]:
        """Which processes have workflows in hand, dead ones too."""
        return frozenset(status.executor_id or "" for status in self._in_hand())

    def give_away(self, dead: Collection[str]) -> tuple[str, ...]:
        """Queue again what these processes have in hand; the workflow ids.

        Finished steps are not run again. Conditional in the database, so that two who do it at once
        do it once, and what another process has taken meanwhile stays there.
        """
        system = _get_dbos_instance()._sys_db
        return tuple(
            status.workflow_id
            for status in self._in_hand()
            if status.executor_id in dead
            and system.reenqueue_for_recovery(
                status.workflow_id, [status.executor_id], status.queue_name or RECOVERED
            )
        )

    def take_up_dropped(self, seen: Collection[str]) -> frozenset[str]:
        """Queue again what this process is said to have in hand and has not; what it now saw.

        Where the end of a workflow could not be written, as on a full disk, its thread has ended
        and it would wait for the next start. `seen` is what the last look saw: a workflow that
        begins or ends at the moment of one look is another thing at the next.
        """
        instance = _get_dbos_instance()
        mine = [one for one in self._in_hand() if one.executor_id == self._executor]
        running = set(instance._active_workflows_set.activeList())
        dropped = {one.workflow_id for one in mine if one.workflow_id not in running}
        for workflow_id in dropped.intersection(seen):
            instance._sys_db.reenqueue_for_recovery(workflow_id, [self._executor], RECOVERED)
        return frozenset(dropped.difference(seen))

    def _in_hand(self) -> list[Any]:
        return DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)

    def check_owned(self) -> None:
        """Within a step: make sure that its workflow is still this execution's.

        Raises:
            TakenOver: another execution has it, or is to have it.
        """
        if not self._owns_step():
            raise TakenOver("another process has this work")

    def _owns_step(self) -> bool:
        context = get_local_dbos_context()
        if context is None or not context.workflow_id:
            return True
        owner = _get_dbos_instance()._sys_db.get_workflow_owner(context.workflow_id)
        return bool(owner == context.owner_xid)

    def let_go(self) -> None:
        """Within a step: queue its workflow again, unless it is another execution's already."""
        context = get_local_dbos_context()
        if context is not None and context.workflow_id and self._owns_step():
            _get_dbos_instance()._sys_db.reenqueue_for_recovery(
                context.workflow_id, [self._executor], RECOVERED
            )

    def forget_finished(self, *, before: datetime, limit: int = 1000) -> int:
        """Delete the records of workflows that ended before; return how many."""
        done = DBOS.list_workflows(
            status=["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"],
            completed_before=before.isoformat(),
            load_input=False,
            load_output=False,
            limit=limit,
        )
        ids = [known.workflow_id for known in done]
        if ids:
            DBOS.delete_workflows(ids)
        return len(ids)

    def stop(self, grace_s: int = GRACE_S) -> None:
        """Stop taking work, give what runs a moment, leave; the rest goes on at the next start."""
        # From here on it complains of every workflow that it will go on with next time.
        logging.getLogger("dbos").setLevel(logging.CRITICAL + 1)
        DBOS.destroy(workflow_completion_timeout_sec=grace_s)
