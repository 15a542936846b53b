"""The C-STORE requests of one association: from command to status."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from dicomnode.domain.errors import (
    DicomNodeError,
    DiskFault,
    InstanceUnreadable,
    StorageFull,
    StoreError,
)
from dicomnode.domain.events import Event, EventName
from dicomnode.domain.identifiers import InstanceUid, checked_uid
from dicomnode.domain.instances import Association, Landing, ReceivedInstance
from dicomnode.domain.receiving import AssociationOutcome, association_folder
from dicomnode.receive.command import StoreRequest
from dicomnode.receive.errors import SopClassMismatch
from dicomnode.receive.file_meta import FileMeta, write_file_head
from dicomnode.receive.landing import LandingSite
from dicomnode.receive.settling import Unsettled
from dicomnode.receive.spool import DiskReserve, Folder, SpoolFile, Write
from dicomnode.receive.status import SUCCESS, Status, status_of

OnEvent = Callable[[Event], None]
"""Takes an event at once, from any thread, and does not raise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedContext:
    """An accepted presentation context."""

    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Storing:
    """What all associations of one receiver share."""

    site: LandingSite
    reserve: DiskReserve
    clock: Callable[[], datetime]
    on_event: OnEvent
    write: Write
    unsettled: Unsettled = field(default_factory=Unsettled)
    """Associations that ended while the index, or the disk, took nothing."""


class StoreSession:
    """All that one association stores. Used by one thread at a time."""

    def __init__(self, storing: Storing, association: Association) -> None:
        self.storing = storing
        self.association = association
        self._folder = association_folder(storing.site.data_dir, association)
        self._spool_folder = storing.site.spool
        self._count = 0
        self._tally = {"kept": 0, "duplicates": 0, "conflicts": 0, "refused": 0}
        self._open_folder: Folder | None = None
        self._reported: set[str] = set()
        self._unsettled: list[ReceivedInstance] = []

    def begin(self, request: StoreRequest, context: AcceptedContext) -> "Transfer":
        """Take up a request. Never raises: a refused one is read to its end, then answered."""
        try:
            instance_meta = _checked(request, context)
            if self._open_folder is None:
                # First: a full disk may be the index's as well, and is the truer answer.
                self.storing.reserve.check()
                self._open_folder = self.storing.site.open_folder(self.association)
            self._count += 1
            return Transfer(self, self._spool(instance_meta), instance_meta, self._count)
        except DicomNodeError as exc:
            return Transfer(self, None, None, self._count, self.refuse(exc))

    def land(self, spool: SpoolFile, meta: FileMeta, number: int) -> Status:
        """Bring a complete data set to its place.

        Raises:
            StorageFull, DiskFault, StoreError: it may not be acknowledged.
        """
        assert self._open_folder is not None
        sha256 = spool.flush()
        instance = ReceivedInstance(
            sop_instance_uid=InstanceUid(meta.sop_instance_uid),
            sop_class_uid=meta.sop_class_uid,
            transfer_syntax_uid=meta.transfer_syntax_uid,
            path=self._folder / f"{number}.dcm",
            size_bytes=spool.size_bytes,
            sha256=sha256,
            association_id=self.association.id,
            received_at=self.storing.clock(),
        )
        # Until `land` has returned, a file may stand in its place without a row.
        self._unsettled.append(instance)
        landing = self.storing.site.land(spool.path, self._open_folder, instance)
        self._unsettled.pop()
        self._report_landing(instance, landing)
        return SUCCESS

    def refuse(self, error: DicomNodeError) -> Status:
        """The status for `error`; the first of each kind in an association is an event."""
        status = status_of(error)
        self._tally["refused"] += 1
        name = type(error).__name__
        if name not in self._reported:
            self._reported.add(name)
            self._emit(
                EventName.INSTANCE_REFUSED,
                {"reason": name, "status": f"{status.code:04X}", "comment": status.comment},
            )
        return status

    def close(self, how: AssociationOutcome) -> None:
        """Write down how the association ended. Never raises.

        What cannot be settled now is tried again until it can, and else repaired at the next start.
        """
        ended_at = self.storing.clock()
        if self._open_folder is not None:
            self._open_folder.close()
        settled = self._settle(how, ended_at)
        self._emit(
            EventName.ASSOCIATION_CLOSED,
            {"how": how.value, **self._tally, "settled": settled},
        )
        if not settled:
            self.storing.unsettled.add(lambda: self._settle(how, ended_at))

    def _spool(self, meta: FileMeta) -> SpoolFile:
        return SpoolFile(
            self._spool_folder / f"{self.association.id}-{self._count}.part",
            head=write_file_head(meta, sender_ae=self.association.calling_ae),
            reserve=self.storing.reserve,
            write=self.storing.write,
        )

    def _settle(self, how: AssociationOutcome, ended_at: datetime) -> bool:
        """Give every file its row and the association its end; False: not possible just now."""
        if self._open_folder is None:
            return True
        try:
            while self._unsettled:
                instance = self._unsettled[-1]
                if instance.path.exists():
                    self._report_landing(instance, self.storing.site.settle(instance))
                self._unsettled.pop()
            self.storing.site.close_association(self.association.id, how, at=ended_at)
        except (StoreError, DiskFault, StorageFull, OSError):
            # The last by a disk that does not even say whether the file is there.
            return False
        return True

    def _report_landing(self, instance: ReceivedInstance, landing: Landing) -> None:
        if landing is Landing.KEPT:
            self._tally["kept"] += 1
        elif landing is Landing.DUPLICATE:
            self._tally["duplicates"] += 1
            self._emit(EventName.INSTANCE_DUPLICATE, {"instance": instance.sop_instance_uid})
        else:
            self._tally["conflicts"] += 1
            self._emit(
                EventName.INSTANCE_QUARANTINED,
                {"instance": instance.sop_instance_uid, "kind": landing.value},
            )

    def _emit(self, name: EventName, facts: Mapping[str, str | int | bool]) -> None:
        self.storing.on_event(Event(name=name, association_id=self.association.id, facts=facts))


class Transfer:
    """One data set on its way. It ends by `finish` with a status, or by `discard` with nothing."""

    def __init__(
        self,
        session: StoreSession,
        spool: SpoolFile | None,
        meta: FileMeta | None,
        number: int,
        refused: Status | None = None,
    ) -> None:
        self._session = session
        self._spool = spool
        self._meta = meta
        self._number = number
        self._refused = refused

    def write(self, chunk: memoryview) -> None:
        """Take the next bytes. After a fault the rest is read and dropped, as DIMSE wants it."""
        if self._spool is None:
            return
        try:
            self._spool.write(chunk)
        except DicomNodeError as exc:
            self._fail(exc)

    def finish(self) -> Status:
        """The data set is complete: keep it and say what to answer."""
        if self._spool is not None and self._meta is not None:
            try:
                return self._session.land(self._spool, self._meta, self._number)
            except DicomNodeError as exc:
                self._fail(exc)
        assert self._refused is not None
        return self._refused

    @property
    def path(self) -> Path | None:
        """Where the bytes taken so far lie; None: nowhere, for it is refused."""
        return None if self._spool is None else self._spool.path

    def refuse(self, error: DicomNodeError) -> Status:
        """Answer with a failure and leave nothing behind, whatever was taken."""
        if self._spool is not None:
            self._fail(error)
        return self.finish()

    def discard(self) -> None:
        """The data set will never be complete: leave nothing behind."""
        if self._spool is not None:
            self._spool.discard()
            self._spool = None

    def _fail(self, error: DicomNodeError) -> None:
        self.discard()
        self._refused = self._session.refuse(error)


def _checked(request: StoreRequest, context: AcceptedContext) -> FileMeta:
    """What the request says of its data set, checked.

    Raises:
        InvalidUid, SopClassMismatch, InstanceUnreadable: the request cannot be served.
    """
    meta = FileMeta(
        sop_class_uid=checked_uid(request.sop_class_uid),
        sop_instance_uid=checked_uid(request.sop_instance_uid),
        transfer_syntax_uid=context.transfer_syntax,
    )
    if meta.sop_class_uid != context.abstract_syntax:
        raise SopClassMismatch(f"{meta.sop_class_uid} sent as {context.abstract_syntax}")
    if not request.has_data_set:
        raise InstanceUnreadable("C-STORE request without a data set")
    return meta
