"""The path of a study, every step in order.

    received    `receive`             bytes flushed, row committed, C-STORE answered
    indexed     `steps.intake`        header read: study and series known, or quarantined
    closed      `steps.intake`        evidence says that the study is whole: a revision
    matched     `steps.matching`      rules make jobs, and say why others did not
    run         `steps.running`       child process: volume, algorithm, findings, SEG and SR, gate
    recorded    `steps.running`       findings, results and outbox rows in one commit
    sent        `steps.delivery`      C-STORE to each destination, an answer kept for each object
    confirmed   `steps.delivery`      storage commitment or C-FIND proves that it is kept

`Intake` takes a study to its revision; from there on each arrow is a durable workflow of `Flow`,
which goes on behind its last finished step after a crash. Every step may run twice. `reconcile`
compares the index with the engine, so that nothing can be stuck without being seen.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial

from dicomnode.domain.errors import TakenOver
from dicomnode.domain.identifiers import JobId
from dicomnode.engine import (
    ACTIVE,
    FAILED_BY_ERROR,
    DurableInstance,
    Engine,
    durable_class,
    step,
    workflow,
)
from dicomnode.steps.delivery import Next, confirm_results, longest_wait, send_results
from dicomnode.steps.intake import BATCH, ask_counts, close_ready, index_landed
from dicomnode.steps.matching import match_revision
from dicomnode.steps.node import Node
from dicomnode.steps.patience import Patience
from dicomnode.steps.running import Children, Ran, give_up_job, record_job, run_job, try_again
from dicomnode.store.closing import unmatched_revisions
from dicomnode.store.leases import Lease, hold
from dicomnode.store.unfinished import (
    UnfinishedJob,
    overdue_deliveries,
    unfinished_jobs,
    urgency_of,
)

REVISIONS = "revisions"
INFERENCE = "inference"
DELIVERIES = "deliveries"
LAST = 10_000

# A try that is this late was lost with its workflow; the clock of a busy node may lag less.
OVERDUE = timedelta(seconds=30)
# The engine's own records only serve to see a repeated start; the index tells the story.
KEPT_BY_ENGINE = timedelta(days=7)


@durable_class("Flow")
class Flow(DurableInstance):
    """From a closed revision to confirmed results, durably."""

    def __init__(self, node: Node, engine: Engine, children: Children) -> None:
        self._node = node
        self._engine = engine
        self._children = children
        self._resumed: dict[tuple[str, str], str] = {}
        self.lease: Lease | None = None
        """By which this process may record work; None: nobody else can have it."""
        super().__init__("node")

    @contextmanager
    def _as_owner(self) -> Iterator[None]:
        """Around every step: it writes as long as this process has not lost its work to another.

        A step that meets its loss gives its workflow back, since nobody may have done so yet.

        Raises:
            TakenOver: the work is another process's.
        """
        lease = self.lease
        if lease is None:
            yield
            return
        try:
            self._engine.check_owned()
            with self._node.database.guarded(partial(hold, lease=lease)):
                yield
        except TakenOver:
            self._engine.let_go()
            raise

    # A revision was closed: match it, start its jobs.

    def start_revision(self, revision_id: int, *, again: str = "") -> None:
        """Have a revision matched; `again` tells a later try from the first."""
        self._engine.enqueue(
            REVISIONS, "Flow.revision", f"revision:{revision_id}{again}", revision_id
        )

    @workflow
    def revision(self, revision_id: int) -> None:
        """Matched, then one job for each algorithm that is called for."""
        for job in self._match(revision_id):
            self.start_job(UnfinishedJob.from_json(job))

    @step
    def _match(self, revision_id: int) -> list[list[str | int]]:
        with self._as_owner():
            return [job.as_json() for job in match_revision(self._node, revision_id)]

    # A job was queued: run it, record what it made, fill the outboxes.

    def start_job(self, job: UnfinishedJob, *, delay_s: float | None = None) -> None:
        """Queue one try of a job; the most urgent goes first."""
        self._engine.enqueue(
            INFERENCE,
            "Flow.job",
            job.workflow_id,
            job.id,
            job.run,
            job.attempt,
            job.priority,
            priority=job.place,
            delay_s=delay_s,
        )

    @workflow
    def job(self, job_id: str, run: int, attempt: int, priority: int) -> None:
        """Run in a child process; then recorded, then on its way to every destination."""
        ran = self._run(job_id)
        if ran["retry_s"] is not None:
            again = UnfinishedJob(id=job_id, run=run, attempt=attempt + 1, priority=priority)
            self.start_job(again, delay_s=ran["retry_s"])
        elif ran["made"]:
            for destination in self._record(job_id):
                self.start_delivery(job_id, destination, f"{run}.{attempt}")

    @step
    def _run(self, job_id: str) -> Ran:
        with self._as_owner():
            return run_job(self._node, self._children, JobId(job_id))

    @step
    def _record(self, job_id: str) -> list[str]:
        with self._as_owner():
            return record_job(self._node, JobId(job_id))

    # Results wait for a destination: send them, again until it takes them; then have it prove it.

    def start_delivery(
        self, job_id: str, destination: str, token: str, *, delay_s: float | None = None
    ) -> None:
        """Queue one try; each destination has a line of its own, so a dead one holds up nobody.

        In a line what is most urgent goes first.
        """
        self._engine.enqueue(
            DELIVERIES,
            "Flow.delivery",
            _delivery_id(job_id, destination, token),
            job_id,
            destination,
            token,
            priority=urgency_of(self._node.database, JobId(job_id)),
            delay_s=delay_s,
            partition=destination,
        )

    @workflow
    def delivery(self, job_id: str, destination: str, token: str) -> None:
        """Sent; what was not taken is tried again later, what was is confirmed."""
        follow = self._send(job_id, destination)
        if follow["send_again_s"] is not None:
            self.start_delivery(job_id, destination, f"{token}+", delay_s=follow["send_again_s"])
        if follow["confirm_after_s"] is not None:
            self._start_confirmation(job_id, destination, token, 1, follow["confirm_after_s"])

    @step
    def _send(self, job_id: str, destination: str) -> Next:
        with self._as_owner():
            return send_results(self._node, JobId(job_id), destination)

    def _start_confirmation(
        self, job_id: str, destination: str, token: str, attempt: int, delay_s: float
    ) -> None:
        self._engine.enqueue(
            DELIVERIES,
            "Flow.confirmation",
            f"confirmation:{job_id}:{destination}:{token}:{attempt}",
            job_id,
            destination,
            token,
            attempt,
            # After everything that is still to be sent.
            priority=LAST,
            delay_s=delay_s or None,
            partition=destination,
        )

    @workflow
    def confirmation(self, job_id: str, destination: str, token: str, attempt: int) -> None:
        """Proven by the destination, or asked again later."""
        follow = self._confirm(job_id, destination, attempt)
        if follow["confirm_after_s"] is not None:
            delay_s = follow["confirm_after_s"]
            self._start_confirmation(job_id, destination, token, attempt + 1, delay_s)

    @step
    def _confirm(self, job_id: str, destination: str, attempt: int) -> Next:
        with self._as_owner():
            return confirm_results(self._node, JobId(job_id), destination, attempt)

    # What the index says is unfinished and the engine does not have in hand.

    def reconcile(self) -> bool:
        """Start again what was lost, and fail by name what the engine gave up."""
        for revision_id in unmatched_revisions(self._node.database):
            state = self._engine.state(f"revision:{revision_id}")
            if state not in ACTIVE:
                again = "" if state is None else f"@{self._now_s()}"
                self.start_revision(revision_id, again=again)
        for job in unfinished_jobs(self._node.database):
            state = self._engine.state(job.workflow_id)
            if state is None:
                self.start_job(job)
            elif state == FAILED_BY_ERROR and (delay_s := try_again(self._node, job)) is not None:
                self.start_job(replace(job, attempt=job.attempt + 1), delay_s=delay_s)
            elif state not in ACTIVE:
                give_up_job(self._node, job, state)
        self._resume_deliveries()
        return False

    def _resume_deliveries(self) -> None:
        """One more try for what is overdue, but no second while that one waits in its line."""
        now = self._node.clock()
        planned_until = now + max(
            (longest_wait(known) for known in self._node.settings.destinations),
            default=timedelta(0),
        )
        resumed = {}
        for pair in overdue_deliveries(self._node.database, now - OVERDUE, planned_until):
            token = self._resumed.get(pair)
            if token is None or self._engine.state(_delivery_id(*pair, token)) not in ACTIVE:
                token = f"@{self._now_s()}"
                self.start_delivery(*pair, token)
            resumed[pair] = token
        self._resumed = resumed

    def forget(self) -> bool:
        """Drop the engine's records of what ended long ago; the index keeps the facts."""
        before = self._node.clock() - KEPT_BY_ENGINE
        return self._engine.forget_finished(before=before) > 0

    def _now_s(self) -> int:
        return int(self._node.clock().timestamp())


def _delivery_id(job_id: str, destination: str, token: str) -> str:
    return f"delivery:{job_id}:{destination}:{token}"


class Intake:
    """From bytes on disk to a closed revision; driven by loops, kept by the index."""

    def __init__(self, node: Node, flow: Flow) -> None:
        self._node = node
        self._flow = flow
        self._patience = Patience()

    def index(self) -> bool:
        """Put landed instances into their studies; True if there may be more."""
        return index_landed(self._node, self._patience) == BATCH

    def close(self) -> bool:
        """Close what is whole and start it on its way."""
        for revision_id in close_ready(self._node):
            self._flow.start_revision(revision_id)
        return False

    def count(self) -> bool:
        """Ask senders how many instances their studies have."""
        ask_counts(self._node)
        return False
