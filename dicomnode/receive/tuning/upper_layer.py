"""The upper layer of one association (PS3.8): waits instead of polling, streams C-STORE."""

import logging
import queue
import struct
from collections.abc import Callable
from typing import Any, cast

from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu import A_ABORT_RQ
from pynetdicom.pdu_primitives import P_DATA

from dicomnode.receive.command import StoreRequest, write_store_response
from dicomnode.receive.errors import ConnectionLost, PeerSilent, ProtocolBroken
from dicomnode.receive.messages import (
    IS_COMMAND,
    IS_LAST,
    DataSetSink,
    MessageHandlers,
    MessageStream,
)
from dicomnode.receive.status import Status
from dicomnode.receive.tuning.connection import ReceiverSocket
from dicomnode.receive.tuning.wakeups import LONGEST_NAP_S, Doorbell, RingingQueue

_LARGEST_PDU_IN_MEMORY = 1024 * 1024
"""For every PDU but P-DATA in an association. An A-ASSOCIATE-RQ of 128 contexts has some 100 KB."""
_P_DATA_TF = 0x04
_PDU_HEADER = struct.Struct(">BxI")
"""Type and length of what follows (PS3.8 9.3.1)."""
_PDV_HEADER = struct.Struct(">IBB")
"""Length of what follows, context id, message control header (PS3.8 9.3.5.1, E.2)."""

log = logging.getLogger(__name__)


class ReceiverDUL(DULServiceProvider):
    """The upper layer of one association: waits instead of polling, streams C-STORE."""

    def __init__(
        self,
        assoc: Association,
        *,
        wake_association: Callable[[], None],
        begin_store: Callable[[int, StoreRequest], DataSetSink],
    ) -> None:
        super().__init__(assoc)
        self.daemon = True
        self.doorbell = Doorbell()
        self.to_provider_queue = RingingQueue(self.doorbell.ring)
        self.to_user_queue = RingingQueue(wake_association)
        self.was_lost = False
        self._kind = (0, 0)
        """Context id, and whether command, of the PDVs that are gathered."""
        self._control = 0
        self.is_draining = False
        self._is_busy = False
        self._messages = MessageStream(
            MessageHandlers(
                begin_store=begin_store,
                answer_store=self._answer_store,
                forward=self._forward,
            )
        )

    def idle_timer_expired(self) -> bool:
        """True if the peer is silent, other than within a PDU, where the socket watches it."""
        return not self._is_busy and super().idle_timer_expired()

    @property
    def connection(self) -> ReceiverSocket:
        """The socket, which an accepted association has from its start."""
        assert isinstance(self.socket, ReceiverSocket)
        return self.socket

    def run_reactor(self) -> None:
        """The thread: until killed, do what there is to do, else wait."""
        self._idle_timer.start()
        self.connection.listen_to(self.doorbell)
        self.assoc._dul_ready.set()
        try:
            while not self._kill_thread:
                self._turn()
        except Exception as exc:  # noqa: BLE001 (peers send anything; one must not end the receiver)
            # The message of a foreign error may hold what the peer sent: only its kind is logged.
            log.error(  # noqa: TRY400
                "association.fault", extra={"fault": type(exc).__name__}
            )
            self._give_up()
        finally:
            self._messages.discard()
            self.connection.let_go()
            self.doorbell.close()
            # Whoever waits for a PDU learns that none will come.
            cast("Any", self.to_user_queue).put(None)

    def _turn(self) -> None:
        if self.artim_timer.expired:
            self.event_queue.put("Evt18")
        if self.is_draining and self._messages.is_idle:
            self.is_draining = False
            self.assoc.abort(block=False)
        if not self._process_recv_primitive() and self._is_transport_event():
            self._idle_timer.restart()
            self._is_busy = False
        try:
            event = self.event_queue.get_nowait()
        except queue.Empty:
            if not self._kill_thread:
                self.connection.nap(self._longest_nap_s())
        else:
            self.state_machine.do_action(event)

    def _longest_nap_s(self) -> float:
        if self.artim_timer.timeout is None:
            return LONGEST_NAP_S
        return max(0.0, min(LONGEST_NAP_S, float(self.artim_timer.remaining)))

    def _is_transport_event(self) -> bool:
        if self.state_machine.current_state == "Sta13":
            # Nothing the peer still says matters (PS3.8 9.2.3).
            self.connection.hang_up()
            return True
        return super()._is_transport_event()

    def _read_pdu_data(self) -> None:
        """Read one PDU; a fault becomes an event of the state machine."""
        self._is_busy = True
        try:
            self._read_pdu()
            while self._may_read_on():
                self._read_pdu()
            self._feed_gathered(is_end=False)
        except ConnectionLost:
            self._messages.discard()
            self.was_lost = True
            self.event_queue.put("Evt17")
        except (ProtocolBroken, PeerSilent) as exc:
            self._messages.discard()
            log.warning("association.broken", extra={"reason": str(exc)})
            self.event_queue.put("Evt19")

    def _may_read_on(self) -> bool:
        """True if the next PDU has begun to arrive and nothing else waits to be done."""
        return (
            self.connection.holds_bytes
            and not self.event_queue.queue
            and not self.to_provider_queue.queue
            and not self.is_draining
        )

    def _read_pdu(self) -> None:
        connection = self.connection
        if not connection.holds(_PDU_HEADER):
            self._feed_gathered(is_end=False)
        kind, length = connection.peek(_PDU_HEADER)
        if kind == _P_DATA_TF and self.state_machine.current_state == "Sta6":
            connection.take_header(_PDU_HEADER)
            self._stream(connection, length)
            return
        if length > _LARGEST_PDU_IN_MEMORY:
            raise ProtocolBroken("PDU is too long")
        super()._read_pdu_data()

    def _stream(self, connection: ReceiverSocket, length: int) -> None:
        """Feed the PDVs of a P-DATA-TF PDU (PS3.8 9.3.5) on, in pieces as they come."""
        while length:
            if length < _PDV_HEADER.size:
                raise ProtocolBroken("PDU ends in the middle of a PDV header")
            if not connection.holds(_PDV_HEADER):
                self._feed_gathered(is_end=False)
            size, context_id, control = connection.take_header(_PDV_HEADER)
            if size < 2 or size + 4 > length:
                raise ProtocolBroken("PDV does not fit its PDU")
            if (context_id, control & IS_COMMAND) != self._kind:
                self._feed_gathered(is_end=False)
                self._kind = (context_id, control & IS_COMMAND)
            self._control = control
            length -= size + 4
            left = size - 2
            while left:
                gathered = connection.gather(left)
                left -= gathered
                if not gathered:
                    self._feed_gathered(is_end=False)
                    connection.fill()
            if control & IS_LAST:
                self._feed_gathered(is_end=True)

    def _feed_gathered(self, *, is_end: bool) -> None:
        """Pass on what is gathered: at the end of a message, and before the buffer is needed."""
        run = self.connection.take_run()
        if run or is_end:
            self._messages.feed(self._kind[0], self._control, run, is_end=is_end)

    def _answer_store(self, context_id: int, request: StoreRequest, status: Status) -> None:
        """Send a C-STORE-RSP as one P-DATA-TF PDU (PS3.8 9.3.5, E.2)."""
        command = write_store_response(
            request, status.code, status.comment, with_uids=status.may_repeat_uids
        )
        pdv = struct.pack(">IBB", len(command) + 2, context_id, 0x03) + command
        self.connection.send(struct.pack(">BBI", _P_DATA_TF, 0, len(pdv)) + pdv)

    def _forward(self, context_id: int, fragment: bytes) -> None:
        """Give a message other than C-STORE to pynetdicom."""
        primitive = P_DATA()
        primitive.presentation_data_value_list = []
        primitive.presentation_data_value_list.append((context_id, fragment))
        self.assoc.dimse.receive_primitive(primitive)

    def _give_up(self) -> None:
        """End an association whose state machine can no longer be trusted."""
        abort = A_ABORT_RQ()
        abort.source = 0x02
        abort.reason_diagnostic = 0x00
        if self.connection.socket is not None:
            self.connection.send(abort.encode())
        self.assoc.is_aborted = True
        self.assoc.is_established = False
        self.assoc._kill = True
        self._kill_thread = True
