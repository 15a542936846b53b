"""What a destination would take, asked without sending anything."""

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.presentation import build_context

from dicomnode.deliver.association import Peer, associate
from dicomnode.domain.delivery import ServiceRefused
from dicomnode.settings import Destination


def accepts(sop_class_uid: str, destination: Destination, *, own_ae: str) -> bool:
    """True if the destination accepts a presentation context for this SOP class.

    Raises:
        PeerUnavailable, AssociationRejected: it could not be asked.
    """
    syntaxes = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    contexts = [build_context(sop_class_uid, syntax) for syntax in syntaxes]
    try:
        with associate(Peer.of(destination), contexts, own_ae=own_ae):
            return True
    except ServiceRefused:
        return False
