"""What comes by STOW-RS, landed as C-STORE lands it: one request is one association."""

import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from dicomnode.domain.errors import DiskFault, InstanceUnreadable, ReceiveError
from dicomnode.domain.events import Event, EventName
from dicomnode.domain.instances import Association, Service
from dicomnode.domain.receiving import STOW_SPOOL
from dicomnode.receive.command import StoreRequest
from dicomnode.receive.contexts import TRANSFER_SYNTAXES, storage_sop_classes
from dicomnode.receive.errors import OtherStudy
from dicomnode.receive.file_meta import FileMeta
from dicomnode.receive.index import InstanceIndex
from dicomnode.receive.landing import LandingSite
from dicomnode.receive.part10 import HeadReader
from dicomnode.receive.spool import DiskReserve
from dicomnode.receive.status import Status
from dicomnode.receive.storing import AcceptedContext, OnEvent, StoreSession, Storing, Transfer
from dicomnode.receive.sweep import sweep
from dicomnode.settings import ReceiveSettings

UNSUPPORTED_CLASS = Status(
    code=0x0122, comment="SOP Class is not supported", clause="PS3.18 10.5.3"
)
UNSUPPORTED_SYNTAX = Status(
    code=0xC122, comment="Transfer syntax is not supported", clause="PS3.18 I.2.2"
)
UNREADABLE = Status(code=0xC000, comment="The file cannot be read", clause="PS3.18 I.2.2")
OTHER_STUDY = Status(
    code=0xC001, comment="It belongs to another study than the request", clause="PS3.18 I.2.2"
)


class StowDesk:
    """Takes STOW requests for one data folder. Shared by all of them."""

    def __init__(
        self,
        settings: ReceiveSettings,
        *,
        ae_title: str,
        data_dir: Path,
        index: InstanceIndex,
        clock: Callable[[], datetime],
        on_event: OnEvent,
        new_id: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self.site = LandingSite(data_dir, index, spool=STOW_SPOOL, service=Service.STOW)
        self.reserve = DiskReserve(data_dir, settings.reserve_mb << 20)
        self._ae_title = ae_title
        self._new_id = new_id
        self._storing = Storing(
            site=self.site, reserve=self.reserve, clock=clock, on_event=on_event, write=os.write
        )
        self._classes = frozenset((*storage_sop_classes(), *settings.private_sop_classes))
        self._places = threading.BoundedSemaphore(settings.max_associations)

    def open(self) -> Self:
        """Repair what a crash left, before the first request.

        Raises:
            StoreError: the index is not available.
            OSError: the folder cannot be written.
        """
        self.site.prepare()
        sweep(self.site, self._storing.clock)
        return self

    def enter(self, user: str, address: str) -> StoreSession | None:
        """A session for one request, which must `leave`; None: too many are under way.

        Raises:
            StorageFull: the disk has less free space than the reserve.
        """
        self.reserve.check()
        if not self._places.acquire(blocking=False):
            return None
        association = Association(
            id=self._new_id(),
            # Where an AE title is expected, 16 characters of it have room.
            calling_ae=user[:16],
            called_ae=self._ae_title,
            address=address,
            opened_at=self._storing.clock(),
            service=Service.STOW,
        )
        facts = {"calling_ae": association.calling_ae, "address": address, "service": "STOW"}
        self._storing.on_event(
            Event(name=EventName.ASSOCIATION_OPENED, association_id=association.id, facts=facts)
        )
        return StoreSession(self._storing, association)

    def leave(self) -> None:
        """The request of a session has ended; the session is closed."""
        self._places.release()

    def takes(self, meta: FileMeta) -> Status | None:
        """Why such a file is not taken; None if it is."""
        if meta.sop_class_uid not in self._classes:
            return UNSUPPORTED_CLASS
        if meta.transfer_syntax_uid not in TRANSFER_SYNTAXES:
            return UNSUPPORTED_SYNTAX
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stowed:
    """What became of one file of a request."""

    meta: FileMeta | None
    """As the file's head says; None if it could not be read."""
    status: Status
    study_uid: str = ""
    series_uid: str = ""


class IncomingFile:
    """One file of a request on its way, from its first byte to its status."""

    def __init__(
        self, desk: StowDesk, session: StoreSession, look: Callable[[Path], tuple[str, str]]
    ) -> None:
        """`look` reads study and series UID of a complete file.

        It raises InstanceUnreadable, or OtherStudy to have it refused.
        """
        self._desk = desk
        self._session = session
        self._look = look
        self._head: HeadReader | None = HeadReader()
        self._meta: FileMeta | None = None
        self._transfer: Transfer | None = None
        self._refused: Status | None = None

    def write(self, piece: memoryview) -> None:
        """Take the next bytes. Those of a refused file are dropped."""
        if self._transfer is not None:
            self._transfer.write(piece)
        elif self._head is not None and self._refused is None:
            try:
                found = self._head.feed(piece)
            except InstanceUnreadable as exc:
                self._refuse(exc, UNREADABLE)
                return
            if found is not None:
                self._begin(*found)

    def finish(self) -> Stowed:
        """All bytes have come: keep it and say what became of it."""
        if self._transfer is None:
            if self._refused is None:
                self._refuse(InstanceUnreadable("the file ends in its head"), UNREADABLE)
            assert self._refused is not None
            return Stowed(meta=self._meta, status=self._refused)
        path = self._transfer.path
        if path is None:
            return Stowed(meta=self._meta, status=self._transfer.finish())
        try:
            study_uid, series_uid = self._look(path)
        except OtherStudy as exc:
            self._transfer.refuse(exc)
            return Stowed(meta=self._meta, status=OTHER_STUDY)
        except InstanceUnreadable as exc:
            self._transfer.refuse(exc)
            return Stowed(meta=self._meta, status=UNREADABLE)
        except DiskFault as exc:
            return Stowed(meta=self._meta, status=self._transfer.refuse(exc))
        return Stowed(
            meta=self._meta,
            status=self._transfer.finish(),
            study_uid=study_uid,
            series_uid=series_uid,
        )

    def discard(self) -> None:
        """The rest will never come: leave nothing behind."""
        if self._transfer is not None:
            self._transfer.discard()

    def _begin(self, meta: FileMeta, first: bytes) -> None:
        self._head, self._meta = None, meta
        refused = self._desk.takes(meta)
        if refused is not None:
            self._refuse(ReceiveError(refused.comment), refused)
            return
        request = StoreRequest(
            message_id=0,
            sop_class_uid=meta.sop_class_uid,
            sop_instance_uid=meta.sop_instance_uid,
            has_data_set=True,
        )
        context = AcceptedContext(
            abstract_syntax=meta.sop_class_uid, transfer_syntax=meta.transfer_syntax_uid
        )
        self._transfer = self._session.begin(request, context)
        self._transfer.write(memoryview(first))

    def _refuse(self, error: ReceiveError, status: Status) -> None:
        self._session.refuse(error)
        self._refused = status
