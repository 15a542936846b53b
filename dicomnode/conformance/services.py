"""Tables of what the node says and understands on the network."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom.presentation import build_context

from dicomnode.deliver.find import Level, find_contexts
from dicomnode.deliver.outgoing import OutgoingFile
from dicomnode.deliver.statuses import BUSY_STATUSES, FAILURE_REASONS, STORE_STATUSES
from dicomnode.documents import table
from dicomnode.domain.identifiers import InstanceUid
from dicomnode.domain.sop_classes import STORAGE_COMMITMENT_PUSH, VERIFICATION
from dicomnode.receive import admission
from dicomnode.receive.contexts import TRANSFER_SYNTAXES, storage_sop_classes
from dicomnode.receive.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomnode.receive.status import PROCESSING_FAILURE, STATUSES, SUCCESS
from dicomnode.settings import Destination, ReceiveSettings, Settings

RESULT_CLASSES = (
    SegmentationStorage,
    Comprehensive3DSRStorage,
    SecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
)


def service_tables() -> Mapping[str, str]:
    """Tables by name."""
    return {
        "identification": _identification(),
        "association-limits": _limits(),
        "rejections": _rejections(),
        "storage-classes": _uids(storage_sop_classes()),
        "transfer-syntaxes": _uids(TRANSFER_SYNTAXES),
        "scp-statuses": _scp_statuses(),
        "scu-contexts": _scu_contexts(),
        "scu-statuses": _scu_statuses(),
        "query-levels": _query_levels(),
        "commitment-failures": _commitment_failures(),
    }


def _identification() -> str:
    return table(
        ("what", "value"),
        [
            ("Application context name", "1.2.840.10008.3.1.1.1"),
            ("Implementation class UID", IMPLEMENTATION_CLASS_UID),
            ("Implementation version name", IMPLEMENTATION_VERSION_NAME),
            ("Default AE title", Settings().ae_title),
        ],
    )


def _limits() -> str:
    scp = ReceiveSettings()
    scu = {name: known.default for name, known in Destination.model_fields.items()}
    reserve = f"{scp.reserve_mb} MB"
    rows = [
        ("TCP port", "receive.port", scp.port),
        ("Associations at once, as acceptor", "receive.max_associations", scp.max_associations),
        ("Largest PDU received, bytes", "receive.max_pdu", scp.max_pdu),
        ("Silence after which a peer is cut off", "receive.idle_timeout_s", _s(scp.idle_timeout_s)),
        ("Free disk below which C-STORE is refused", "receive.reserve_mb", reserve),
        (
            "Connection, association and each answer, as requestor",
            "timeout_s",
            _s(scu["timeout_s"]),
        ),
        ("First retry of a delivery", "first_retry_s", _s(scu["first_retry_s"])),
        ("Longest wait between retries", "longest_retry_s", _s(scu["longest_retry_s"])),
        ("Delivery given up after", "give_up_after_s", _s(scu["give_up_after_s"])),
        ("Wait for a commitment report", "commitment_wait_s", _s(scu["commitment_wait_s"])),
    ]
    return table(
        ("limit", "setting", "default"),
        [
            (what, f"`{name if '.' in name else f'destinations.{name}'}`", default)
            for what, name, default in rows
        ],
    )


def _s(seconds: float) -> str:
    return f"{seconds:g} s"


def _rejections() -> str:
    rejections = [one for one in vars(admission).values() if isinstance(one, admission.Rejection)]
    results = {1: "1 permanent", 2: "2 transient"}
    sources = {1: "1 service user", 2: "2 provider (ACSE)", 3: "3 provider (presentation)"}
    return table(
        ("when", "result", "source", "reason"),
        [(one.because, results[one.result], sources[one.source], one.reason) for one in rejections],
    )


def _uids(uids: tuple[str, ...]) -> str:
    return table(("name", "UID"), [(UID(uid).name, f"`{uid}`") for uid in uids])


def _scp_statuses() -> str:
    rows = [(SUCCESS, "", "every byte is flushed to disk and the row of the index is committed")]
    rows += [
        (status, "yes" if error.retryable else "no", status.comment)
        for error, status in STATUSES.items()
        if status is not PROCESSING_FAILURE
    ]
    rows.append((PROCESSING_FAILURE, "yes", PROCESSING_FAILURE.comment))
    return table(
        ("status", "when, as ErrorComment (0000,0902) says", "sending again helps", "defined in"),
        [(f"`{status.code:04X}`", when, helps, status.clause) for status, helps, when in rows],
    )


def _scu_contexts() -> str:
    rows = [
        (UID(sop_class).name, f"`{sop_class}`", _names(_syntaxes_of(sop_class)))
        for sop_class in RESULT_CLASSES
    ]
    proposed = [build_context(VERIFICATION), build_context(STORAGE_COMMITMENT_PUSH)]
    for context in (*proposed, *find_contexts()):
        uid = UID(str(context.abstract_syntax))
        rows.append((uid.name, f"`{uid}`", _names(map(str, context.transfer_syntax))))
    return table(("SOP class", "UID", "transfer syntaxes"), rows)


def _syntaxes_of(sop_class: str) -> tuple[str, ...]:
    file = OutgoingFile(
        path=Path(),
        sop_class_uid=sop_class,
        sop_instance_uid=InstanceUid("1.2"),
        transfer_syntax_uid=str(ExplicitVRLittleEndian),
        size_bytes=0,
    )
    return file.syntaxes


def _names(uids: Iterable[str]) -> str:
    return ", ".join(UID(uid).name for uid in uids)


def _scu_statuses() -> str:
    def shown(first: int, last: int) -> str:
        if (first, last) == (0x0000, 0xFFFF):
            return "any other"
        if (first, last) == (0xB000, 0xBFFF):
            return "any other `Bxxx`"
        return f"`{first:04X}`" if first == last else f"`{first:04X}` to `{last:04X}`"

    return table(
        ("status", "meaning", "what the node makes of it", "defined in"),
        [
            (shown(one.first, one.last), one.meaning, one.verdict.value, one.clause)
            for one in STORE_STATUSES
        ],
    )


def _query_levels() -> str:
    asked = {
        Level.STUDY: ("StudyInstanceUID", "NumberOfStudyRelatedInstances", "is the study whole?"),
        Level.SERIES: (
            "StudyInstanceUID, SeriesInstanceUID",
            "NumberOfSeriesRelatedInstances",
            "are our results kept? where IMAGE is refused",
        ),
        Level.IMAGE: (
            "StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID",
            "SOPInstanceUID",
            "is our result kept?",
        ),
    }
    passing = ", ".join(f"`{code:04X}`" for code in sorted(BUSY_STATUSES))
    levels = table(
        ("level", "keys with a value", "returned keys used", "question"),
        [(level.value, *asked[level]) for level in Level],
    )
    return f"{levels}\n\nStatuses after which the same is asked again later: {passing}."


def _commitment_failures() -> str:
    rows = [(f"`{code:04X}`", words) for code, words in FAILURE_REASONS.items()]
    return table(("FailureReason (0008,1197)", "shown as"), rows)
