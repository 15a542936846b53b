"""C-ECHO as SCU."""

from pynetdicom.presentation import build_context

from dicomnode.deliver.association import Peer, associate
from dicomnode.deliver.statuses import answered
from dicomnode.domain.delivery import ServiceRefused
from dicomnode.domain.errors import PeerUnavailable
from dicomnode.domain.sop_classes import VERIFICATION


def echo(peer: Peer, *, own_ae: str) -> None:
    """Return if the peer answers C-ECHO with success (PS3.4 Annex A).

    Raises:
        PeerUnavailable: no connection, no association or no answer; the message says which.
        AssociationRejected: it does not know us, or is at its limit.
        ServiceRefused: it answers, but does not offer verification.
    """
    with associate(peer, [build_context(VERIFICATION)], own_ae=own_ae) as assoc:
        try:
            status = assoc.send_c_echo()
        except RuntimeError as exc:  # pynetdicom's word for an association that is over
            raise PeerUnavailable(f"{peer}: the peer ended the association") from exc
    if "Status" not in status:
        raise PeerUnavailable(f"{peer}: C-ECHO was not answered within {peer.timeout_s:g} s")
    if status.Status != 0:
        words = f"{peer}: answered C-ECHO with 0x{int(status.Status):04X}"
        raise answered(ServiceRefused(words), int(status.Status))
