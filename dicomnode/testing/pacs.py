"""A receiving PACS in one class: C-ECHO, C-STORE, C-FIND, storage commitment.

For demonstrations and tests. It keeps files in a folder and its index in memory, has no access
control, and misbehaves on request. Not an archive.
"""

import logging
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from socketserver import TCPServer
from types import TracebackType
from typing import Self, cast

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class
from pynetdicom.transport import AssociationSocket, ThreadedAssociationServer

from dicomnode.domain.errors import InvalidUid
from dicomnode.domain.identifiers import checked_uid
from dicomnode.domain.sop_classes import STORAGE_COMMITMENT_PUSH, STUDY_ROOT_FIND, VERIFICATION
from dicomnode.testing.misbehaviour import Misbehaviour, keeps
from dicomnode.testing.modality import StoreAnswer, send_study
from dicomnode.testing.pacs_commitment import ReportTo, commitment_result, report_on, report_on_new
from dicomnode.testing.pacs_index import StoredInstance, find_matches, index_file

_config.LOG_HANDLER_LEVEL = "none"
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)

_UNSUPPORTED_QUERY, _CANNOT_UNDERSTAND, _PROCESSING_FAILURE = 0xA900, 0xC000, 0x0110
_SERVICES = (VERIFICATION, STUDY_ROOT_FIND, STORAGE_COMMITMENT_PUSH)


class _PromptServer(ThreadedAssociationServer):
    """Stops in a twentieth of a second instead of half a second."""

    request_queue_size = 128

    def serve_forever(self, poll_interval: float = 0.05) -> None:
        super().serve_forever(poll_interval)

    def service_actions(self) -> None:
        """Nothing: a full garbage collection here would stall whoever embeds the PACS."""

    def shutdown(self) -> None:
        TCPServer.shutdown(self)
        self.server_close()


class EmbeddedPacs:
    """Serves while in `with`; stop it and start it again to be down and then up on one port.

    `report_to` names the AE that commitment reports go to on a new association; without it they
    go back on the association that asked.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ae_title: str = "ARCHIVE",
        host: str = "127.0.0.1",
        port: int = 0,
        misbehaviour: Misbehaviour | None = None,
        report_to: ReportTo | None = None,
    ) -> None:
        self.ae_title = ae_title
        self.host = host
        self.port = port
        """0 until started, if 0 was asked for."""
        self._folder = folder
        self._report_to = report_to
        self._misbehaviour = misbehaviour or Misbehaviour()
        self._stored: dict[str, StoredInstance] = {}
        self._answers: list[StoreAnswer] = []
        self._asked = 0
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._reports: list[threading.Thread] = []
        self._pending: dict[Association, Dataset] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Open the port; what was stored before is still known."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._closing = threading.Event()
        self._ae = AE(ae_title=self.ae_title)
        self._ae.maximum_associations = 100
        self._ae.add_supported_context(VERIFICATION)
        self._server = cast(
            "_PromptServer",
            self._ae.make_server(
                (self.host, self.port),
                evt_handlers=self._handlers(),
                server_class=_PromptServer,
            ),
        )
        self.port = int(self._server.server_address[1])
        self._serving = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._serving.start()

    def _handlers(self) -> list[evt.EventHandlerType]:
        return [
            (evt.EVT_CONN_OPEN, _send_at_once),
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_PDU_RECV, self._on_received),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_C_FIND, self._on_find),
            (evt.EVT_N_ACTION, self._on_action),
            (evt.EVT_DIMSE_SENT, self._on_answering),
            (evt.EVT_PDU_SENT, self._on_sent),
        ]

    def stop(self) -> None:
        """Abort what is open and close the port."""
        self._closing.set()
        self._server.shutdown()
        self._serving.join()
        self._ae.shutdown()
        for thread in self._reports:
            thread.join()
        self._reports.clear()

    @property
    def misbehaviour(self) -> Misbehaviour:
        """What is done wrong on purpose; may be set while running."""
        return self._misbehaviour

    @misbehaviour.setter
    def misbehaviour(self, value: Misbehaviour) -> None:
        with self._changed:
            self._misbehaviour = value
            self._asked = 0

    @property
    def stored(self) -> tuple[StoredInstance, ...]:
        """What the PACS holds, in order of first arrival."""
        with self._changed:
            return tuple(self._stored.values())

    @property
    def answers(self) -> tuple[StoreAnswer, ...]:
        """Every C-STORE it answered, in order, repetitions included."""
        with self._changed:
            return tuple(self._answers)

    def wait_until(
        self, holds: Callable[[Sequence[StoredInstance]], bool], timeout_s: float
    ) -> bool:
        """Wait until `holds(stored)`, at most `timeout_s`; False if it still does not."""
        with self._changed:
            return self._changed.wait_for(lambda: holds(tuple(self._stored.values())), timeout_s)

    def send_study(
        self,
        paths: Sequence[Path],
        *,
        host: str,
        port: int,
        called_ae: str,
        progress: Callable[[int, int], None] = lambda _sent, _all: None,
    ) -> tuple[StoreAnswer, ...]:
        """Route files to a peer, as an auto-routing PACS does; see `modality.send_study`."""
        return send_study(
            paths,
            host=host,
            port=port,
            called_ae=called_ae,
            calling_ae=self.ae_title,
            progress=progress,
        )

    def _on_requested(self, event: evt.Event) -> None:
        wrong = self._misbehaviour
        # Chosen per request: a list of every storage class is slow to copy for each association.
        event.assoc.acceptor.supported_contexts = _contexts_for(
            event.assoc.requestor.requested_contexts, wrong
        )
        if wrong.reject is not None:
            event.assoc.acse.send_reject(*wrong.reject.value)
            # Ends only after the rejection has left; otherwise the socket is shut before it.
            event.assoc.kill()

    def _on_received(self, event: evt.Event) -> None:
        if self._misbehaviour.stop_reading and isinstance(event.pdu, P_DATA_TF):
            self._closing.wait()

    def _on_store(self, event: evt.Event) -> int | Dataset:
        with self._changed:
            self._asked += 1
            number, wrong = self._asked, self._misbehaviour
        if wrong.never_answer:
            self._closing.wait()
        while wrong.answer_when is not None and not self._closing.is_set():
            if wrong.answer_when.wait(0.1):
                break
        if wrong.answer_after_s:
            self._closing.wait(wrong.answer_after_s)
        if wrong.abort_after is not None and number > wrong.abort_after:
            event.assoc.abort()
            return _PROCESSING_FAILURE
        request = cast("C_STORE", event.request)
        status = wrong.answer_to(number, str(request.AffectedSOPClassUID))
        if keeps(status) and not wrong.forget:
            status = self._keep(event) or status
        with self._changed:
            uid = str(request.AffectedSOPInstanceUID)
            self._answers.append(StoreAnswer(sop_instance_uid=uid, status=status))
            self._changed.notify_all()
        answer = Dataset()
        answer.Status = status
        if wrong.store_comment and status == wrong.store_status:
            answer.ErrorComment = wrong.store_comment
        return answer

    def _keep(self, event: evt.Event) -> int:
        """Write and index one instance; 0 or the failure status."""
        try:
            uid = checked_uid(str(cast("C_STORE", event.request).AffectedSOPInstanceUID))
        except InvalidUid:
            return _CANNOT_UNDERSTAND
        path = self._folder / f"{uid}.dcm"
        partial = path.with_suffix(".part")
        partial.write_bytes(_file_of(event))
        partial.replace(path)
        instance = index_file(path)
        with self._changed:
            self._stored[uid] = instance
        return 0

    def _on_find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        wrong = self._misbehaviour
        query = event.identifier
        if wrong.find_status is not None:
            yield wrong.find_status, None
            return
        if str(query.get("QueryRetrieveLevel", "")) in wrong.refuse_find_levels:
            yield _UNSUPPORTED_QUERY, None
            return
        try:
            answers = find_matches(query, self.stored, ignore_keys=wrong.ignore_find_keys)
        except ValueError:
            yield _UNSUPPORTED_QUERY, None
            return
        for answer in answers:
            if wrong.omit_counts:
                _remove_counts(answer)
            yield 0xFF00, answer

    def _on_action(self, event: evt.Event) -> tuple[int, None]:
        wrong = self._misbehaviour
        if wrong.commitment_status == 0 and not wrong.commitment_silent:
            self._pending[event.assoc] = event.action_information
        return wrong.commitment_status, None

    def _on_answering(self, event: evt.Event) -> None:
        command = event.message.command_set
        if self._misbehaviour.answer_wrong_message and "MessageIDBeingRespondedTo" in command:
            command.MessageIDBeingRespondedTo = command.MessageIDBeingRespondedTo % 0xFFFF + 1

    def _on_sent(self, event: evt.Event) -> None:
        """Report once the answer to N-ACTION has left."""
        information = self._pending.pop(event.assoc, None)
        if information is None:
            return
        thread = threading.Thread(target=self._report, args=(event.assoc, information), daemon=True)
        self._reports.append(thread)
        thread.start()

    def _report(self, assoc: Association, information: Dataset) -> None:
        held = {instance.sop_instance_uid: instance.sop_class_uid for instance in self.stored}
        result = commitment_result(information, held, self._misbehaviour.commitment_fails_for)
        if self._report_to is None:
            report_on(assoc, result)
        else:
            report_on_new(self._report_to, self.ae_title, result)


def _contexts_for(
    requested: Sequence[PresentationContext], wrong: Misbehaviour
) -> list[PresentationContext]:
    """Our services and every storage class, in whatever syntaxes are proposed."""
    syntaxes: dict[str, list[str | UID]] = {}
    for cx in requested:
        syntaxes.setdefault(str(cx.abstract_syntax), []).extend(cx.transfer_syntax)
    supported = []
    for sop_class, proposed in syntaxes.items():
        is_storage = uid_to_service_class(sop_class) is StorageServiceClass
        if sop_class in wrong.refuse_sop_classes or not (is_storage or sop_class in _SERVICES):
            continue
        only = wrong.only_transfer_syntax if is_storage else None
        supported.append(build_context(sop_class, [only] if only else proposed))
    return supported


def _send_at_once(event: evt.Event) -> None:
    line = cast("AssociationSocket", event.assoc.dul.socket).socket
    if line is not None:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _file_of(event: evt.Event) -> bytes:
    """The PS3.10 file, whichever way pynetdicom was told to receive."""
    if _config.STORE_RECV_CHUNKED_DATASET:
        return event.dataset_path.read_bytes()
    return event.encoded_dataset()


def _remove_counts(answer: Dataset) -> None:
    for element in list(answer):
        if element.keyword.startswith("NumberOf"):
            del answer[element.tag]
