"""What a person asks of queues and workers by the index, done in the process that runs models."""

import threading
from collections.abc import Sequence

import structlog

from dicomnode.engine import Engine
from dicomnode.flow import DELIVERIES, INFERENCE, REVISIONS
from dicomnode.steps.node import Node
from dicomnode.store.workers import beat, inference_pause, is_to_drain, join, leave

log = structlog.get_logger()


class Steering:
    """Keeps the engine's queue of models as the index says, and tells the index who runs them."""

    def __init__(
        self,
        node: Node,
        engine: Engine,
        devices: Sequence[str],
        *,
        is_part_of_node: bool = False,
    ) -> None:
        self._node = node
        self._engine = engine
        self._devices = tuple(devices)
        self._is_part_of_node = is_part_of_node
        self._is_paused: bool | None = None
        self.drained = threading.Event()
        """Set once a person asked this worker to end."""

    def start(self) -> None:
        """Declare the queues; from now on this process is a worker if it has devices to offer."""
        poll_s = self._node.settings.flow.poll_s
        self._engine.register_queue(REVISIONS, poll_s=poll_s, worker_concurrency=4)
        self._engine.register_queue(DELIVERIES, poll_s=poll_s, partition_concurrency=1)
        self.look()
        if self._node.worker:
            join(
                self._node.database,
                self._node.worker,
                self._devices,
                self._node.clock(),
                is_part_of_node=self._is_part_of_node,
            )

    def look(self) -> bool:
        """Halt the queue of models, or let it go on, as a person wants. A pause outlives restarts.

        The limit lies in the engine's database and counts for every worker at once.
        """
        is_paused = inference_pause(self._node.database) is not None
        if is_paused != self._is_paused:
            self._engine.register_queue(
                INFERENCE,
                poll_s=self._node.settings.flow.poll_s,
                worker_concurrency=0 if is_paused else len(self._devices),
            )
            if self._is_paused is not None:
                log.info("queue.paused" if is_paused else "queue.resumed", queue=INFERENCE)
            self._is_paused = is_paused
        if self._node.worker and is_to_drain(self._node.database, self._node.worker):
            self.drained.set()
        return False

    def beat(self) -> bool:
        """Tell the index that this worker lives."""
        if self._node.worker:
            beat(self._node.database, self._node.worker, self._node.clock())
        return False

    def stop(self) -> None:
        """This worker ends."""
        if self._node.worker:
            leave(self._node.database, self._node.worker, self._node.clock())
