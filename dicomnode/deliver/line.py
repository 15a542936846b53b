"""What has to be set on a new connection before the first message goes over it."""

import socket
from typing import cast

from pynetdicom import evt
from pynetdicom.dimse import DIMSEServiceProvider, _QueueItem
from pynetdicom.transport import AssociationSocket


class AnswersToCaller(DIMSEServiceProvider):
    """Hands an answer to the thread that waits for it, and to no other.

    pynetdicom runs a second thread that looks for requests of the peer. It is held while an answer
    is awaited, but on a busy machine it may pass the gate just before that and take the answer,
    which it then drops: the caller waits until its time-out, though the peer answered at once. As
    requestors we are asked nothing but N-EVENT-REPORT, and that does not come this way.
    """

    def get_msg(self, block: bool = False) -> _QueueItem:
        """The next answer for a caller that waits; nothing for one that only looks."""
        if not block:
            return None, None
        return super().get_msg(block=True)


def prepare(event: evt.Event, timeout_s: float) -> None:
    """For EVT_CONN_OPEN of an association we request."""
    event.assoc.dimse = AnswersToCaller(event.assoc)
    line = cast("AssociationSocket", event.assoc.dul.socket).socket
    if line is None:
        return
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Without it a peer that stops reading blocks the sending thread, and its abort, for good.
    line.settimeout(timeout_s)
