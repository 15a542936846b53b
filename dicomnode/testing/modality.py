"""A sender like a modality or an auto-routing PACS: C-STORE of files, each answer kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.filereader import read_file_meta_info
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from dicomnode.deliver.line import prepare


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAnswer:
    """What the receiver answered for one file."""

    sop_instance_uid: str
    status: int | None
    """None: no answer, because no presentation context was accepted or the association ended."""


def send_study(
    paths: Sequence[Path],
    *,
    host: str,
    port: int,
    called_ae: str,
    calling_ae: str = "MODALITY",
    timeout_s: float = 60.0,
    progress: Callable[[int, int], None] = lambda _sent, _all: None,
) -> tuple[StoreAnswer, ...]:
    """Send files over one association, each in its own transfer syntax; one answer each, in order.

    `progress` is told (sent, all) after each file.

    Raises:
        ConnectionError: no association could be made.
    """
    metas = [read_file_meta_info(path) for path in paths]
    wanted = dict.fromkeys(
        (str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)) for meta in metas
    )
    ae = AE(ae_title=calling_ae)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = timeout_s
    contexts = [build_context(sop_class, syntax) for sop_class, syntax in wanted]
    assoc = ae.associate(
        host,
        port,
        contexts=contexts,
        ae_title=called_ae,
        evt_handlers=[(evt.EVT_CONN_OPEN, prepare, [timeout_s])],
    )
    if not assoc.is_established:
        raise ConnectionError(f"no association with {called_ae} at {host}:{port}")
    answers: list[StoreAnswer] = []
    try:
        for number, (path, meta) in enumerate(zip(paths, metas, strict=True), start=1):
            status = _store(assoc, path, number % 0xFFFF + 1)
            answers.append(
                StoreAnswer(sop_instance_uid=str(meta.MediaStorageSOPInstanceUID), status=status)
            )
            progress(number, len(paths))
    finally:
        assoc.release()
    return tuple(answers)


def _store(assoc: Association, path: Path, message_id: int) -> int | None:
    if not assoc.is_established:
        return None
    try:
        answer = assoc.send_c_store(path, msg_id=message_id)
    except (ValueError, RuntimeError):  # no context was accepted, or the association just ended
        return None
    return int(answer.Status) if "Status" in answer else None
