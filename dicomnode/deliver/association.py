"""One association to a peer, with a time limit on every step and a reason for every failure."""

import logging
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self, cast

from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE, SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from dicomnode import __version__
from dicomnode.deliver.line import prepare
from dicomnode.domain.delivery import ServiceRefused
from dicomnode.domain.errors import (
    AssociationRejected,
    ConfigError,
    DeliveryError,
    PeerUnavailable,
)
from dicomnode.domain.identifiers import IMPLEMENTATION_CLASS_UID
from dicomnode.domain.tls import client_context
from dicomnode.settings import CommitmentAsker, CountQuery, Destination, PeerTls

# Files go out as they lie on disk, not decoded and encoded again.
_config.STORE_SEND_CHUNKED_DATASET = True
# What pynetdicom would log holds identifiers and whole messages; outcomes are returned instead.
_config.LOG_HANDLER_LEVEL = "none"
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)

Handler = evt.EventHandlerType


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Whom to call, and how long to wait at each step."""

    ae_title: str
    host: str
    port: int
    timeout_s: float = 30.0
    """For the connection, the association, each answer and each stalled write."""
    name: str = ""
    tls: PeerTls | None = None
    """None: without encryption."""

    @classmethod
    def of(cls, known: Destination) -> Self:
        """The peer behind a destination."""
        return cls(
            ae_title=known.ae_title,
            host=known.host,
            port=known.port,
            timeout_s=known.timeout_s,
            name=known.name,
            tls=known.tls,
        )

    @classmethod
    def asked(cls, query: CountQuery, *, timeout_s: float) -> Self:
        """The peer that counts a study's instances."""
        return cls(
            ae_title=query.ae_title,
            host=query.host,
            port=query.port,
            timeout_s=timeout_s,
            tls=query.tls,
        )

    @classmethod
    def told(cls, asker: CommitmentAsker) -> Self:
        """The peer that asked for storage commitment and is told."""
        return cls(ae_title=asker.ae_title, host=asker.host, port=asker.port, tls=asker.tls)

    def __str__(self) -> str:
        address = f"{self.ae_title} at {self.host}:{self.port}"
        return f"{self.name} ({address})" if self.name else address


@contextmanager
def associate(
    peer: Peer,
    contexts: Sequence[PresentationContext],
    *,
    own_ae: str,
    handlers: Sequence[Handler] = (),
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
) -> Iterator[Association]:
    """An established association with at least one accepted context; released at the end.

    `roles` are proposed by SCP/SCU role selection (PS3.7 D.3.3.4).

    Raises:
        PeerUnavailable: no connection, no answer in time, or aborted.
        AssociationRejected: the peer said no, with its reason.
        ServiceRefused: the peer accepted none of `contexts`.
    """
    assoc = _request(peer, contexts, own_ae=own_ae, handlers=handlers, roles=roles)
    try:
        yield assoc
    except DeliveryError:
        raise
    except BaseException:
        assoc.abort()
        raise
    finally:
        assoc.release()
        _close(assoc)


def _request(
    peer: Peer,
    contexts: Sequence[PresentationContext],
    *,
    own_ae: str,
    handlers: Sequence[Handler],
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation],
) -> Association:
    ae = AE(ae_title=own_ae)
    ae.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    ae.implementation_version_name = f"DICOMNODE_{__version__}"[:16]
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = peer.timeout_s
    # Every wait here has a limit of its own; the idle limit would also end a wait for a report.
    ae.network_timeout = None
    connected: list[bool] = []

    def on_open(event: evt.Event) -> None:
        connected.append(True)
        prepare(event, peer.timeout_s)

    began = time.monotonic()
    try:
        assoc = ae.associate(
            peer.host,
            peer.port,
            contexts=list(contexts),
            ae_title=peer.ae_title,
            ext_neg=list(roles),
            evt_handlers=[(evt.EVT_CONN_OPEN, on_open), *handlers],
            tls_args=_tls_args(peer),
        )
    except ConfigError as exc:
        raise PeerUnavailable(f"{peer}: {exc}") from exc
    except (socket.gaierror, UnicodeError) as exc:
        raise PeerUnavailable(
            f"{peer}: the host name cannot be resolved; check `host` and the name service"
        ) from exc
    except OSError as exc:
        raise PeerUnavailable(f"{peer}: no socket could be opened: {exc.strerror}") from exc
    if not assoc.is_established:
        _close(assoc)
        too_long = time.monotonic() - began >= peer.timeout_s
        if not connected:
            raise _not_connected(peer, too_long=too_long)
        raise _not_associated(peer, assoc, too_long=too_long)
    return assoc


def _tls_args(peer: Peer) -> tuple[ssl.SSLContext, str] | None:
    """Read anew for each association, so that a renewed certificate counts at once."""
    if peer.tls is None:
        return None
    return client_context(peer.tls.files), peer.tls.server_name or peer.host


def _not_connected(peer: Peer, *, too_long: bool) -> PeerUnavailable:
    if too_long:
        return PeerUnavailable(
            f"{peer}: no connection within {peer.timeout_s:g} s; is the host up, is the address "
            "right, does a firewall drop the packets?"
        )
    if peer.tls is not None:
        return PeerUnavailable(
            f"{peer}: no TLS connection; is the PACS running and the port right, do `authorities` "
            "vouch for its certificate, does that name the host (or `server_name`), and does it "
            "accept ours?"
        )
    return PeerUnavailable(
        f"{peer}: connection refused or host unreachable; is the PACS running and the port right?"
    )


def _not_associated(
    peer: Peer, assoc: Association, *, too_long: bool
) -> PeerUnavailable | AssociationRejected | ServiceRefused:
    if assoc.is_rejected:
        answer = cast("A_ASSOCIATE", assoc.acceptor.primitive)
        return AssociationRejected(
            f"{peer}: association rejected ({answer.result_str}; {answer.reason_str}); are both AE "
            "titles and our address registered there?"
        )
    if assoc.rejected_contexts and not assoc.accepted_contexts:
        refused = sorted({UID(str(cx.abstract_syntax)).name for cx in assoc.rejected_contexts})
        return ServiceRefused(f"{peer}: accepts none of what was proposed: {', '.join(refused)}")
    if too_long:
        return PeerUnavailable(
            f"{peer}: connected, but the association request was not answered within "
            f"{peer.timeout_s:g} s; is this a DICOM port?"
        )
    return PeerUnavailable(
        f"{peer}: the peer ended the connection when an association was asked for; is this a "
        "DICOM port?"
    )


def _close(assoc: Association) -> None:
    line = assoc.dul.socket
    if line is not None:
        line.close()
