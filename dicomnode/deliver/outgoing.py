"""Our own files on their way out: checked against the digest taken when they were encoded."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.presentation import PresentationContext, build_context

from dicomnode.domain.delivery import ObjectDamaged, ObjectUnread
from dicomnode.domain.disk import disk_fault, is_disk_fault
from dicomnode.domain.identifiers import InstanceUid
from dicomnode.domain.results import EncodedObject


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingFile:
    """A file whose bytes are still the ones that were written and checked."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: InstanceUid
    transfer_syntax_uid: str
    size_bytes: int

    @property
    def syntaxes(self) -> tuple[str, ...]:
        """Transfer syntaxes it can be sent in without loss, its own first.

        Implicit VR Little Endian is offered for Explicit, being the default every peer has to
        know (PS3.5 10.1); a compressed file goes as it is or not at all.
        """
        if self.transfer_syntax_uid == ExplicitVRLittleEndian:
            return ExplicitVRLittleEndian, ImplicitVRLittleEndian
        return (self.transfer_syntax_uid,)


def open_outgoing(encoded: EncodedObject) -> OutgoingFile:
    """The file of `encoded`, if it is still what it was.

    Raises:
        ObjectDamaged: missing, changed, or another object's file.
        ObjectUnread: the disk does not give it for now.
    """
    uid = encoded.sop_instance_uid
    try:
        with encoded.path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        meta = read_file_meta_info(encoded.path)
        found = OutgoingFile(
            path=encoded.path,
            sop_class_uid=str(meta.MediaStorageSOPClassUID),
            sop_instance_uid=InstanceUid(str(meta.MediaStorageSOPInstanceUID)),
            transfer_syntax_uid=str(meta.TransferSyntaxUID),
            size_bytes=encoded.path.stat().st_size,
        )
    except OSError as exc:
        if is_disk_fault(exc):
            raise ObjectUnread(str(disk_fault(exc, f"{uid} cannot be read"))) from exc
        raise ObjectDamaged(f"{uid}: the file cannot be read ({exc.strerror}); rerun") from exc
    except (InvalidDicomError, AttributeError, ValueError) as exc:
        raise ObjectDamaged(f"{uid}: the file is not DICOM any more; rerun the job") from exc
    if digest != encoded.sha256:
        raise ObjectDamaged(f"{uid}: the file changed since it was written; rerun the job")
    if (found.sop_instance_uid, found.sop_class_uid) != (uid, encoded.sop_class_uid):
        raise ObjectDamaged(f"{uid}: the file holds another object; rerun the job")
    return found


def contexts_for(files: Sequence[OutgoingFile]) -> list[PresentationContext]:
    """One presentation context for each SOP class and transfer syntax among `files`, no more.

    One syntax in each, so that the peer accepts all it can and the file's own can be preferred.
    """
    wanted = dict.fromkeys(
        (file.sop_class_uid, syntax) for file in files for syntax in file.syntaxes
    )
    return [build_context(sop_class, syntax) for sop_class, syntax in wanted]
