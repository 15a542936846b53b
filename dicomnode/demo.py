"""`dicomnode demo`: a node, a PACS and two real studies, from C-STORE to confirmed results."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

from pydicom import dcmread

from dicomnode.domain.access import Role
from dicomnode.domain.errors import DicomNodeError, StudyError
from dicomnode.domain.incoming_reports import IncomingReport, ReportSource
from dicomnode.domain.reports import ReportPart
from dicomnode.settings import Settings, WebSettings, load_settings
from dicomnode.store.accounts import add_account
from dicomnode.store.database import Database
from dicomnode.store.reports import keep_reports
from dicomnode.store.story import JobTold, Story, story
from dicomnode.testing.modality import send_study
from dicomnode.testing.orthanc import RunningOrthanc
from dicomnode.testing.pacs import EmbeddedPacs
from dicomnode.testing.pacs_commitment import ReportTo
from dicomnode.web.passwords import Passwords

NODE_AE = "DICOMNODE"
PACS_AE = "ARCHIVE"
DEMO_ACCOUNT = "demo"
ENDED = frozenset({"succeeded", "failed", "refused", "cancelled"})
SETTLED = frozenset({"confirmed", "refused", "given-up", "dismissed"})

SETTINGS = """\
# The settings `dicomnode demo` ran with. See README.md for what else there is.
ae_title = "{node_ae}"
data_dir = "data"
rules = "rules.toml"

[receive]
port = {port}
reserve_mb = 100

[assembly]
quiet_s = 3.0
released_s = 1.0

[flow]
time_limit_factor = 4.0            # on a laptop that is busy otherwise

[web]
enabled = {with_pages}
port = {web_port}

[[destinations]]
name = "archive"
ae_title = "{pacs_ae}"
host = "127.0.0.1"
port = {pacs_port}
confirm = "commitment"
commitment_wait_s = 5.0
"""

RULES = """\
# The sample images do not say which body part they show; the shipped rules ask for it.
[[rule]]
name = "heart and lungs on radiographs"
algorithm = "cxr_heart_lung"
priority = "high"

[rule.series.image]
Modality = "DX"

[[rule]]
name = "diseases on radiographs"
algorithm = "cxr_thorax"

[rule.series.image]
Modality = "DX"

[[rule]]
name = "lungs on CT"
algorithm = "lung_ct"

[rule.series.image]
Modality = "CT"
orientation = "axial"
slices.at_least = 16
prefer = ["thinnest", "most-slices"]
"""


REPORT = """\
Invented for this demonstration, not about this patient. Small left pleural effusion. \
No pneumothorax. The heart is mildly enlarged. No focal consolidation.
"""


class DemoFailed(DicomNodeError):
    """The demonstration did not come to its end; the message says where it stood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoStudy:
    """One study on its way, and what became of it."""

    name: str
    study_uid: str
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """A study that went all the way."""

    study: DemoStudy
    told: Story
    overlays: tuple[Path, ...]
    seconds: float
    """From the first C-STORE to the last confirmation."""


def sample_studies() -> tuple[DemoStudy, ...]:
    """The studies shipped with the package."""
    root = Path(str(files("dicomnode.testing"))) / "samples"
    studies = []
    for name in ("chest_radiograph", "chest_ct"):
        paths = tuple(sorted((root / name).glob("*.dcm")))
        uid = str(dcmread(paths[0], stop_before_pixels=True).StudyInstanceUID)
        studies.append(DemoStudy(name=name, study_uid=uid, paths=paths))
    return tuple(studies)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """Where to look around, and how to get in."""

    address: str
    name: str
    password: str
    """Random, made for this folder alone."""
    settings: Path
    """Of the node, for commands beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """What was shown, while node and PACS still run."""

    results: tuple[DemoResult, ...]
    pages: Pages | None
    ended: threading.Event
    """Set once the node has ended by itself."""
    log: Path
    """What the node said."""


@contextmanager
def demonstration(
    out: Path, *, with_orthanc: bool, with_pages: bool, timeout_s: float, say: Callable[[str], None]
) -> Iterator[Demonstration]:
    """Start node and PACS, send the sample studies, wait until their results are confirmed.

    Both are stopped when the block ends.

    Raises:
        DemoFailed: something ended otherwise than it should, or not in time.
    """
    _empty(out)
    folder = out / "node"
    folder.mkdir(parents=True)
    port = free_port()
    with _pacs(out / "pacs", port, with_orthanc=with_orthanc) as pacs_port:
        say(f"{'Orthanc' if with_orthanc else 'the embedded PACS'} listens on port {pacs_port}")
        settings_path = folder / "dicomnode.toml"
        settings_path.write_text(
            SETTINGS.format(
                node_ae=NODE_AE,
                port=port,
                pacs_ae=PACS_AE,
                pacs_port=pacs_port,
                with_pages=str(with_pages).lower(),
                web_port=_usual_port_or_free() if with_pages else 0,
            ),
            encoding="utf-8",
        )
        (folder / "rules.toml").write_text(RULES, encoding="utf-8")
        settings = load_settings(settings_path, {})
        log = folder / "node.log"
        with node_process(settings_path, log, port, timeout_s) as ended:
            say(f"the node listens on port {port}")
            results = _send_and_wait(settings, out, port, timeout_s, say)
            pages = None
            if with_pages:
                _tell(settings)
                pages = _let_in(settings, settings_path, timeout_s)
            yield Demonstration(results=results, pages=pages, ended=ended, log=log)


def _tell(settings: Settings) -> None:
    """Bring an invented report of the radiograph, for the pages to have something to compare."""
    radiograph = sample_studies()[0]
    report = IncomingReport(
        source=ReportSource.BULK,
        source_id=f"demonstration:{radiograph.name}",
        parts=(ReportPart(name="findings", text=REPORT),),
        study_uid=radiograph.study_uid,
    )
    database = Database(settings.index_url, settings.data_dir)
    keep_reports(database, [report], datetime.now(UTC))
    database.dispose()


def _usual_port_or_free() -> int:
    usual = WebSettings().port
    return free_port() if _answers("127.0.0.1", usual) else usual


def _let_in(settings: Settings, settings_path: Path, timeout_s: float) -> Pages:
    """Wait for the pages, and make an account for whoever looks on."""
    address = f"http://{settings.web.host}:{settings.web.port}"
    deadline = time.monotonic() + timeout_s
    while not _answers(settings.web.host, settings.web.port):
        if time.monotonic() > deadline:
            raise DemoFailed("the pages did not come up; see the node's log")
        time.sleep(0.2)
    password = secrets.token_urlsafe(12)
    database = Database(settings.index_url, settings.data_dir)
    add_account(
        database,
        name=DEMO_ACCOUNT,
        role=Role.ADMIN,
        password_hash=Passwords().hash(password),
        now=datetime.now(UTC),
    )
    database.dispose()
    return Pages(address=address, name=DEMO_ACCOUNT, password=password, settings=settings_path)


def _answers(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def _empty(out: Path) -> None:
    """Remove what an earlier demonstration left, and nothing else."""
    if not out.exists():
        return
    if any(out.iterdir()) and not (out / "node" / "dicomnode.toml").exists():
        raise DemoFailed(f"{out} holds something else than a demonstration; name another folder")
    shutil.rmtree(out)


def _send_and_wait(
    settings: Settings, out: Path, port: int, timeout_s: float, say: Callable[[str], None]
) -> tuple[DemoResult, ...]:
    started = {}
    studies = sample_studies()
    for study in studies:
        say(f"sending {study.name}: {len(study.paths)} images")
        started[study.name] = time.monotonic()
        answers = send_study(study.paths, host="127.0.0.1", port=port, called_ae=NODE_AE)
        if any(answer.status != 0 for answer in answers):
            raise DemoFailed(f"the node did not take every image of {study.name}")
    database = Database(settings.index_url, settings.data_dir)
    results = []
    for study in studies:
        say(f"waiting for the results of {study.name}")
        told = _wait_for(database, study, timeout_s)
        seconds = time.monotonic() - started[study.name]
        overlays = tuple(_copy_results(settings, job, out, study.name) for job in told.jobs)
        results.append(DemoResult(study=study, told=told, overlays=overlays, seconds=seconds))
    database.dispose()
    return tuple(results)


def _wait_for(database: Database, study: DemoStudy, timeout_s: float) -> Story:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            told = story(database, study.study_uid)
        except StudyError:
            time.sleep(0.2)
            continue
        if told.jobs and all(_is_settled(job) for job in told.jobs):
            _check(study, told)
            return told
        time.sleep(0.2)
    raise DemoFailed(f"{study.name} was not through after {timeout_s:.0f} s; see the node's log")


def _is_settled(job: JobTold) -> bool:
    return job.state in ENDED and all(one.state in SETTLED for one in job.deliveries)


def _check(study: DemoStudy, told: Story) -> None:
    for job in told.jobs:
        if job.state != "succeeded":
            raise DemoFailed(f"{study.name}: {job.algorithm} {job.state}: {job.reason}")
        for delivery in job.deliveries:
            if delivery.state != "confirmed":
                raise DemoFailed(
                    f"{study.name}: {delivery.kind} is {delivery.state}: {delivery.reason}"
                )


def _copy_results(settings: Settings, job: JobTold, out: Path, name: str) -> Path:
    """Put SEG, SR, findings and overlay where a person finds them; return the overlay."""
    target = out / name / job.algorithm
    target.mkdir(parents=True, exist_ok=True)
    source = (settings.data_dir / job.paths[0]).parent
    for path in source.iterdir():
        if path.is_file():
            shutil.copy(path, target / path.name)
    return target / "overlay.png"


@contextmanager
def _pacs(folder: Path, node_port: int, *, with_orthanc: bool) -> Iterator[int]:
    report_to = ReportTo(ae_title=NODE_AE, host="127.0.0.1", port=node_port)
    if not with_orthanc:
        with EmbeddedPacs(folder, ae_title=PACS_AE, report_to=report_to) as embedded:
            yield embedded.port
        return
    with RunningOrthanc(folder, ae_title=PACS_AE, modality=report_to) as orthanc:
        yield orthanc.dicom_port


@contextmanager
def node_process(
    settings_path: Path, log_path: Path, port: int, timeout_s: float
) -> Iterator[threading.Event]:
    """The node as a process of its own, as a site runs it; the event is set once it has ended."""
    command = [sys.executable, "-m", "dicomnode", "serve", "--settings", str(settings_path)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with log_path.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(  # noqa: S603 (our own command)
            command, stdout=log, stderr=subprocess.STDOUT, env=environment
        )
        try:
            _wait_for_port(process, port, log_path, timeout_s)
            yield _end_of(process)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _end_of(process: "subprocess.Popen[bytes]") -> threading.Event:
    ended = threading.Event()

    def wait() -> None:
        process.wait()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    return ended


def _wait_for_port(
    process: "subprocess.Popen[bytes]", port: int, log_path: Path, timeout_s: float
) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DemoFailed(f"the node ended at once; see {log_path}")
        if _answers("127.0.0.1", port):
            return
        time.sleep(0.2)
    raise DemoFailed(f"the node did not open its port; see {log_path}")


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
