"""Objects that a viewer sends back in the place of ours are known, compared and kept."""

from collections.abc import Mapping, Sequence

import structlog

from dicomnode.domain.errors import DiskFault, EncodeError, InstanceUnreadable
from dicomnode.domain.events import Event, EventName
from dicomnode.domain.judgements import Correction, CorrectionState, SegmentComparison, Sign
from dicomnode.encode.comparison import compare_segmentations
from dicomnode.encode.returned import Marks, read_marks, sign_of_correction, strongest
from dicomnode.steps.node import Node
from dicomnode.steps.patience import Patience
from dicomnode.store.corrections import (
    MayCorrect,
    OwnResult,
    own_results,
    record_corrections,
    record_no_correction,
    waiting_for_correction,
)

log = structlog.get_logger()

BATCH = 20
MOST_RESULTS = 200
"""Results of one study that an object is held against, the newest first."""


class Correcting:
    """Looks at SEG and SR that came into studies with results; driven by a loop."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._patience = Patience()

    def take(self) -> bool:
        """Settle a batch; True if there may be more."""
        not_due = self._patience.waiting(self._node.clock())
        waiting = waiting_for_correction(self._node.database, BATCH, but=not_due)
        for received in waiting:
            try:
                self._settle(received)
            except DiskFault as exc:
                self._wait(received, exc)
        return len(waiting) == BATCH

    def _wait(self, received: MayCorrect, fault: DiskFault) -> None:
        uid = received.sop_instance_uid
        if self._patience.is_new(uid, self._node.clock()):
            facts = {"instance": uid, "reason": str(fault)}
            self._node.log(Event(name=EventName.DISK_FAULT, facts=facts))

    def _settle(self, received: MayCorrect) -> None:
        database, now = self._node.database, self._node.clock()
        try:
            theirs = read_marks(received.path)
        except (InstanceUnreadable, OSError) as exc:
            log.warning("correction.unreadable", reason=type(exc).__name__)
            record_no_correction(database, received, CorrectionState.UNREADABLE)
            return
        ours = own_results(database, received.study_uid)[:MOST_RESULTS]
        found = strongest(_signs(theirs, ours))
        if not found:
            record_no_correction(database, received, CorrectionState.NONE)
            return
        corrections = [
            _correction(received, theirs, own, found[own.sop_instance_uid])
            for own in _one_a_job(ours, found)
        ]
        record_corrections(database, received, corrections, now)


def _signs(theirs: Marks, ours: Sequence[OwnResult]) -> Mapping[str, Sign]:
    signs: dict[str, Sign] = {}
    for own in ours:
        try:
            marks = read_marks(own.path)
        except (InstanceUnreadable, OSError):
            # Our file is gone or damaged: then nothing can be known to correct it.
            continue
        sign = sign_of_correction(theirs, marks, own.inputs)
        if sign is not None:
            signs[own.sop_instance_uid] = sign
    return signs


def _one_a_job(ours: Sequence[OwnResult], found: Mapping[str, Sign]) -> Sequence[OwnResult]:
    """An SR names the SEG too, and the other way round: one of them stands for the job."""
    jobs: dict[str, OwnResult] = {}
    for own in ours:
        if own.sop_instance_uid in found:
            jobs.setdefault(own.job_id, own)
    return list(jobs.values())


def _correction(received: MayCorrect, theirs: Marks, own: OwnResult, sign: Sign) -> Correction:
    segments: tuple[SegmentComparison, ...] = ()
    note = "measurements are kept, but not compared"
    if theirs.is_segmentation:
        note = "we made no segmentation to compare it with"
    if theirs.is_segmentation and own.segmentation is not None:
        note = ""
        try:
            segments = compare_segmentations(own.segmentation, received.path)
        except (EncodeError, OSError) as exc:
            note = str(exc) if isinstance(exc, EncodeError) else "our file is not there any more"
    return Correction(
        sop_instance_uid=received.sop_instance_uid,
        job_id=own.job_id,
        kind="SEG" if theirs.is_segmentation else "SR",
        sign=sign,
        sent_by=received.sent_by,
        made_with=theirs.made_with,
        segments=segments,
        note=note,
    )
