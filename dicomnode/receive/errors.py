"""Reasons to refuse an instance that only this room knows. The shared tree is `domain.errors`."""

from dicomnode.domain.errors import ReceiveError


class SopClassMismatch(ReceiveError):
    """The command names another SOP class than the presentation context it came in."""


class ProtocolBroken(ReceiveError):
    """The peer's bytes break PS3.7 or PS3.8; the association cannot go on."""


class ConnectionLost(ReceiveError):
    """The connection ended in the middle of a PDU."""


class PeerSilent(ReceiveError):
    """The peer stopped in the middle of a PDU for longer than the idle time-out."""


class FolderInUse(ReceiveError):
    """Another receiver already writes into this data folder."""


class OtherStudy(ReceiveError):
    """An instance of another study than the one a STOW request names; C-STORE names none."""
