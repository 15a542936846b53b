"""The receiver as a whole: started, stopped, waited for."""

import fcntl
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TextIO

from pynetdicom.ae import ApplicationEntity
from pynetdicom.presentation import PresentationContext

from dicomnode.domain.events import Event, EventName
from dicomnode.domain.receiving import SPOOL
from dicomnode.domain.tls import FreshContext, server_context
from dicomnode.receive.contexts import storage_sop_classes, supported_contexts
from dicomnode.receive.errors import FolderInUse
from dicomnode.receive.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomnode.receive.index import InstanceIndex
from dicomnode.receive.landing import LandingSite
from dicomnode.receive.reception import Reception
from dicomnode.receive.spool import DiskReserve, Write
from dicomnode.receive.storing import OnEvent, Storing
from dicomnode.receive.sweep import Swept, sweep
from dicomnode.receive.tuning.server import EventHandler, ReceiverAssociation, ReceiverServer
from dicomnode.settings import ReceiveSettings

_STOP_LATENCY_S = 0.1


class StopEvent(Protocol):
    """`threading.Event` or `multiprocessing.Event`."""

    def wait(self, timeout: float | None = None) -> bool:
        """True once it is set."""
        ...


def start_receiver(
    settings: ReceiveSettings,
    *,
    ae_title: str,
    data_dir: Path,
    index: InstanceIndex,
    clock: Callable[[], datetime],
    on_event: OnEvent,
    new_id: Callable[[], str] = lambda: secrets.token_hex(8),
    extra_contexts: Sequence[PresentationContext] = (),
    extra_handlers: Sequence[EventHandler] = (),
    port: int | None = None,
    write: Write = os.write,
) -> "Receiver":
    """Repair what a crash left, open the port, and receive in threads until stopped.

    `extra_contexts` with `extra_handlers` are services of other rooms on the same port, such as
    the N-EVENT-REPORT of storage commitment (PS3.4 J.3). `port` 0 takes a free one; None the
    settings'.

    Raises:
        FolderInUse: another receiver writes into `data_dir`.
        StoreError: the index is not available.
        OSError: the folder cannot be written, or the port is taken.
    """
    site = LandingSite(data_dir, index)
    site.prepare()
    with ExitStack() as unless_started:
        lock = unless_started.enter_context(_lock_folder(data_dir / SPOOL))
        swept = sweep(site, clock)
        on_event(Event(name=EventName.SPOOL_SWEPT, facts=_facts(swept)))
        storing = Storing(
            site=site,
            reserve=DiskReserve(data_dir, settings.reserve_mb << 20),
            clock=clock,
            on_event=on_event,
            write=write,
        )
        reception = Reception(settings, own_ae=ae_title, storing=storing, new_id=new_id)
        secure = _fresh_context(settings, reception)

        def listen(on_port: int, tls: FreshContext | None) -> ReceiverServer:
            server = ReceiverServer(
                _entity(settings, ae_title),
                (settings.host, on_port),
                ae_title,
                supported_contexts(settings.private_sop_classes, extra_contexts),
                handlers=extra_handlers,
                reception=reception,
                storage_sop_classes=frozenset(
                    (*storage_sop_classes(), *settings.private_sop_classes)
                ),
                tls=tls,
            )
            unless_started.callback(server.server_close)
            return server

        plain_port = settings.port if port is None else port
        plain = None if settings.tls and settings.tls.only else listen(plain_port, None)
        encrypted = listen(settings.tls.port, secure) if settings.tls else None
        unless_started.pop_all()
    return Receiver(plain, encrypted, reception, lock, swept)


def _fresh_context(settings: ReceiveSettings, reception: Reception) -> FreshContext | None:
    if settings.tls is None:
        return None
    return FreshContext(settings.tls.files, server_context, reception.note_stale_certificate)


class Receiver:
    """A running receiver. A context manager: leaving it stops it."""

    def __init__(
        self,
        plain: ReceiverServer | None,
        encrypted: ReceiverServer | None,
        reception: Reception,
        lock: TextIO,
        swept: Swept,
    ) -> None:
        self.swept = swept
        """What the start found and repaired."""
        self._encrypted = encrypted
        self._servers = [server for server in (plain, encrypted) if server is not None]
        self._reception = reception
        self._lock = lock
        self._is_stopped = False
        self._threads = [
            threading.Thread(
                target=server.serve_forever, args=(_STOP_LATENCY_S,), name="receiver", daemon=True
            )
            for server in self._servers
        ]
        for thread in self._threads:
            thread.start()

    @property
    def port(self) -> int:
        """The port that is listened on, without TLS if there is one without."""
        return int(self._servers[0].server_address[1])

    @property
    def tls_port(self) -> int | None:
        """The port for TLS; None: there is none."""
        return int(self._encrypted.server_address[1]) if self._encrypted else None

    @property
    def open_associations(self) -> int:
        """How many connections there are at the moment."""
        return len(self._associations())

    def stop(self, drain_s: float = 10.0) -> None:
        """Stop in good order, after `drain_s` seconds at the latest.

        No new peers; each association is aborted once the data set on its way is answered.
        """
        if self._is_stopped:
            return
        self._is_stopped = True
        self._reception.drain()
        for server in self._servers:
            server.stop_listening()
        for thread in self._threads:
            thread.join()
        for association in self._associations():
            association.drain()
        self._wait_for_associations(drain_s)
        for association in self._associations():
            association.abort(block=False)
        self._wait_for_associations(1.0)
        self._lock.close()

    def serve_until(self, stop: StopEvent, *, parent_pid: int | None = None) -> None:
        """Receive until `stop` is set, or the process `parent_pid` is no longer our parent."""
        while not stop.wait(1.0):
            if parent_pid is not None and os.getppid() != parent_pid:
                break
        self.stop()

    def _wait_for_associations(self, longest_s: float) -> None:
        deadline = time.monotonic() + longest_s
        for association in self._associations():
            association.join(max(0.0, deadline - time.monotonic()))

    def _associations(self) -> list[ReceiverAssociation]:
        return [one for server in self._servers for one in server.associations]

    def __enter__(self) -> Self:
        """Itself; it already runs."""
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()


def _entity(settings: ReceiveSettings, ae_title: str) -> ApplicationEntity:
    entity = ApplicationEntity(ae_title)
    entity.maximum_pdu_size = settings.max_pdu
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.network_timeout = settings.idle_timeout_s
    entity.acse_timeout = min(30.0, settings.idle_timeout_s)
    entity.dimse_timeout = settings.idle_timeout_s
    # `admission` decides, for it also knows who is asking.
    entity.maximum_associations = 1_000_000
    return entity


def _lock_folder(spool: Path) -> TextIO:
    """Hold the spool for this process; the system lets go when it ends, however it ends."""
    lock = (spool / ".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        lock.close()
        raise FolderInUse(f"another receiver writes into {spool.parent}") from exc
    return lock


def _facts(swept: Swept) -> dict[str, int]:
    return {
        "spool_files_removed": swept.spool_files_removed,
        "rows_rebuilt": swept.rows_rebuilt,
        "files_unreadable": swept.files_unreadable,
        "files_unread": swept.files_unread,
        "files_missing": swept.files_missing,
        "associations_closed": swept.associations_closed,
    }
