"""The receiver's own process: nothing else can slow it down or take it with it."""

import queue
import signal
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from types import FrameType

import structlog
from pynetdicom import evt
from pynetdicom.presentation import PresentationContext, build_context

from dicomnode.deliver.commitment import answer_with
from dicomnode.domain.delivery import CommitmentReport, CommitmentRequest
from dicomnode.domain.errors import StoreError, StoreUnavailable
from dicomnode.domain.events import Event
from dicomnode.domain.sop_classes import STORAGE_COMMITMENT_PUSH
from dicomnode.keeping import KeptProcess
from dicomnode.logs import configure_process
from dicomnode.receive.commitment import take_requests
from dicomnode.receive.receiver import Receiver, start_receiver
from dicomnode.receive.settling import AGAIN_AFTER_S
from dicomnode.receive.tuning.process import tune_process
from dicomnode.settings import Settings
from dicomnode.store.commitments import keep_request
from dicomnode.store.database import Database
from dicomnode.store.deliveries import record_commitment
from dicomnode.store.events import log_events
from dicomnode.store.landing import SqlInstanceIndex

log = structlog.get_logger()

MOST_EVENTS_WAITING = 10_000

_Noted = tuple[Event, datetime]


def now() -> datetime:
    """The clock of the node."""
    return datetime.now(UTC)


class EventWriter:
    """Takes events at once and writes them in batches, so that receiving never waits for a log.

    While the index is away they wait: what was refused then is what a person will ask about.
    """

    def __init__(self, database: Database, again_after_s: float = AGAIN_AFTER_S) -> None:
        self._database = database
        self._again_after_s = again_after_s
        self._taken: queue.SimpleQueue[_Noted | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="events", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Have an event written soon."""
        self._taken.put((event, now()))

    def close(self) -> None:
        """Write what is left and end."""
        self._taken.put(None)
        self._thread.join(timeout=10)

    def _write(self) -> None:
        left: list[_Noted] = []
        is_open = True
        while is_open:
            batch = self._next(self._again_after_s if left else None)
            is_open = None not in batch
            left = self._unwritten([*left, *(one for one in batch if one is not None)])
            if len(left) > MOST_EVENTS_WAITING:
                _lose(left[:-MOST_EVENTS_WAITING], "too many wait for the index")
                left = left[-MOST_EVENTS_WAITING:]
        _lose(left, "the index was still away at the end")

    def _next(self, timeout_s: float | None) -> list[_Noted | None]:
        """All that has come; waits for the first, until `timeout_s` if there is a limit."""
        batch: list[_Noted | None] = []
        with suppress(queue.Empty):
            batch.append(self._taken.get(timeout=timeout_s))
            while True:
                batch.append(self._taken.get_nowait())
        return batch

    def _unwritten(self, events: Sequence[_Noted]) -> list[_Noted]:
        """Write them; return those to be written later."""
        try:
            log_events(self._database, events)
        except StoreUnavailable:
            return list(events)
        except StoreError as exc:
            _lose(events, str(exc))
        return []


def _lose(events: Sequence[_Noted], why: str) -> None:
    if events:
        names = sorted({event.name.value for event, _ in events})
        log.warning("events.lost", error=why, events=names, count=len(events))


def open_receiver(settings: Settings, database: Database, events: EventWriter) -> Receiver:
    """The receiver with its index; also hears N-EVENT-REPORTs for results we sent."""

    def keep(report: CommitmentReport) -> None:
        record_commitment(database, report, now())

    def keep_asked(request: CommitmentRequest) -> None:
        keep_request(database, request, now())

    askers = frozenset(one.ae_title for one in settings.receive.commitment)
    return start_receiver(
        settings.receive,
        ae_title=settings.ae_title,
        data_dir=settings.data_dir,
        index=SqlInstanceIndex(database, receiver=f"{settings.ae_title}@{socket.gethostname()}"),
        clock=now,
        on_event=events.put,
        extra_contexts=[_commitment_context(is_offered=bool(askers))],
        extra_handlers=[
            (evt.EVT_N_EVENT_REPORT, answer_with(keep)),
            *([(evt.EVT_N_ACTION, take_requests(keep_asked, askers))] if askers else []),
        ],
    )


def _commitment_context(*, is_offered: bool) -> PresentationContext:
    """Storage commitment where the peer, which requests the association, is SCP (PS3.4 J.3.3).

    And SCU, where we offer it to those who send to us.
    """
    context = build_context(STORAGE_COMMITMENT_PUSH)
    context.scu_role, context.scp_role = is_offered, True
    return context


def receive_until_told(settings: Settings, ready: Connection, parent_pid: int) -> None:
    """Entry of the process: report the port or the fault, receive until SIGTERM or orphaned."""
    configure_process(settings.log_level)
    tune_process()
    stop = threading.Event()

    def on_signal(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    # Ctrl-C reaches the whole group; the parent decides when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    database = Database(settings.index_url, settings.data_dir)
    events = EventWriter(database)
    try:
        receiver = open_receiver(settings, database, events)
    except Exception as exc:  # whatever it is, the parent has to tell it
        log.exception("receiver.failed")
        ready.send(f"{type(exc).__name__}: {exc}")
        return
    ready.send(receiver.port)
    receiver.serve_until(stop, parent_pid=parent_pid)
    events.close()


class ReceiverProcess(KeptProcess):
    """Keeps a receiver process running; starts it again if it dies."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, name="receiver", entry=receive_until_told)
