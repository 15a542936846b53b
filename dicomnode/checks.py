"""What `dicomnode check` and `dicomnode doctor` look at. Nothing here changes anything."""

import importlib.metadata
import platform
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dicomnode.app import devices_of
from dicomnode.deliver.association import Peer
from dicomnode.deliver.echo import echo
from dicomnode.deliver.mllp import connected
from dicomnode.domain.errors import AssociationRejected, ConfigError, DicomNodeError, RuleError
from dicomnode.domain.files import CALIBRATIONS
from dicomnode.domain.tls import client_context
from dicomnode.fetching import source_of
from dicomnode.pipeline.bundle import load_bundle
from dicomnode.pipeline.codecs import missing_decoder
from dicomnode.pipeline.discovery import AlgorithmDescription, BrokenAlgorithm
from dicomnode.receive.reports.mllp import asks_listener
from dicomnode.rules.loading import default_rules
from dicomnode.rules.watching import WatchedRules
from dicomnode.settings import Settings
from dicomnode.steps.installed import algorithms_of, idle_alerts_of, rules_loader
from dicomnode.store.database import Database
from dicomnode.store.schema import current_and_head

PACKAGES = ("pydicom", "pynetdicom", "highdicom", "monai", "torch", "sqlalchemy", "dbos")
DECODERS = (
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
    HTJ2K,
    RLELossless,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was tried."""

    what: str
    is_good: bool
    words: str


def check_settings(settings: Settings) -> list[Finding]:
    """Database, disk, port, rules, models with their digests, destinations by C-ECHO."""
    peers = [
        _try(
            f"destination {known.name}: C-ECHO to {known.ae_title} at {known.host}:{known.port}",
            partial(_echo, Peer.of(known), settings.ae_title),
        )
        for known in settings.destinations
    ]
    roots = [
        _try(f"algorithm root {root}", partial(_root, root)) for root in settings.algorithms.roots
    ]
    found = algorithms_of(settings)
    return [
        _try("database", lambda: _database(settings)),
        _try("disk", lambda: _disk(settings.data_dir, settings.receive.reserve_mb)),
        _try("receiving port", lambda: _port(settings)),
        *([_try("files of the node", lambda: _files(settings))] if settings.files.url else []),
        *([_try("HL7 port", lambda: _hl7_port(settings))] if settings.reports.hl7.enabled else []),
        _try("rules", lambda: _rules(settings)),
        _try("devices", lambda: ", ".join(device.name for device in devices_of(settings))),
        *roots,
        *(_try(f"algorithm {name}", partial(_model, one)) for name, one in found.items()),
        *peers,
        *_notices(settings),
    ]


def check_installation() -> list[Finding]:
    """Python, packages, decoders, device, disk of the present folder."""
    return [
        Finding(what="Python", is_good=True, words=platform.python_version()),
        *(_try(package, partial(importlib.metadata.version, package)) for package in PACKAGES),
        *(_try(f"decoder {uid.name}", partial(_decoder, uid)) for uid in DECODERS),
        _try("devices", lambda: ", ".join(device.name for device in devices_of(Settings()))),
        *(
            _try(f"algorithm {name}", partial(_model, one))
            for name, one in algorithms_of(Settings()).items()
        ),
        _try("disk", lambda: _disk(Path.cwd(), 1024)),
    ]


def _notices(settings: Settings) -> list[Finding]:
    """The receiver of urgent findings is connected to, and sent nothing."""
    own = settings.notices
    if not own.hl7_host:
        return []

    def look() -> str:
        context, name = (
            (client_context(own.tls.files), own.tls.server_name) if own.tls else (None, "")
        )
        with connected(own.hl7_host, own.hl7_port, timeout_s=5.0, context=context, name=name):
            return "takes connections"

    return [_try(f"notices by HL7 to {own.hl7_host}:{own.hl7_port}", look)]


def _try(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what=what, is_good=True, words=look())
    except (ConfigError, RuleError) as exc:
        return Finding(what=what, is_good=False, words="; ".join(exc.faults))
    except (DicomNodeError, OSError, importlib.metadata.PackageNotFoundError) as exc:
        return Finding(what=what, is_good=False, words=str(exc) or type(exc).__name__)


def _database(settings: Settings) -> str:
    database = Database(settings.index_url, settings.data_dir)
    current, head = current_and_head(database)
    kind = database.url.get_backend_name()
    database.dispose()
    if current == head:
        return f"{kind}, schema {current}"
    if database.is_sqlite and not current:
        return f"{kind}, made at the first start (schema {head})"
    if database.is_sqlite:
        return f"{kind}, to be upgraded from schema {current} to {head} at start"
    raise ConfigError([f"{kind} is at schema {current or 'none'}: run `dicomnode db upgrade`"])


def _disk(folder: Path, reserve_mb: int) -> str:
    existing = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    free_mb = shutil.disk_usage(existing).free >> 20
    if free_mb < reserve_mb:
        raise ConfigError([f"{free_mb} MB free at {existing}, the reserve is {reserve_mb} MB"])
    try:
        TemporaryFile(dir=existing).close()
    except OSError as exc:
        raise ConfigError([f"{existing} cannot be written: {exc.strerror}"]) from exc
    return f"{free_mb / 1024:.1f} GB free at {existing}"


def _port(settings: Settings) -> str:
    own = settings.receive
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((own.host, own.port))
        except OSError as exc:
            echo_words = _echo_self(settings)
            if echo_words:
                return echo_words
            raise ConfigError([f"{own.host}:{own.port}: {exc}"]) from exc
    return f"{own.host}:{own.port} is free"


def _files(settings: Settings) -> str:
    source_of(settings, lambda: None).names(CALIBRATIONS)
    return f"{settings.files.url} answers"


def _hl7_port(settings: Settings) -> str:
    own = settings.reports.hl7
    with socket.socket(_family(own.host)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((own.host, own.port))
        except OSError as exc:
            # A listener on every address is asked on this machine's own.
            asked = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(own.host, own.host)  # noqa: S104
            if asks_listener(asked, own.port, timeout_s=5.0):
                return f"{own.host}:{own.port} is taken by this node, which answers"
            hint = "" if own.admits(asked) else f"; `allow` does not let {asked} ask by whom"
            raise ConfigError([f"{own.host}:{own.port}: {exc.strerror}{hint}"]) from exc
    return f"{own.host}:{own.port} is free"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _echo_self(settings: Settings) -> str:
    own = settings.receive
    peer = Peer(
        name="this node",
        ae_title=settings.ae_title,
        host=own.host,
        port=own.port,
        timeout_s=5.0,
    )
    try:
        echo(peer, own_ae=settings.ae_title)
    except AssociationRejected as exc:
        # As a running node does whose `allow` lists senders alone. One of another AE title would
        # object to that.
        if own.allow and "Calling AE title" in str(exc):
            return (
                f"{own.host}:{own.port} is taken by a node that answers and, as `allow` says, "
                f"does not let {settings.ae_title} send from this machine"
            )
        return ""
    except DicomNodeError:
        return ""
    return f"{own.host}:{own.port} is taken by this node, which answers"


def _rules(settings: Settings) -> str:
    path = settings.rules or settings.data_dir / "rules.toml"
    found = algorithms_of(settings)
    load = rules_loader(settings, found, str(path))
    # The shipped rules are only copied into the data folder at the first start.
    is_to_come = settings.rules is None and not path.exists()
    rules = load(default_rules()) if is_to_come else WatchedRules(path, load).refresh()
    if idle := idle_alerts_of(rules, found):
        raise ConfigError(idle)
    return f"{len(rules.rules)} rules, {sum(rule.enabled for rule in rules.rules)} enabled"


def _root(folder: Path) -> str:
    if not folder.is_dir():
        raise ConfigError(["there is no such folder"])
    return f"{len(list(folder.glob('*/configs/dicom.json')))} bundles"


def _model(known: AlgorithmDescription | BrokenAlgorithm) -> str:
    if isinstance(known, BrokenAlgorithm):
        raise ConfigError([known.fault])
    if known.source.root is not None:
        load_bundle(known.source.root)
    return f"version {known.identity.version}, model {known.identity.model_digest[:12]}"


def _decoder(uid: UID) -> str:
    decoder = get_decoder(uid)
    if not decoder.is_available:
        # An extra that is left out on purpose is no fault.
        if hint := missing_decoder(uid):
            return f"none; {hint}"
        raise ConfigError(["no decoder is installed: reinstall dicomnode"])
    return ", ".join(decoder.available_plugins)


def _echo(peer: Peer, own_ae: str) -> str:
    echo(peer, own_ae=own_ae)
    return "answers"
