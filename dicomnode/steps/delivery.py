"""From the outbox to proof that the destination keeps the results."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypedDict

from pydicom.uid import generate_uid

from dicomnode.deliver.commitment_request import request_commitment
from dicomnode.deliver.negotiate import accepts
from dicomnode.deliver.read_back import read_back
from dicomnode.deliver.retry import backoff
from dicomnode.deliver.send import send_objects
from dicomnode.deliver.statuses import is_refusal_of_form
from dicomnode.domain.delivery import SendOutcome, ServiceRefused
from dicomnode.domain.errors import DeliveryError
from dicomnode.domain.identifiers import JobId
from dicomnode.domain.jobs import Job
from dicomnode.domain.results import ConfirmationMethod, DeliveryState, Receipt, ResultKind
from dicomnode.settings import Confirm, Destination
from dicomnode.steps.node import Node
from dicomnode.store.deliveries import (
    RESEND_AFTER,
    FailedTry,
    OutboxItem,
    begin_try,
    outbox,
    record_commitment,
    record_confirmation,
    record_failed_try,
    record_receipt,
    record_request,
    record_unconfirmed,
)
from dicomnode.store.forms import fall_back
from dicomnode.store.jobs import load_job

NO_LABELMAP = "accepts no LABELMAP segmentation; BINARY is sent instead"
DUPLICATE_SOP_INSTANCE = 0x0111

# An archive may answer C-STORE before it indexes: 2, 4, 8 ... seconds, about 4 minutes in all.
READ_BACK_TRIES = 7


class Next(TypedDict):
    """What has to follow a try, as the engine remembers it."""

    send_again_s: float | None
    confirm_after_s: float | None


DONE = Next(send_again_s=None, confirm_after_s=None)


def _confirm_after(seconds: float) -> Next:
    return Next(send_again_s=None, confirm_after_s=seconds)


def send_results(node: Node, job_id: JobId, destination_name: str) -> Next:
    """Send what is due at a destination, and record every answer. May be repeated.

    A try that was started twice finds nothing due the second time, and so ends there.
    """
    job = load_job(node.database, job_id)
    waiting = _due(node, job_id, destination_name)
    destination = node.settings.destination(destination_name)
    if destination is None:
        _give_up_unknown(node, waiting, job, destination_name)
        return DONE
    if _refuses_labelmap(node, waiting, destination):
        fall_back(node.database, job, destination_name, NO_LABELMAP, node.clock())
        waiting = _due(node, job_id, destination_name)
    waiting = _within_time(node, waiting, job, destination)
    again: list[float] = []
    labelmaps = [item for item in waiting if item.object.kind is ResultKind.LABELMAP]
    if labelmaps:
        # First and alone: its report may go only where it went.
        again += _send(node, labelmaps, destination, job)
        waiting = _within_time(node, _due(node, job_id, destination_name), job, destination)
    again += _send(node, _less_held_back(node, waiting, job, destination), destination, job)
    arrived = bool(_unproven(node, job_id, destination_name))
    return Next(
        send_again_s=max(again, default=None),
        confirm_after_s=0.0 if arrived and destination.confirm is not Confirm.NONE else None,
    )


def _send(
    node: Node, items: Sequence[OutboxItem], destination: Destination, job: Job
) -> list[float]:
    """Send and record; the seconds until each next try there is to be."""
    due = {item.object.sop_instance_uid: item for item in items}
    outcomes = send_objects(
        [item.object for item in items],
        destination,
        own_ae=node.settings.ae_title,
        clock=node.clock,
        begin=lambda uid: begin_try(node.database, due[uid]),
    )
    delays = [
        _record(node, due[outcome.sop_instance_uid], outcome, destination, job)
        for outcome in outcomes
    ]
    return [delay for delay in delays if delay is not None]


def _less_held_back(
    node: Node, waiting: Sequence[OutboxItem], job: Job, destination: Destination
) -> list[OutboxItem]:
    """All but the report of a LABELMAP that is still to be taken: its turn comes with that one."""
    undecided = [
        item
        for item in outbox(node.database, job.id, destination.name)
        if item.object.kind is ResultKind.LABELMAP and item.state is DeliveryState.WAITING
    ]
    reports = [item for item in waiting if item.object.kind is ResultKind.LABELMAP_REPORT]
    if not undecided:
        return list(waiting)
    held = FailedTry(
        destination=destination.name,
        state=DeliveryState.WAITING,
        reason="waits for the LABELMAP it refers to",
        status=None,
        next_try_at=undecided[0].next_try_at,
    )
    for item in reports:
        record_failed_try(node.database, item, held, job, node.clock())
    return [item for item in waiting if item not in reports]


def _due(node: Node, job_id: JobId, destination_name: str) -> list[OutboxItem]:
    return [
        item
        for item in outbox(node.database, job_id, destination_name)
        if item.state is DeliveryState.WAITING
        and _is_due(item, node.clock(), node.settings.destination(destination_name))
    ]


def _refuses_labelmap(node: Node, waiting: Sequence[OutboxItem], destination: Destination) -> bool:
    """Asked before anything is sent, since the report of a LABELMAP must not go without it."""
    asked = [item.object for item in waiting if item.object.kind is ResultKind.LABELMAP]
    if not asked:
        return False
    try:
        return not accepts(asked[0].sop_class_uid, destination, own_ae=node.settings.ae_title)
    except DeliveryError:
        # Sending meets the same fault, and records it.
        return False


def _is_due(item: OutboxItem, now: datetime, destination: Destination | None) -> bool:
    """A next try further ahead than any is planned was planned before the clock was set back."""
    if item.next_try_at is None or item.next_try_at <= now:
        return True
    return destination is not None and item.next_try_at - now > longest_wait(destination)


def longest_wait(destination: Destination) -> timedelta:
    """No next try is planned further ahead than this."""
    return max(2 * timedelta(seconds=destination.longest_retry_s), 2 * RESEND_AFTER)


def _within_time(
    node: Node, waiting: Sequence[OutboxItem], job: Job, destination: Destination
) -> list[OutboxItem]:
    """What may still be tried: a PACS that takes and then disowns an object has an end too."""
    longest = timedelta(seconds=destination.give_up_after_s)
    late = [item for item in waiting if node.clock() - item.created_at > longest]
    for item in late:
        failed = FailedTry(
            destination=destination.name,
            state=DeliveryState.GIVEN_UP,
            reason=f"not kept within {destination.give_up_after_s:.0f} s",
            status=None,
            next_try_at=None,
        )
        record_failed_try(node.database, item, failed, job, node.clock())
    return [item for item in waiting if item not in late]


def _give_up_unknown(node: Node, waiting: Sequence[OutboxItem], job: Job, name: str) -> None:
    for item in waiting:
        failed = FailedTry(
            destination=name,
            state=DeliveryState.GIVEN_UP,
            reason=f"no destination called {name!r} is configured any more",
            status=None,
            next_try_at=None,
        )
        record_failed_try(node.database, item, failed, job, node.clock())


def _record(
    node: Node, item: OutboxItem, outcome: SendOutcome, destination: Destination, job: Job
) -> float | None:
    """Store one answer; return the seconds until the next try if there is to be one."""
    now = node.clock()
    receipt = outcome.receipt or _already_there(item, outcome, destination, now)
    if receipt is not None:
        record_receipt(node.database, item, receipt, job)
        return None
    assert outcome.error is not None
    if item.object.kind is ResultKind.LABELMAP and is_refusal_of_form(outcome.error.status):
        # In the place of a refusal, in one commit: a crash in between would leave neither.
        fall_back(node.database, job, destination.name, _refused_labelmap(outcome.error), now)
        return None
    # Not for secrets: spreads the tries of many objects over time.
    delay = backoff(item.attempt + 1, destination, random.random())  # noqa: S311
    failed = _judge(outcome.error, item, destination, now, delay)
    record_failed_try(node.database, item, failed, job, now)
    return delay.total_seconds() if failed.state is DeliveryState.WAITING else None


def _refused_labelmap(error: DeliveryError) -> str:
    return f"refused the LABELMAP segmentation ({error}); BINARY is sent instead"


def _already_there(
    item: OutboxItem, outcome: SendOutcome, destination: Destination, now: datetime
) -> Receipt | None:
    """An answer we may have lost by a crash: the peer says that it has this instance already.

    Duplicate SOP Instance (0x0111, PS3.7 C.5.8) counts as sent; whether it is ours is then proven
    like any other.
    """
    if outcome.error is None or outcome.error.status != DUPLICATE_SOP_INSTANCE:
        return None
    return Receipt(
        sop_instance_uid=item.object.sop_instance_uid,
        destination=destination.name,
        status=DUPLICATE_SOP_INSTANCE,
        comment="the destination has it already",
        at=now,
    )


def _judge(
    error: DeliveryError,
    item: OutboxItem,
    destination: Destination,
    now: datetime,
    delay: timedelta,
) -> FailedTry:
    state, next_try_at = DeliveryState.REFUSED, None
    if error.retryable:
        too_late = item.created_at + timedelta(seconds=destination.give_up_after_s)
        state = DeliveryState.GIVEN_UP if now + delay > too_late else DeliveryState.WAITING
        next_try_at = now + delay if state is DeliveryState.WAITING else None
    return FailedTry(
        destination=destination.name,
        state=state,
        reason=f"{type(error).__name__}: {error}",
        status=error.status,
        next_try_at=next_try_at,
    )


def confirm_results(node: Node, job_id: JobId, destination_name: str, attempt: int) -> Next:
    """Ask the destination to prove what it answered success for. May be repeated.

    The first try asks for storage commitment where that is configured; what it leaves open, and
    everything else, is read back by C-FIND.
    """
    job = load_job(node.database, job_id)
    destination = node.settings.destination(destination_name)
    unproven = _unproven(node, job_id, destination_name)
    if destination is None or not unproven:
        return DONE
    try:
        if destination.confirm is Confirm.COMMITMENT and attempt == 1:
            return _ask_commitment(node, unproven, destination)
        return _read_back(node, job, unproven, destination, attempt)
    except ServiceRefused as exc:
        if destination.confirm is Confirm.COMMITMENT and attempt == 1:
            return _confirm_after(0.0)
        record_unconfirmed(node.database, unproven, job, str(exc), node.clock())
        return DONE
    except DeliveryError as exc:
        return _again_or_unconfirmed(node, job, unproven, attempt, str(exc))


def _unproven(node: Node, job_id: JobId, destination: str) -> list[OutboxItem]:
    return [
        item
        for item in outbox(node.database, job_id, destination)
        if item.state is DeliveryState.SENT_UNCONFIRMED
    ]


def _ask_commitment(node: Node, unproven: Sequence[OutboxItem], destination: Destination) -> Next:
    transaction_uid = str(generate_uid(prefix=None))
    record_request(node.database, unproven, transaction_uid)
    report = request_commitment(
        [item.object for item in unproven],
        destination,
        transaction_uid,
        own_ae=node.settings.ae_title,
    )
    if report is None:
        # The report is to come on a new association, to the receiver.
        return _confirm_after(destination.commitment_wait_s)
    record_commitment(node.database, report, node.clock())
    return _confirm_after(1.0)


def _read_back(
    node: Node,
    job: Job,
    unproven: Sequence[OutboxItem],
    destination: Destination,
    attempt: int,
) -> Next:
    shown = read_back(
        [item.object for item in unproven], destination, own_ae=node.settings.ae_title
    )
    proven = [item for item in unproven if shown.get(item.object.sop_instance_uid)]
    if proven:
        record_confirmation(
            node.database,
            proven,
            job,
            destination=destination.name,
            method=ConfirmationMethod.READ_BACK,
            now=node.clock(),
        )
    left = [item for item in unproven if item not in proven]
    if not left:
        return DONE
    return _again_or_unconfirmed(node, job, left, attempt, "C-FIND does not show it")


def _again_or_unconfirmed(
    node: Node, job: Job, items: Sequence[OutboxItem], attempt: int, reason: str
) -> Next:
    if attempt <= READ_BACK_TRIES:
        return _confirm_after(2.0**attempt)
    record_unconfirmed(node.database, items, job, reason, node.clock())
    return DONE
