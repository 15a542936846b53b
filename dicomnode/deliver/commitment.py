"""Storage commitment reports (PS3.4 J.3.3): what they say, and where they are kept."""

import threading
from collections.abc import Callable

from pydicom.dataset import Dataset
from pynetdicom import evt

from dicomnode.deliver.statuses import failure_reason
from dicomnode.domain.delivery import CommitmentReport
from dicomnode.domain.errors import InvalidUid
from dicomnode.domain.identifiers import InstanceUid, checked_uid

_ALL_COMMITTED, _FAILURES_EXIST = 1, 2
_SUCCESS, _NO_SUCH_EVENT, _INVALID_ARGUMENT = 0x0000, 0x0113, 0x0115


def commitment_outcome(event_type: int, information: Dataset) -> CommitmentReport:
    """What an N-EVENT-REPORT says (PS3.4 Table J.3-2; event 1: all committed, 2: failures exist).

    An instance listed both ways counts as failed.

    Raises:
        InvalidUid: the transaction or an instance has no valid UID.
        ValueError: the event type is neither 1 nor 2.
    """
    if event_type not in (_ALL_COMMITTED, _FAILURES_EXIST):
        raise ValueError(f"no such storage commitment event: {event_type}")
    failed = {
        _instance(item): failure_reason(int(item.get("FailureReason") or 0))
        for item in information.get("FailedSOPSequence") or ()
    }
    listed = [_instance(item) for item in information.get("ReferencedSOPSequence") or ()]
    return CommitmentReport(
        transaction_uid=checked_uid(str(information.get("TransactionUID") or "")),
        committed=tuple(uid for uid in dict.fromkeys(listed) if uid not in failed),
        failed=failed,
    )


def _instance(item: Dataset) -> InstanceUid:
    return InstanceUid(checked_uid(str(item.get("ReferencedSOPInstanceUID") or "")))


def answer_with(
    keep: Callable[[CommitmentReport], None],
) -> Callable[[evt.Event], tuple[int, None]]:
    """A handler for EVT_N_EVENT_REPORT that answers success only after `keep` returned.

    Bind it wherever a report may come in: on our own request's association and on the receiving
    AE, whose Storage Commitment Push Model context must let the peer be SCP
    (`scu_role=False, scp_role=True`). It never raises for what a peer sent.
    """

    def answer(event: evt.Event) -> tuple[int, None]:
        try:
            report = commitment_outcome(int(event.event_type or 0), event.event_information)
        except InvalidUid:
            return _INVALID_ARGUMENT, None
        except ValueError:
            return _NO_SUCH_EVENT, None
        keep(report)
        return _SUCCESS, None

    return answer


class CommitmentInbox:
    """Reports by transaction, as they come in on any association; safe between threads."""

    def __init__(self) -> None:
        self._reports: dict[str, CommitmentReport] = {}
        self._changed = threading.Condition()

    def put(self, report: CommitmentReport) -> None:
        """Keep a report and wake whoever waits for it. A repeated report changes nothing."""
        with self._changed:
            self._reports.setdefault(report.transaction_uid, report)
            self._changed.notify_all()

    def wake(self) -> None:
        """Let waiting callers look at their `unless` again."""
        with self._changed:
            self._changed.notify_all()

    def wait(
        self,
        transaction_uid: str,
        timeout_s: float,
        *,
        unless: Callable[[], bool] = lambda: False,
    ) -> CommitmentReport | None:
        """The report, taken out; None after `timeout_s` or once `unless` holds."""
        with self._changed:
            self._changed.wait_for(
                lambda: transaction_uid in self._reports or unless(), timeout=timeout_s
            )
            return self._reports.pop(transaction_uid, None)
