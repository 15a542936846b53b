"""From presentation data values (PS3.8 9.3.5) to C-STORE requests and other messages."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from dicomnode.receive.command import StoreRequest, read_command
from dicomnode.receive.errors import ProtocolBroken
from dicomnode.receive.status import Status

# PS3.8 E.2: message control header.
IS_COMMAND = 0x01
IS_LAST = 0x02

_LARGEST_COMMAND = 64 * 1024
_LARGEST_OTHER = 16 * 1024 * 1024
"""Data sets of messages other than C-STORE (e.g. a storage commitment report) stay in memory."""


class DataSetSink(Protocol):
    """Where a C-STORE data set goes. Implemented by `storing.Transfer`."""

    def write(self, chunk: memoryview) -> None:
        """Take the next bytes."""
        ...

    def finish(self) -> Status:
        """The data set is complete; what to answer."""
        ...

    def discard(self) -> None:
        """The data set will never be complete."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageHandlers:
    """What is done with messages."""

    begin_store: Callable[[int, StoreRequest], DataSetSink]
    """Context id, request; raises ProtocolBroken where the context was not accepted."""
    answer_store: Callable[[int, StoreRequest, Status], None]
    forward: Callable[[int, bytes], None]
    """Context id, and one whole fragment (control header byte first) of any other message."""


@dataclass(slots=True, kw_only=True)
class _Store:
    context_id: int
    request: StoreRequest
    sink: DataSetSink


class MessageStream:
    """Puts the fragments of one association together. C-STORE data sets stream through.

    Feed it pieces of PDVs as they come: a PDV need not be in memory as a whole.
    """

    def __init__(self, handlers: MessageHandlers) -> None:
        self._handlers = handlers
        self._command = bytearray()
        self._other = bytearray()
        self._store: _Store | None = None
        self._other_context: int | None = None

    @property
    def is_idle(self) -> bool:
        """True between two messages."""
        return not self._command and self._store is None and self._other_context is None

    def feed(self, context_id: int, control: int, piece: memoryview, *, is_end: bool) -> None:
        """Take a piece of a PDV; `is_end` says that it is the PDV's last.

        Raises:
            ProtocolBroken: commands and data sets do not follow one another as they must.
        """
        if control & IS_COMMAND:
            self._feed_command(context_id, control, piece, is_end)
        elif self._store is not None:
            self._feed_store(self._store, context_id, control, piece, is_end)
        elif self._other_context == context_id:
            self._feed_other(context_id, control, piece, is_end)
        else:
            raise ProtocolBroken("data set fragment without a command")

    def discard(self) -> None:
        """The association ended: an unfinished data set leaves nothing behind."""
        if self._store is not None:
            store, self._store = self._store, None
            store.sink.discard()

    def _feed_command(self, context_id: int, control: int, piece: memoryview, is_end: bool) -> None:
        if self._store is not None or self._other_context is not None:
            raise ProtocolBroken("command fragment in the middle of a data set")
        if len(self._command) + len(piece) > _LARGEST_COMMAND:
            raise ProtocolBroken("command set is too long")
        self._command += piece
        if is_end and control & IS_LAST:
            command, self._command = bytes(self._command), bytearray()
            self._begin(context_id, command)

    def _begin(self, context_id: int, command: bytes) -> None:
        read = read_command(command)
        request = read.store_request
        if request is None:
            self._other_context = context_id if read.has_data_set else None
            self._handlers.forward(context_id, bytes([IS_COMMAND | IS_LAST]) + command)
            return
        sink = self._handlers.begin_store(context_id, request)
        if request.has_data_set:
            self._store = _Store(context_id=context_id, request=request, sink=sink)
        else:
            self._handlers.answer_store(context_id, request, sink.finish())

    def _feed_store(
        self, store: _Store, context_id: int, control: int, piece: memoryview, is_end: bool
    ) -> None:
        if context_id != store.context_id:
            raise ProtocolBroken("data set fragment in another context than its command")
        store.sink.write(piece)
        if is_end and control & IS_LAST:
            # Not before the answer is decided: until then an abort must find the sink.
            status = store.sink.finish()
            self._store = None
            self._handlers.answer_store(context_id, store.request, status)

    def _feed_other(self, context_id: int, control: int, piece: memoryview, is_end: bool) -> None:
        if len(self._other) + len(piece) > _LARGEST_OTHER:
            raise ProtocolBroken("data set of a message other than C-STORE is too long")
        self._other += piece
        if is_end and control & IS_LAST:
            data_set, self._other = bytes(self._other), bytearray()
            self._other_context = None
            self._handlers.forward(context_id, bytes([IS_LAST]) + data_set)
