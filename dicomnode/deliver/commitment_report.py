"""Storage commitment as SCP (PS3.4 J.3.3): the report, on an association of our own."""

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import build_role
from pynetdicom.presentation import build_context

from dicomnode.deliver.association import Peer, associate
from dicomnode.deliver.statuses import answered
from dicomnode.domain.delivery import CommitmentAnswer, ServiceRefused
from dicomnode.domain.errors import PeerUnavailable
from dicomnode.domain.sop_classes import (
    STORAGE_COMMITMENT_PUSH,
    STORAGE_COMMITMENT_PUSH_INSTANCE,
)

_ALL_COMMITTED, _FAILURES_EXIST = 1, 2


def report_commitment(answer: CommitmentAnswer, peer: Peer, *, own_ae: str) -> None:
    """Tell the sender what is kept; returns once it took the report.

    We request the association as SCP, by role selection (PS3.7 D.3.3.4).

    Raises:
        PeerUnavailable, AssociationRejected: not told; try again later.
        ServiceRefused: the sender does not take such reports, or not this one.
    """
    role = build_role(UID(STORAGE_COMMITMENT_PUSH), scu_role=False, scp_role=True)
    contexts = [build_context(STORAGE_COMMITMENT_PUSH)]
    with associate(peer, contexts, own_ae=own_ae, roles=[role]) as assoc:
        try:
            status, _ = assoc.send_n_event_report(
                _event_information(answer),
                _FAILURES_EXIST if answer.failed else _ALL_COMMITTED,
                UID(STORAGE_COMMITMENT_PUSH),
                UID(STORAGE_COMMITMENT_PUSH_INSTANCE),
            )
        except RuntimeError as exc:  # pynetdicom's word for an association that is over
            raise PeerUnavailable(f"{peer}: the peer ended the association") from exc
        except ValueError as exc:  # and for a role that was not granted
            raise ServiceRefused(f"{peer}: does not let us report as SCP") from exc
    if "Status" not in status:
        raise PeerUnavailable(f"{peer}: the report was not answered within {peer.timeout_s:g} s")
    if int(status.Status) != 0:
        words = f"{peer}: answered the report with 0x{int(status.Status):04X}"
        raise answered(ServiceRefused(words), int(status.Status))


def _event_information(answer: CommitmentAnswer) -> Dataset:
    """PS3.4 Table J.3-2."""
    information = Dataset()
    information.TransactionUID = answer.request.transaction_uid
    if answer.committed:
        information.ReferencedSOPSequence = [_item(*one) for one in answer.committed]
    if answer.failed:
        information.FailedSOPSequence = []
        for sop_class, instance, reason in answer.failed:
            item = _item(sop_class, instance)
            item.FailureReason = reason
            information.FailedSOPSequence.append(item)
    return information


def _item(sop_class: str, instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class
    item.ReferencedSOPInstanceUID = instance
    return item
