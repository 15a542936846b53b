"""What a person asks of queues and workers by the index, done in the process that runs models.

And the other way round: the process tells the index that it lives, and looks after those that do
not. Whoever is silent for `flow.take_over_s` loses its lease (`store.leases`) and its work.
"""

import threading
from collections.abc import Callable, Sequence

import structlog

from dicomnode.domain.errors import TakenOver
from dicomnode.domain.identifiers import JobId
from dicomnode.engine import Engine
from dicomnode.flow import DELIVERIES, INFERENCE, REVISIONS, Flow
from dicomnode.loops import Loop, Loops
from dicomnode.silence import Silence
from dicomnode.steps.node import Node
from dicomnode.store.leases import (
    Lease,
    beat,
    heartbeats,
    join,
    leave,
    living,
    lose,
    rejoin,
    tell_taken_over,
)
from dicomnode.store.unfinished import job_of_workflow
from dicomnode.store.workers import inference_pause, is_to_drain

log = structlog.get_logger()

LOOKS_UNTIL_TAKEN_OVER = 6


class Steering:
    """Keeps the engine's queues as the index says, and the index's list of who does the work."""

    def __init__(
        self,
        node: Node,
        engine: Engine,
        flow: Flow,
        devices: Sequence[str],
        *,
        executor: str,
        is_part_of_node: bool = False,
        drop_work: Callable[[], None] = lambda: None,
        at_once: int | None = None,
    ) -> None:
        self._node = node
        self._engine = engine
        self._flow = flow
        self._devices = tuple(devices)
        self._at_once = at_once or len(self._devices)
        self._executor = executor
        self._is_part_of_node = is_part_of_node
        self._drop_work = drop_work
        self._is_paused: bool | None = None
        take_over_s = node.settings.flow.take_over_s
        self.often_s = take_over_s / LOOKS_UNTIL_TAKEN_OVER
        """How often it beats, and looks after the others."""
        self._silence = Silence(take_over_s)
        self._dropped: frozenset[str] = frozenset()
        self._beating = Loops((Loop(name="beat", action=self.beat, every_s=self.often_s),))
        self.drained = threading.Event()
        """Set once a person asked this worker to end."""

    def join(self) -> None:
        """Take a lease; before the engine starts, which takes up what an earlier process left."""
        self._engine.limit_here(INFERENCE, self._at_once)
        self._flow.lease = join(
            self._node.database,
            self._executor,
            self._devices if self._node.worker else (),
            self._node.clock(),
            is_part_of_node=self._is_part_of_node,
        )
        # At once: what follows may take longer than a silent process is waited for.
        self._beating.start()

    def start(self) -> None:
        """Declare the queues, once the engine has started."""
        poll_s = self._node.settings.flow.poll_s
        self._engine.register_queue(REVISIONS, poll_s=poll_s, worker_concurrency=4)
        self._engine.register_queue(DELIVERIES, poll_s=poll_s, partition_concurrency=1)
        self.look()

    def look(self) -> bool:
        """Halt the queue of models, or let it go on, as a person wants. A pause outlives restarts.

        The limit lies in the engine's database and counts for every worker at once.
        """
        is_paused = inference_pause(self._node.database) is not None
        if is_paused != self._is_paused:
            self._engine.register_queue(
                INFERENCE,
                poll_s=self._node.settings.flow.poll_s,
                worker_concurrency=0 if is_paused else None,
            )
            if self._is_paused is not None:
                log.info("queue.paused" if is_paused else "queue.resumed", queue=INFERENCE)
            self._is_paused = is_paused
        if self._node.worker and is_to_drain(self._node.database, self._node.worker):
            self.drained.set()
        return False

    def beat(self) -> bool:
        """Tell the index that this process lives; if it was given up, begin anew."""
        try:
            beat(self._node.database, self._lease, self._node.clock())
        except TakenOver:
            log.warning("worker.lost", worker=self._executor)
            # What runs here is run elsewhere by now; its results would be refused.
            self._drop_work()
            self._flow.lease = rejoin(self._node.database, self._executor, self._node.clock())
        return False

    def watch(self) -> bool:
        """Take the lease of whoever is silent, and give the work of whoever is gone to others."""
        self._dropped = self._engine.take_up_dropped(self._dropped)
        for silent, silent_s in self._silence.of(heartbeats(self._node.database)):
            if silent.lease.worker != self._executor:
                lose(self._node.database, silent, self._node.clock(), silent_s=silent_s)
        # Read before the living: a process takes work only after it has taken its lease.
        at_work = self._engine.executors_at_work()
        gone = at_work - living(self._node.database) - {self._executor}
        if gone:
            given = self._engine.give_away(gone)
            log.warning("work.taken-over", workers=sorted(gone), workflows=len(given))
            jobs = [JobId(job) for job in map(job_of_workflow, given) if job]
            tell_taken_over(self._node.database, jobs, self._node.clock(), by=self._executor)
        return False

    @property
    def _lease(self) -> Lease:
        lease = self._flow.lease
        assert lease is not None, "join comes first"
        return lease

    def stop(self) -> None:
        """This process ends."""
        self._beating.stop()
        if self._flow.lease is not None:
            leave(self._node.database, self._flow.lease, self._node.clock())
