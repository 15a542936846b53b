"""C-STORE as SCU: each object ends with the peer's own answer, or with the reason for none."""

import re
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association

from dicomnode.deliver.association import Peer, associate
from dicomnode.deliver.outgoing import OutgoingFile, contexts_for, open_outgoing
from dicomnode.deliver.statuses import Verdict, answered, store_status
from dicomnode.domain.delivery import ObjectDamaged, ObjectUnread, SendOutcome, ServiceRefused
from dicomnode.domain.disk import disk_fault, is_disk_fault
from dicomnode.domain.errors import DeliveryError, InstanceRefused, PeerBusy, PeerUnavailable
from dicomnode.domain.identifiers import InstanceUid
from dicomnode.domain.results import EncodedObject, Receipt
from dicomnode.settings import Destination

# pynetdicom counts the wait for an answer from the moment a message is queued, so a large object
# on a slow line needs time to leave; a peer that reads nothing at all is noticed by the socket.
_SLOWEST_LINE_BYTES_S = 128 * 1024
_WORD = re.compile(r"[^\W_]+")
_IDENTIFYING = ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber")


def send_objects(
    objects: Sequence[EncodedObject],
    destination: Destination,
    *,
    own_ae: str,
    clock: Callable[[], datetime],
    begin: Callable[[InstanceUid], bool] = lambda _uid: True,
) -> tuple[SendOutcome, ...]:
    """Send `objects` over one association; outcomes in their order. Never raises for one.

    `begin` is asked right before each leaves; what it says no to is not sent and has no outcome.
    May be called twice for the same objects: their UIDs do not change.
    """
    checked = [_checked(encoded) for encoded in objects]
    files = [file for file in checked if isinstance(file, OutgoingFile)]
    results: list[Receipt | DeliveryError | None] = []
    if files:
        results = _send_files(files, destination, own_ae=own_ae, clock=clock, begin=begin)
    left = iter(results)
    ends = [next(left) if isinstance(file, OutgoingFile) else file for file in checked]
    return tuple(
        SendOutcome(sop_instance_uid=encoded.sop_instance_uid, result=end)
        for encoded, end in zip(objects, ends, strict=True)
        if end is not None
    )


def _checked(encoded: EncodedObject) -> OutgoingFile | ObjectDamaged | ObjectUnread:
    try:
        return open_outgoing(encoded)
    except (ObjectDamaged, ObjectUnread) as exc:
        return exc


def _send_files(
    files: Sequence[OutgoingFile],
    destination: Destination,
    *,
    own_ae: str,
    clock: Callable[[], datetime],
    begin: Callable[[InstanceUid], bool],
) -> list[Receipt | DeliveryError | None]:
    peer = Peer.of(destination)
    heard = _Answers()
    results: list[Receipt | DeliveryError | None] = []
    try:
        with associate(
            peer, contexts_for(files), own_ae=own_ae, handlers=[(evt.EVT_DIMSE_RECV, heard.note)]
        ) as assoc:
            for number, file in enumerate(files):
                if not begin(file.sop_instance_uid):
                    results.append(None)
                    continue
                message_id = number % 0xFFFF + 1
                try:
                    status = _store(assoc, file, message_id, peer, heard)
                    results.append(_receipt(file, status, destination, clock))
                except (InstanceRefused, PeerBusy, ObjectDamaged) as exc:
                    results.append(exc)
    except ServiceRefused as exc:
        return [InstanceRefused(str(exc)) for _ in files]
    except DeliveryError as exc:
        return [*results, exc, *_not_reached(exc, len(files) - len(results) - 1)]
    return results


def _not_reached(cause: DeliveryError, count: int) -> list[DeliveryError]:
    return [type(cause)(str(cause)) for _ in range(count)]


class _Answers:
    """The command set of the last answer, to see that it answers what was just asked."""

    def __init__(self) -> None:
        self._last: Dataset | None = None

    def note(self, event: evt.Event) -> None:
        self._last = event.message.command_set

    def fits(self, message_id: int, file: OutgoingFile) -> bool:
        """True if the last answer names this message and, where it names one, this instance."""
        answer: Any = self._last
        return (
            answer is not None
            and answer.get("MessageIDBeingRespondedTo") == message_id
            and (answer.get("AffectedSOPInstanceUID") or file.sop_instance_uid)
            == file.sop_instance_uid
        )


def _store(
    assoc: Association, file: OutgoingFile, message_id: int, peer: Peer, heard: _Answers
) -> Dataset:
    """The peer's answer to one C-STORE.

    Raises:
        InstanceRefused: no context was accepted for this SOP class.
        PeerUnavailable: no answer, or not to this message; the association is over.
        ObjectDamaged: the file cannot be encoded in the only syntax the peer takes.
        ObjectUnread: the disk failed within the file; the association is over.
    """
    assoc.dimse_timeout = peer.timeout_s + file.size_bytes / _SLOWEST_LINE_BYTES_S
    try:
        to_send = _form_for(assoc, file, peer)
        status: Dataset = assoc.send_c_store(to_send, msg_id=message_id)
    except RuntimeError as exc:  # pynetdicom's word for an association that is over
        raise PeerUnavailable(f"{peer}: the peer ended the association") from exc
    except OSError as exc:
        if not is_disk_fault(exc):
            raise ObjectDamaged(f"{file.sop_instance_uid}: the file went missing") from exc
        # Half of it may be on the line: nothing can follow in this association.
        assoc.abort()
        what = f"{file.sop_instance_uid} cannot be read to its end"
        raise ObjectUnread(str(disk_fault(exc, what))) from exc
    except (ValueError, AttributeError) as exc:
        raise ObjectDamaged(f"{file.sop_instance_uid}: cannot be encoded; rerun the job") from exc
    if "Status" not in status:
        raise PeerUnavailable(
            f"{peer}: no answer to C-STORE within {assoc.dimse_timeout:.0f} s, or the peer ended "
            "the association; whether it kept the object is not known"
        )
    if not heard.fits(message_id, file):
        assoc.abort()
        raise PeerUnavailable(f"{peer}: the peer answered another message than the one sent")
    return status


def _form_for(assoc: Association, file: OutgoingFile, peer: Peer) -> Any:
    """The path where the peer takes the file as it is, else its data set to be encoded anew."""
    accepted = {
        str(cx.transfer_syntax[0])
        for cx in assoc.accepted_contexts
        if cx.abstract_syntax == file.sop_class_uid
    }
    if file.transfer_syntax_uid in accepted:
        return file.path
    if accepted:
        return dcmread(file.path)
    raise InstanceRefused(
        f"{peer}: accepts no presentation context for SOP class {file.sop_class_uid} in the "
        "transfer syntax of the object"
    )


def _receipt(
    file: OutgoingFile,
    answer: Dataset,
    destination: Destination,
    clock: Callable[[], datetime],
) -> Receipt:
    status = int(answer.Status)
    known = store_status(status)
    comment = _without_identifiers(str(answer.get("ErrorComment", "")), file)
    if known.verdict in (Verdict.KEPT, Verdict.KEPT_WITH_WARNING):
        return Receipt(
            sop_instance_uid=file.sop_instance_uid,
            destination=destination.name,
            status=status,
            comment=comment,
            at=clock(),
        )
    said = f"{destination.name}: answered 0x{status:04X}, {known.meaning}"
    words = f"{said}: {comment}" if comment else said
    kind = PeerBusy if known.verdict is Verdict.BUSY else InstanceRefused
    raise answered(kind(words), status)


def _without_identifiers(comment: str, file: OutgoingFile) -> str:
    """The peer's ErrorComment, less whatever it repeats of the patient; 64 printable characters."""
    if not comment:
        return ""
    try:
        ds = dcmread(file.path, specific_tags=list(_IDENTIFYING))
    except OSError:
        # What would have to be left out is not known, so all of it is.
        return ""
    values = " ".join(str(ds.get(tag, "")) for tag in _IDENTIFYING).casefold()
    known = {word for word in _WORD.findall(values) if len(word) > 1}
    told = _WORD.sub(
        lambda word: "[...]" if _tells(word[0].casefold(), known) else word[0], comment
    )
    return "".join(char for char in told if char.isprintable())[:64]


def _tells(word: str, known: Collection[str]) -> bool:
    """True for a word of an identifier, one that holds it, or its beginning.

    A comment has 64 characters, so a peer that repeats a name may have to cut it short.
    """
    return any(
        word == one or (len(word) > 2 and one.startswith(word)) or (len(one) > 2 and one in word)
        for one in known
    )
