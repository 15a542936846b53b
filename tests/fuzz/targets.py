"""What is fed to the node from outside, one function each.

Each takes any bytes and returns, or raises what is documented for its room (`documented`); anything
else is a finding, and so are a hang, a path outside its folder and memory without a bound.
"""

import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from ssl import SSLError
from types import MappingProxyType
from urllib.parse import parse_qsl

from pydicom.uid import CTImageStorage, EncapsulatedPDFStorage

from dicomnode.assembly.headers import read_header
from dicomnode.domain.catalogue import Level
from dicomnode.domain.errors import (
    BundleInvalid,
    DicomNodeError,
    InstanceUnreadable,
    InvalidUid,
    ReportError,
    RuleError,
    VolumeError,
)
from dicomnode.domain.receiving import STOW_SPOOL, AssociationOutcome
from dicomnode.domain.reports import Report, ReportPart
from dicomnode.domain.tls import TlsFiles, client_context
from dicomnode.encode.returned import read_marks
from dicomnode.pipeline.bundle_files import check_digests, read_identity, read_manifest
from dicomnode.pipeline.volume import read_series
from dicomnode.receive.command import read_command
from dicomnode.receive.errors import ProtocolBroken
from dicomnode.receive.file_meta import FileMeta, read_file_head, write_file_head
from dicomnode.receive.messages import MessageHandlers, MessageStream
from dicomnode.receive.part10 import HeadReader
from dicomnode.receive.receiver import Receiver, start_receiver
from dicomnode.receive.reports.fhir import read_report
from dicomnode.receive.reports.fhir_bundle import BUNDLE, read_bundle
from dicomnode.receive.reports.fhir_json import kind_of, parsed
from dicomnode.receive.reports.mllp import answer
from dicomnode.receive.reports.sr import read_sr
from dicomnode.receive.status import SUCCESS, Status
from dicomnode.receive.stow import StowDesk
from dicomnode.reports import Miner, MinerSetup, open_miner
from dicomnode.reports.bulk import Layout, read_bulk
from dicomnode.rules.loading import load_rules
from dicomnode.settings import ReceiveSettings
from dicomnode.settings.receiving import ReceiveTls
from dicomnode.testing.bundles import write_bundle
from dicomnode.testing.certificates import Authority
from dicomnode.testing.receiving import EventList, MemoryInstanceIndex
from dicomnode.testing.sender import associate_request
from dicomnode.web.dicomweb.asking import read_search
from dicomnode.web.dicomweb.problems import BadRequest, Refusal, TooMuch
from dicomnode.web.dicomweb.receiving import IncomingRequest

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SYNTAXES = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
)
"""The first byte of a data set chooses one."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One way in."""

    feed: Callable[[bytes, Path], None]
    """The bytes, and a folder that is the target's own."""
    documented: tuple[type[Exception], ...]
    largest: int = 4096
    """Bytes of an input that a fuzzer tries."""


def association(data: bytes, folder: Path) -> None:
    """Bytes to the receiver's port: any, or any after an association was accepted."""
    receiver = _receiver(folder)
    _say(receiver.port, (_ASSOCIATE if data[:1] >= b"\x80" else b"") + data[1:])
    _has_let_go(receiver, folder)


def secured(data: bytes, folder: Path) -> None:
    """Bytes to the port for TLS: any, or, by the first byte, any within the handshaken line."""
    receiver = _receiver(folder)
    assert receiver.tls_port is not None
    if data[:1] >= b"\x80":
        context = client_context(_certificates(folder))
        with (
            socket.create_connection(("127.0.0.1", receiver.tls_port), timeout=10) as line,
            suppress(ConnectionError),
            context.wrap_socket(line, server_hostname="node") as inner,
        ):
            inner.sendall(data[1:])
            while inner.recv(65536):
                pass
    else:
        _say(receiver.tls_port, data[1:])
    _has_let_go(receiver, folder)


def _say(port: int, data: bytes) -> None:
    """Send all of it and hear the receiver out. It may hang up while we still send."""
    line = socket.create_connection(("127.0.0.1", port), timeout=10)
    with line, suppress(ConnectionError):
        line.sendall(data)
        line.shutdown(socket.SHUT_WR)
        while line.recv(65536):
            pass


def _has_let_go(receiver: Receiver, folder: Path) -> None:
    """Nothing of a peer that has gone stays behind."""
    pause = threading.Event()
    for _ in range(10_000):
        if not receiver.open_associations:
            break
        pause.wait(0.001)
    assert receiver.open_associations == 0, "the association stays open"
    assert not list((folder / "spool").glob("*.part")), "an unfinished file stays"
    assert not _FAULTS, f"a thread ended by {_FAULTS}"


_ASSOCIATE = associate_request(
    [(str(CTImageStorage), [SYNTAXES[0]]), (str(EncapsulatedPDFStorage), [SYNTAXES[1]])],
    calling_ae="FUZZ",
    called_ae="DICOMNODE",
)
_FAULTS: list[str] = []


@cache
def _certificates(folder: Path) -> TlsFiles:
    authority = Authority(folder)
    issued = authority.issue("node")
    return TlsFiles(
        certificate=issued.certificate, key=issued.key, authorities=authority.certificate
    )


@cache
def _receiver(folder: Path) -> Receiver:
    files = _certificates(folder)
    assert files.certificate is not None
    assert files.key is not None
    tls = ReceiveTls(
        certificate=files.certificate, key=files.key, authorities=files.authorities, port=0
    )
    threading.excepthook = lambda fault: _FAULTS.append(fault.exc_type.__name__)
    return start_receiver(
        ReceiveSettings(reserve_mb=0, idle_timeout_s=5.0, tls=tls),
        ae_title="DICOMNODE",
        data_dir=folder,
        index=MemoryInstanceIndex(folder),
        clock=lambda: NOW,
        on_event=EventList(),
        port=0,
    )


@cache
def _desk(folder: Path) -> StowDesk:
    return StowDesk(
        ReceiveSettings(reserve_mb=0),
        ae_title="DICOMNODE",
        data_dir=folder,
        index=MemoryInstanceIndex(folder),
        clock=lambda: NOW,
        on_event=EventList(),
    ).open()


def uploads(data: bytes, folder: Path) -> None:
    """A STOW-RS body, whose boundary is `edge`, in pieces as long as the first byte says."""
    desk = _desk(folder)
    session = desk.enter("fuzz", "127.0.0.1")
    assert session is not None, "an earlier request has not left"
    request = IncomingRequest(desk, session, b"edge", None)
    size = 1 + (data[0] if data else 0)
    try:
        for at in range(1, len(data), size):
            request.feed(data[at : at + size])
        request.finish()
    finally:
        request.abandon(AssociationOutcome.ABORTED)
        assert not list((folder / STOW_SPOOL).iterdir()), "an unfinished file stays"


class _Sink:
    """Takes a data set and counts it."""

    taken = 0

    def write(self, chunk: memoryview) -> None:
        self.taken += len(chunk)

    def finish(self) -> Status:
        return SUCCESS

    def discard(self) -> None:
        self.taken = 0


def commands(data: bytes, _folder: Path) -> None:
    """Fragments: control byte, length, bytes; and the whole as a command set."""
    with suppress(ProtocolBroken):
        read_command(data)
    stream = MessageStream(
        MessageHandlers(
            begin_store=lambda _context, _request: _Sink(),
            answer_store=lambda _context, _request, _status: None,
            forward=lambda _context, _fragment: None,
        )
    )
    try:
        at = 0
        while at + 2 < len(data):
            control, size = data[at], data[at + 1]
            piece = memoryview(data)[at + 2 : at + 2 + size]
            stream.feed(control >> 4, control & 3, piece, is_end=not control & 4)
            at += 2 + size
    finally:
        stream.discard()


def _file(data: bytes, folder: Path) -> Path:
    """A data set as the receiver would have kept it."""
    syntax = SYNTAXES[data[0] % len(SYNTAXES)] if data else SYNTAXES[0]
    meta = FileMeta(
        sop_class_uid=str(CTImageStorage), sop_instance_uid="1.2.3", transfer_syntax_uid=syntax
    )
    path = folder / "one.dcm"
    path.write_bytes(write_file_head(meta, sender_ae="FUZZ") + data[1:])
    return path


def datasets(data: bytes, folder: Path) -> None:
    """A data set that was received: its header, for the index."""
    header = read_header(_file(data, folder))
    assert all(len(one) <= 64 for one in (header.sop_instance_uid, header.study_uid))


def images(data: bytes, folder: Path) -> None:
    """A data set that was received: as the image of a job."""
    read_series([_file(data, folder)])


def structured_reports(data: bytes, folder: Path) -> None:
    """A data set that was received: as an SR with words, and as a correction."""
    path = _file(data, folder)
    with suppress(InstanceUnreadable):
        read_marks(path)
    read_sr(path)


def files(data: bytes, folder: Path) -> None:
    """A file of STOW-RS, in pieces; and a file of ours that was damaged."""
    path = folder / "one.dcm"
    path.write_bytes(data)
    with path.open("rb") as file, suppress(InstanceUnreadable, InvalidUid):
        read_file_head(file)
    with suppress(InstanceUnreadable, InvalidUid):
        read_header(path)
    reader = HeadReader()
    for at in range(0, len(data), 100):
        if reader.feed(memoryview(data)[at : at + 100]) is not None:
            return


def hl7(data: bytes, _folder: Path) -> None:
    """A message of MLLP."""
    refused: list[str] = []
    kept: list[object] = []
    said = answer(data, kept.extend, lambda _data, reason: refused.append(reason), NOW)
    assert said.startswith(b"MSH")
    assert b"the node failed" not in said, refused


def fhir(data: bytes, _folder: Path) -> None:
    """The body of a FHIR request."""
    resource = parsed(data)
    if kind_of(resource) == BUNDLE:
        read_bundle(resource, sender="fuzz")
    else:
        read_report(resource, sender="fuzz")


@cache
def _miner() -> Miner:
    return open_miner(MinerSetup(graph=False))


def report_texts(data: bytes, _folder: Path) -> None:
    """The words of a report."""
    text = data.decode("utf-8", errors="replace")
    report = Report(report_id="1", parts=(ReportPart(name="findings", text=text),))
    (labels,) = _miner().mine([report])
    for mention in labels.mentions:
        start, end = mention.span.start, mention.span.end
        assert 0 <= start < end <= len(text)


def bulk(data: bytes, folder: Path) -> None:
    """A file for `dicomnode reports import`: CSV, or JSON lines."""
    path = folder / ("reports.jsonl" if data[:1] == b"{" else "reports.csv")
    path.write_bytes(data)
    for _ in read_bulk(path, Layout(collection="fuzz")):
        pass


def rules(data: bytes, _folder: Path) -> None:
    """A rule file that somebody sends to be tried."""
    load_rules(data.decode("utf-8", errors="replace"), file="rules.toml")


@cache
def _bundle(folder: Path) -> Path:
    return write_bundle(folder)


def bundles(data: bytes, folder: Path) -> None:
    """`configs/dicom.json`, and by the first byte `metadata.json`, of a bundle."""
    root = _bundle(folder)
    name = "metadata" if data[:1] == b"m" else "dicom"
    file = root / "configs" / f"{name}.json"
    before = file.read_bytes()
    try:
        file.write_bytes(data[1:])
        manifest = read_manifest(root)
        read_identity(root, manifest)
        check_digests(root, manifest)
    finally:
        file.write_bytes(before)


def searches(data: bytes, _folder: Path) -> None:
    """The query of a QIDO-RS request."""
    query = parse_qsl(data[1:].decode("utf-8", errors="replace"), keep_blank_values=True)
    level = list(Level)[data[0] % len(Level)] if data else Level.STUDY
    read_search(level, {}, query)


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        "association": Target(feed=association, documented=(), largest=2048),
        "secured": Target(feed=secured, documented=(SSLError,), largest=2048),
        "uploads": Target(feed=uploads, documented=(BadRequest, TooMuch)),
        "commands": Target(feed=commands, documented=(ProtocolBroken,)),
        "datasets": Target(feed=datasets, documented=(InstanceUnreadable, InvalidUid)),
        "images": Target(feed=images, documented=(VolumeError,)),
        "structured_reports": Target(feed=structured_reports, documented=(InstanceUnreadable,)),
        "files": Target(feed=files, documented=(InstanceUnreadable,)),
        "hl7": Target(feed=hl7, documented=()),
        "fhir": Target(feed=fhir, documented=(ReportError,)),
        "report_texts": Target(feed=report_texts, documented=()),
        "bulk": Target(feed=bulk, documented=(ReportError,)),
        "rules": Target(feed=rules, documented=(RuleError,)),
        "bundles": Target(feed=bundles, documented=(BundleInvalid,)),
        "searches": Target(feed=searches, documented=(Refusal,)),
    }
)


def run(target: Target, data: bytes, folder: Path) -> DicomNodeError | Exception | None:
    """Feed it; the documented refusal, or None. Anything else comes out as it is."""
    try:
        target.feed(data, folder)
    except target.documented as exc:
        return exc
    return None
