"""Associations as acceptor, and the server that makes them of connections."""

import logging
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from typing import Any

from pynetdicom import evt
from pynetdicom.acse import ACSE
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationServer, RequestHandler

from dicomnode.domain.receiving import AssociationOutcome
from dicomnode.domain.tls import FreshContext
from dicomnode.receive.admission import Applicant, Rejection
from dicomnode.receive.command import StoreRequest
from dicomnode.receive.errors import ProtocolBroken
from dicomnode.receive.reception import Reception
from dicomnode.receive.storing import AcceptedContext, StoreSession, Transfer
from dicomnode.receive.tuning.connection import ReceiverSocket
from dicomnode.receive.tuning.secure import SecureSocket
from dicomnode.receive.tuning.upper_layer import ReceiverDUL
from dicomnode.receive.tuning.wakeups import Checkpoint, RingingQueue

EventHandler = tuple[Any, Callable[..., Any]]
"""A pynetdicom intervention event and its handler, e.g. `(evt.EVT_N_EVENT_REPORT, answer)`."""

log = logging.getLogger(__name__)


class ReceiverACSE(ACSE):
    """Negotiation with our admission in front.

    Not an event handler of pynetdicom: an error in one is logged and the peer let in.
    """

    def __init__(self, assoc: "ReceiverAssociation") -> None:
        super().__init__(assoc)
        self._association = assoc

    def _negotiate_as_acceptor(self) -> None:
        rejection = self._association.enter()
        if rejection is not None:
            self.send_reject(rejection.result, rejection.source, rejection.reason)
            self._association.kill()
            return
        super()._negotiate_as_acceptor()
        self._association.note_refused_contexts()


class ReceiverAssociation(Association):
    """One association as acceptor."""

    def __init__(self, ae: ApplicationEntity, server: "ReceiverServer") -> None:
        self._checkpoint = Checkpoint()
        super().__init__(ae, "acceptor")
        self._server = server
        self._receiver = server
        self._session: StoreSession | None = None
        self._line: socket.socket | None = None
        self._is_hung_up = False
        self._contexts: dict[int, AcceptedContext] = {}
        self._checkpoint.set()
        self._reactor_checkpoint = self._checkpoint
        self.acse = ReceiverACSE(self)
        self._upper_layer = ReceiverDUL(
            self, wake_association=self.wake, begin_store=self.begin_store
        )
        self.dul = self._upper_layer
        self.dimse.msg_queue = RingingQueue(self.wake)
        # Their setters write into the timers of `self.dul`.
        self.acse_timeout = ae.acse_timeout
        self.network_timeout = ae.network_timeout

    def wake(self) -> None:
        """There may be something to do for the association's thread."""
        self._checkpoint.ring()

    def set_line(self, line: socket.socket) -> None:
        """The connection itself, below TLS's and pynetdicom's wrappings."""
        self._line = line

    def drain(self) -> None:
        """Abort at the next moment between two messages."""
        self._upper_layer.is_draining = True
        self._upper_layer.doorbell.ring()

    @property
    def is_silent(self) -> bool:
        """True if the peer connected and has asked for nothing yet."""
        return not self._is_hung_up and self.requestor.primitive is None

    def hang_up(self) -> None:
        """End the connection; its threads end by themselves."""
        self._is_hung_up = True
        line = self._line
        if line is not None:
            # The peer may have been quicker.
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def enter(self) -> Rejection | None:
        """Ask for admission with what the A-ASSOCIATE-RQ says."""
        asked, peer = self.requestor.primitive, self.requestor.address_info
        assert asked is not None
        assert peer is not None
        entered = self._receiver.reception.enter(
            Applicant(
                calling_ae=str(asked.calling_ae_title).strip(),
                called_ae=str(asked.called_ae_title).strip(),
                address=_plain_address(peer.address),
            )
        )
        if isinstance(entered, Rejection):
            return entered
        self._session = entered
        return None

    def note_refused_contexts(self) -> None:
        """Log what the peer offered and did not get."""
        if self._session is not None:
            refused = [str(context.abstract_syntax) for context in self._rejected_cx]
            self._receiver.reception.note_refused_contexts(self._session, refused)

    def begin_store(self, context_id: int, request: StoreRequest) -> Transfer:
        """Take up a C-STORE request.

        Raises:
            ProtocolBroken: it came in a context that was not accepted.
        """
        if context_id not in self._accepted_cx or self._session is None:
            raise ProtocolBroken("message in a presentation context that was not accepted")
        if context_id not in self._contexts:
            self._contexts[context_id] = self._accepted_context(context_id)
        return self._session.begin(request, self._contexts[context_id])

    def run_reactor(self) -> None:
        """The thread: the stock loop, then the books."""
        try:
            super().run_reactor()
        finally:
            self._upper_layer.kill_dul()
            self._upper_layer.doorbell.ring()
            self._upper_layer.join()
            if self._session is not None:
                self._receiver.reception.leave(self._session, self._outcome())
            self._receiver.forget(self)

    def _accepted_context(self, context_id: int) -> AcceptedContext:
        context = self._accepted_cx[context_id]
        is_storage = context.abstract_syntax in self._receiver.storage_sop_classes
        return AcceptedContext(
            abstract_syntax=str(context.abstract_syntax) if is_storage else "",
            transfer_syntax=str(context.transfer_syntax[0]),
        )

    def _outcome(self) -> AssociationOutcome:
        if self.is_released:
            return AssociationOutcome.RELEASED
        return AssociationOutcome.LOST if self._upper_layer.was_lost else AssociationOutcome.ABORTED

    def _bind_defaults(self) -> None:
        # Without the handlers that format every message for the log.
        for event in evt._INTERVENTION_EVENTS:
            self.bind(event, evt.get_default_handler(event))


class ReceiverRequestHandler(RequestHandler):
    """Makes an association of a connection."""

    server: "ReceiverServer"

    def handle(self) -> None:
        """Start the association's thread."""
        association = self._create_association()
        self.server.remember(association)
        association.start()

    def _create_association(self) -> ReceiverAssociation:
        association = ReceiverAssociation(self.ae, self.server)
        association.name = f"association-{self.client_address[1]}"
        association.set_socket(self._socket_of(association))
        association.set_line(self.request)
        acceptor = association.acceptor
        acceptor.maximum_length = self.ae.maximum_pdu_size
        acceptor.ae_title = self.server.ae_title
        acceptor.address_info = self.local
        acceptor.implementation_class_uid = self.ae.implementation_class_uid
        acceptor.implementation_version_name = self.ae.implementation_version_name
        acceptor.supported_contexts = self.server.contexts
        association.requestor.address_info = self.remote
        for event, handler in self.server._handlers.items():
            if event.is_intervention and handler:
                association.bind(event, *handler)
        return association

    def _socket_of(self, association: ReceiverAssociation) -> ReceiverSocket:
        server = self.server
        timeout_s = server.reception.settings.idle_timeout_s
        if server.tls is None:
            return ReceiverSocket(association, self.request, timeout_s=timeout_s)
        self.request = server.tls.current().wrap_socket(
            self.request, server_side=True, do_handshake_on_connect=False
        )
        address = _plain_address(self.client_address[0])
        return SecureSocket(
            association,
            self.request,
            timeout_s=timeout_s,
            on_refused=lambda why: server.reception.note_refused_line(address, why),
        )


class ReceiverServer(AssociationServer):
    """Accepts connections. No thread of its own per connection besides the association's two."""

    request_queue_size = 128

    def __init__(
        self,
        ae: ApplicationEntity,
        address: tuple[str, int],
        ae_title: str,
        contexts: list[PresentationContext],
        *,
        handlers: Sequence[EventHandler],
        reception: Reception,
        storage_sop_classes: frozenset[str],
        tls: FreshContext | None = None,
    ) -> None:
        self.reception = reception
        self.tls = tls
        self.storage_sop_classes = storage_sop_classes
        self._lock = threading.Lock()
        # In the order they came.
        self._associations: dict[ReceiverAssociation, None] = {}
        super().__init__(
            ae,
            address,
            ae_title,
            contexts,
            evt_handlers=list(handlers),
            request_handler=ReceiverRequestHandler,
        )

    @property
    def active_associations(self) -> list[Association]:
        """As pynetdicom wants it: every association with a thread, admitted or not."""
        return list(self.associations)

    @property
    def associations(self) -> list["ReceiverAssociation"]:
        """Every association with a thread, admitted or not."""
        with self._lock:
            return list(self._associations)

    def remember(self, association: ReceiverAssociation) -> None:
        """A connection came in."""
        with self._lock:
            self._associations[association] = None

    def forget(self, association: ReceiverAssociation) -> None:
        """Its thread ends."""
        with self._lock:
            self._associations.pop(association, None)

    def verify_request(self, _request: Any, _client_address: Any) -> bool:
        """False: close at once. Connections that never ask for an association are bounded too.

        Where they take all room, the one that has been silent for longest makes way, so that a
        sender who means it is served however many do not.
        """
        known = self.associations
        if len(known) < 2 * self.reception.settings.max_associations + 16:
            return True
        silent = next((one for one in known if one.is_silent), None)
        if silent is not None:
            silent.hang_up()
        return silent is not None

    def handle_error(self, request: Any, _client_address: Any) -> None:
        """A connection could not become an association; the others go on."""
        log.error("association.fault", extra={"fault": "connection"})
        self.shutdown_request(request)

    def service_actions(self) -> None:
        """Nothing: the interpreter collects garbage by itself."""

    def stop_listening(self) -> None:
        """Accept no more connections; those accepted go on."""
        super(AssociationServer, self).shutdown()
        self.server_close()

    def _bind_defaults(self) -> None:
        for event in evt._INTERVENTION_EVENTS:
            self.bind(event, evt.get_default_handler(event))


def _plain_address(text: str) -> str:
    """An IPv4 address that arrived by an IPv6 socket, as IPv4."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
