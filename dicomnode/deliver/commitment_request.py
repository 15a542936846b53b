"""Storage commitment as SCU (PS3.4 Annex J): ask the peer to answer for what it took."""

import threading
from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.presentation import build_context

from dicomnode.deliver.association import Handler, Peer, associate
from dicomnode.deliver.commitment import CommitmentInbox, answer_with
from dicomnode.deliver.statuses import BUSY_STATUSES, answered
from dicomnode.domain.delivery import CommitmentReport, ServiceRefused
from dicomnode.domain.errors import PeerBusy, PeerUnavailable
from dicomnode.domain.results import EncodedObject
from dicomnode.domain.sop_classes import (
    STORAGE_COMMITMENT_PUSH,
    STORAGE_COMMITMENT_PUSH_INSTANCE,
)
from dicomnode.settings import Destination

_REQUEST_COMMITMENT = 1


def request_commitment(
    objects: Sequence[EncodedObject],
    destination: Destination,
    transaction_uid: str,
    *,
    own_ae: str,
    stay_s: float = 2.0,
    inbox: CommitmentInbox | None = None,
) -> CommitmentReport | None:
    """Ask for commitment by N-ACTION and return the report, if it comes while we stay.

    The peer may report on this association or on a new one to our AE (PS3.4 J.3.3), so the
    association is kept for `stay_s`. None: the request was accepted and the report is still to
    come. An `inbox` that a listener fills too ends the stay as soon as the report is there.
    `transaction_uid` must be new for each try (PS3.4 J.3.2.1.1).

    Raises:
        PeerUnavailable, AssociationRejected, PeerBusy: not asked; try again later.
        ServiceRefused: the peer offers no storage commitment; use another way to confirm.
    """
    peer = Peer.of(destination)
    inbox = inbox or CommitmentInbox()
    stay = _Stay(inbox)
    handlers: list[Handler] = [
        (evt.EVT_N_EVENT_REPORT, answer_with(stay.take)),
        (evt.EVT_PDU_SENT, stay.on_sent),
        (evt.EVT_RELEASED, stay.on_end),
        (evt.EVT_ABORTED, stay.on_end),
        (evt.EVT_CONN_CLOSE, stay.on_end),
    ]
    contexts = [build_context(STORAGE_COMMITMENT_PUSH)]
    with associate(peer, contexts, own_ae=own_ae, handlers=handlers) as assoc:
        try:
            status, _ = assoc.send_n_action(
                _action_information(objects, transaction_uid),
                _REQUEST_COMMITMENT,
                UID(STORAGE_COMMITMENT_PUSH),
                UID(STORAGE_COMMITMENT_PUSH_INSTANCE),
            )
        except RuntimeError as exc:  # pynetdicom's word for an association that is over
            raise PeerUnavailable(f"{peer}: the peer ended the association") from exc
        _check_action_status(status, peer)
        return inbox.wait(transaction_uid, stay_s, unless=stay.over.is_set)


class _Stay:
    """Holds a report back until our answer to it has left, so that we do not release before it."""

    def __init__(self, inbox: CommitmentInbox) -> None:
        self.over = threading.Event()
        self._inbox = inbox
        self._taken: list[CommitmentReport] = []

    def take(self, report: CommitmentReport) -> None:
        self._taken.append(report)

    def on_sent(self, _event: evt.Event) -> None:
        while self._taken:
            self._inbox.put(self._taken.pop())

    def on_end(self, event: evt.Event) -> None:
        self.on_sent(event)
        self.over.set()
        self._inbox.wake()


def _action_information(objects: Sequence[EncodedObject], transaction_uid: str) -> Dataset:
    """PS3.4 Table J.3-1."""
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = []
    for encoded in objects:
        item = Dataset()
        item.ReferencedSOPClassUID = encoded.sop_class_uid
        item.ReferencedSOPInstanceUID = encoded.sop_instance_uid
        information.ReferencedSOPSequence.append(item)
    return information


def _check_action_status(status: Dataset, peer: Peer) -> None:
    if "Status" not in status:
        raise PeerUnavailable(
            f"{peer}: the request for storage commitment was not answered within "
            f"{peer.timeout_s:g} s"
        )
    code = int(status.Status)
    words = f"{peer}: answered the request for storage commitment with 0x{code:04X}"
    if code in BUSY_STATUSES:
        raise answered(PeerBusy(words), code)
    if code != 0:
        raise answered(ServiceRefused(words), code)
