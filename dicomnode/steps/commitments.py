"""What senders asked storage commitment for is looked at byte by byte, and they are told."""

from datetime import timedelta
from hashlib import file_digest

from dicomnode.deliver.association import Peer
from dicomnode.deliver.commitment_report import report_commitment
from dicomnode.domain.delivery import CommitmentAnswer, CommitmentRequest
from dicomnode.domain.errors import DeliveryError, InstanceUnreadable, InvalidUid
from dicomnode.domain.identifiers import InstanceUid
from dicomnode.receive.file_meta import read_file_head
from dicomnode.settings import CommitmentAsker
from dicomnode.steps.node import Node
from dicomnode.store.commitments import (
    Asked,
    Kept,
    due_requests,
    kept_instances,
    record_not_told,
    record_reported,
)

BATCH = 10
FIRST_RETRY_S, LONGEST_RETRY_S = 5.0, 600.0
GIVE_UP_AFTER = timedelta(days=2)

# FailureReason (0008,1197), PS3.3 C.14.
PROCESSING_FAILURE, NO_SUCH_INSTANCE, CLASS_CONFLICT = 0x0110, 0x0112, 0x0119


def answer_commitments(node: Node) -> bool:
    """Tell whoever is due; True if there may be more. May be interrupted and repeated anywhere."""
    due = due_requests(node.database, node.clock(), BATCH)
    for asked in due:
        _tell(node, asked)
    return len(due) == BATCH


def _tell(node: Node, asked: Asked) -> None:
    asker = _asker(node, asked.request.calling_ae)
    if asker is None:
        reason = f"no [[receive.commitment]] has the AE title {asked.request.calling_ae!r} any more"
        record_not_told(node.database, asked, reason, None, node.clock())
        return
    answer = look_at(node, asked.request)
    try:
        report_commitment(answer, Peer.told(asker), own_ae=node.settings.ae_title)
    except DeliveryError as exc:
        now = node.clock()
        wait_s = min(FIRST_RETRY_S * 2.0 ** min(asked.attempt, 20), LONGEST_RETRY_S)
        next_try_at = now + timedelta(seconds=wait_s)
        is_over = next_try_at - asked.asked_at > GIVE_UP_AFTER
        record_not_told(node.database, asked, str(exc), None if is_over else next_try_at, now)
        return
    record_reported(node.database, asked, answer, node.clock())


def _asker(node: Node, ae_title: str) -> CommitmentAsker | None:
    known = node.settings.receive.commitment
    return next((one for one in known if one.ae_title == ae_title), None)


def look_at(node: Node, request: CommitmentRequest) -> CommitmentAnswer:
    """What is kept: the row, and the file with the digest that the row says."""
    kept = kept_instances(node.database, [uid for _, uid in request.instances])
    committed: list[tuple[str, InstanceUid]] = []
    failed: list[tuple[str, InstanceUid, int]] = []
    for sop_class, uid in request.instances:
        reason = _fault(sop_class, kept.get(uid))
        if reason is None:
            committed.append((sop_class, uid))
        else:
            failed.append((sop_class, uid, reason))
    return CommitmentAnswer(request=request, committed=tuple(committed), failed=tuple(failed))


def _fault(sop_class: str, kept: Kept | None) -> int | None:
    if kept is None:
        return NO_SUCH_INSTANCE
    if kept.sop_class_uid != sop_class:
        return CLASS_CONFLICT
    # Which of the two the sender means is for a person to say.
    if kept.in_dispute or not _is_whole(kept):
        return PROCESSING_FAILURE
    return None


def _is_whole(kept: Kept) -> bool:
    try:
        with kept.path.open("rb") as file:
            read_file_head(file)
            return file_digest(file, "sha256").hexdigest() == kept.sha256
    except (OSError, InstanceUnreadable, InvalidUid):
        return False
