"""One frozen `Settings`, read once from a TOML file; every fault is reported at once.

Sections are handed down to the rooms that need them. Secrets never stand in the file: the database
URLs may be given by `DICOMNODE_DATABASE_URL` and `DICOMNODE_FLOW_DATABASE_URL` instead.
"""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Self, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from dicomnode.domain.access import Role
from dicomnode.domain.errors import ConfigError, InvalidUid
from dicomnode.domain.identifiers import checked_uid
from dicomnode.domain.naming import Template
from dicomnode.domain.results import ResultKind
from dicomnode.domain.tls import TlsFiles


def _ae_title(text: str) -> str:
    """PS3.5 6.2, VR AE: 16 characters of ISO IR 6, no backslash, no controls, not only spaces."""
    title = text.strip()
    is_plain = title.isascii() and title.isprintable() and "\\" not in title
    if not is_plain or not 1 <= len(title) <= 16:
        raise ValueError("an AE title has 1 to 16 printable ASCII characters and no backslash")
    return title


def _database_url(text: str) -> str:
    if text and not text.startswith(("sqlite:///", "postgresql+psycopg://")):
        # Not quoted: it may hold a password.
        raise ValueError("a database URL begins with sqlite:/// or postgresql+psycopg://")
    return text


def _network(text: str) -> IPv4Network | IPv6Network:
    return ip_network(text, strict=False)


def _uid(text: str) -> str:
    try:
        return checked_uid(text)
    except InvalidUid as exc:
        raise ValueError(str(exc)) from exc


AETitle = Annotated[str, AfterValidator(_ae_title)]
Uid = Annotated[str, AfterValidator(_uid)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
Seconds = Annotated[float, Field(gt=0)]
Port = Annotated[int, Field(ge=1, le=65535)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class AllowedPeer(_Section):
    """A sender that is admitted: all three must fit."""

    calling_ae: AETitle
    called_ae: AETitle | None = None
    """None: the node's own AE title."""
    address: str = "127.0.0.1/32"
    """Address or CIDR network the peer connects from."""

    @model_validator(mode="after")
    def _check_address(self) -> Self:
        _network(self.address)
        return self

    def fits(self, *, calling_ae: str, called_ae: str, address: str, own_ae: str) -> bool:
        """True if a peer with these three is this one."""
        return (
            calling_ae == self.calling_ae
            and called_ae == (self.called_ae or own_ae)
            and ip_address(address) in _network(self.address)
        )


class ReceiveTls(_Section):
    """DICOM over TLS (PS3.15 B.9), on a port of its own."""

    certificate: Path
    """PEM; the chain, the node's own certificate first."""
    key: Path
    """PEM, without a password; readable by the node alone."""
    authorities: Path | None = None
    """PEM. Peers must show a certificate that these vouch for; None: they need not show one."""
    port: Annotated[int, Field(ge=0, le=65535)] = 2762
    only: bool = False
    """True: the port without TLS is not opened."""

    @property
    def files(self) -> TlsFiles:
        """What the node shows and whom it believes."""
        return TlsFiles(certificate=self.certificate, key=self.key, authorities=self.authorities)


class ReceiveSettings(_Section):
    """The C-ECHO and C-STORE SCP."""

    host: str = "127.0.0.1"
    port: Port = 11112
    allow: tuple[AllowedPeer, ...] = ()
    """Empty: any AE title, but only while `host` is a loopback address."""
    max_associations: Annotated[int, Field(ge=1)] = 100
    idle_timeout_s: Seconds = 60.0
    max_pdu: Annotated[int, Field(ge=4096, le=1_048_576)] = 131_072
    private_sop_classes: tuple[Uid, ...] = ()
    reserve_mb: Annotated[int, Field(ge=0)] = 1024
    """With less free space than this on the store's file system C-STORE answers 0xA700."""
    separate_process: bool = True
    """Receive in a process of its own, so that nothing else can slow it or take it down."""
    tls: ReceiveTls | None = None

    @model_validator(mode="after")
    def _open_only_on_loopback(self) -> Self:
        if not self.allow and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} is not a loopback address, so `allow` must list the senders"
            )
        return self


def is_loopback(host: str | None) -> bool:
    """True if only this machine reaches a server on `host`."""
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"


class PeerTls(_Section):
    """How a peer is called over TLS."""

    authorities: Path
    """PEM. The peer must show a certificate that these vouch for."""
    certificate: Path | None = None
    """PEM; what the node shows, where the peer wants to see one."""
    key: Path | None = None
    server_name: str = ""
    """Name that must stand in its certificate; empty: `host`."""

    @property
    def files(self) -> TlsFiles:
        """What the node shows and whom it believes."""
        return TlsFiles(certificate=self.certificate, key=self.key, authorities=self.authorities)


class CountQuery(_Section):
    """Whom to ask by C-FIND how many instances a study has, for senders with this AE title."""

    calling_ae: AETitle
    ae_title: AETitle
    host: str
    port: Port
    tls: PeerTls | None = None


class AssemblySettings(_Section):
    """When is a study whole?"""

    quiet_s: Seconds = 30.0
    """Closes this long after the last image, once no association of the study is open."""
    released_s: Seconds = 3.0
    """Closes this long after the last image if associations are released and rules are content."""
    hard_limit_s: Seconds = 3600.0
    """Closes at the latest this long after the first new image."""
    count_queries: tuple[CountQuery, ...] = ()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.released_s <= self.quiet_s <= self.hard_limit_s:
            raise ValueError("released_s <= quiet_s <= hard_limit_s must hold")
        return self


class Confirm(Enum):
    """How a destination is made to prove that it keeps what it was sent."""

    COMMITMENT = "commitment"
    READ_BACK = "read-back"
    NONE = "none"


class Form(Enum):
    """What a destination may want of a job's results; see docs/outputs.md."""

    SEG = "SEG"
    SR = "SR"
    SC = "SC"
    GSPS = "GSPS"
    KOS = "KOS"

    @property
    def kind(self) -> ResultKind:
        """The kind of object."""
        return _KINDS[self]


class SegmentationType(Enum):
    """How masks are packed (PS3.3 C.8.20.2)."""

    BINARY = "binary"
    LABELMAP = "labelmap"


_KINDS = {
    Form.SEG: ResultKind.SEG,
    Form.SR: ResultKind.SR,
    Form.SC: ResultKind.SECONDARY_CAPTURE,
    Form.GSPS: ResultKind.GSPS,
    Form.KOS: ResultKind.KOS,
}
_LABELMAP_TWINS = {
    ResultKind.SEG: ResultKind.LABELMAP,
    ResultKind.SR: ResultKind.LABELMAP_REPORT,
}


class Destination(_Section):
    """A PACS that results go to."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
    ae_title: AETitle
    host: str
    port: Port
    tls: PeerTls | None = None
    confirm: Confirm = Confirm.READ_BACK
    timeout_s: Seconds = 30.0
    first_retry_s: Seconds = 5.0
    longest_retry_s: Seconds = 900.0
    give_up_after_s: Seconds = 7 * 86400.0
    commitment_wait_s: Seconds = 60.0
    """How long to wait for the N-EVENT-REPORT before asking by C-FIND instead."""
    send: Annotated[tuple[Form, ...], Field(min_length=1)] = (Form.SEG, Form.SR)
    segmentation: SegmentationType = SegmentationType.BINARY
    """LABELMAP falls back to BINARY where the destination accepts no such presentation context."""

    @property
    def kinds(self) -> frozenset[ResultKind]:
        """What it is to get, as it was configured."""
        wanted = frozenset(form.kind for form in self.send)
        if self.segmentation is SegmentationType.BINARY or ResultKind.SEG not in wanted:
            return wanted
        return frozenset(_LABELMAP_TWINS.get(kind, kind) for kind in wanted)


class FlowSettings(_Section):
    """Durable work."""

    poll_s: Seconds = 0.05
    devices: tuple[str, ...] = ("auto",)
    """One worker child each: `cpu`, `cuda:0`, or `auto` (every CUDA device, else the CPU)."""
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """Tries of one job, for errors that say they are retryable."""
    retry_s: Seconds = 5.0
    time_limit_factor: Annotated[float, Field(gt=0)] = 1.0
    """Multiplies each algorithm's own time limit, for slow machines."""


class AlgorithmSettings(_Section):
    """Where bundles are read from, and nowhere else."""

    roots: tuple[Path, ...] = ()
    """Besides the ones shipped with the package."""


def _template(text: str) -> str:
    return Template(text).text


class OutputSettings(_Section):
    """What result series are called."""

    series_number_base: Annotated[int, Field(ge=0, le=90_000)] = 9000
    series_number_per_source: Annotated[int, Field(ge=0, le=1_000)] = 0
    """Times the number of the series that was read, added to the base: 100 puts 301 beside 3."""
    series_description: Annotated[str, AfterValidator(_template)] = (
        "{title} {kind}[, series {source_number}][, rev {revision}]"
    )
    """Fields in braces; a part in brackets is left out where a field of it is empty."""
    institution: str = ""


ReportField = Annotated[str, Field(pattern=r"^(PID|PV1|ORC|OBR|IPC|ZDS)-[1-9][0-9]?$")]


class Hl7Settings(_Section):
    """The listener for HL7 v2 ORU^R01 messages over MLLP."""

    enabled: bool = False
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 2575
    allow: tuple[str, ...] = ()
    """Addresses or CIDR networks that may send; empty: any, but only on a loopback `host`."""
    max_connections: Annotated[int, Field(ge=1)] = 50
    idle_timeout_s: Seconds = 300.0
    largest_message: Annotated[int, Field(ge=10_000)] = 8_000_000
    """Bytes."""
    accession: Annotated[tuple[ReportField, ...], Field(min_length=1)] = (
        "IPC-1",
        "OBR-18",
        "OBR-3",
    )
    """Where the accession number stands; the first that is filled counts."""

    @model_validator(mode="after")
    def _open_only_on_loopback(self) -> Self:
        for address in self.allow:
            _network(address)
        if not self.allow and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} is not a loopback address, so `allow` must list the senders"
            )
        return self

    def admits(self, address: str) -> bool:
        """True if a peer from this address may send."""
        return not self.allow or any(ip_address(address) in _network(one) for one in self.allow)


class ReportSettings(_Section):
    """How reports come in and what they are mined with."""

    enabled: bool = True
    """False: reports are kept and matched, but not mined."""
    policy: Annotated[str, Field(pattern=r"^(strict|chestxray8|openi)$")] = "strict"
    """What hedged mentions count as."""
    lexicons: tuple[Path, ...] = ()
    """Lexicon files of the site's own, besides the shipped ones."""
    graph: bool = True
    """False: scope windows only, without the dependency graph; faster."""
    hl7: Hl7Settings = Hl7Settings()


class SqlSettings(_Section):
    """Questions asked in SQL."""

    questions: tuple[Path, ...] = ()
    """Folders of saved questions of the site's own, besides the shipped ones."""
    reader_url: DatabaseUrl = ""
    """Login for PostgreSQL that may only read; better given by DICOMNODE_READER_URL."""
    time_limit_s: Seconds = 30.0


def _origin(text: str) -> str:
    """`https://host[:port]`, or plain http where it stays on this machine."""
    parts = urlsplit(text)
    is_whole = parts.hostname and parts.path in {"", "/"} and not (parts.query or parts.fragment)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))
    if text and not (is_whole and is_safe):
        raise ValueError("give https://host or https://host:port, nothing behind it")
    return text.rstrip("/")


class OidcSettings(_Section):
    """Logging in by an OpenID Connect provider: authorization code with PKCE (RFC 7636)."""

    issuer: str
    """URL of the provider; `/.well-known/openid-configuration` is read below it."""
    client_id: str
    client_secret: str = ""
    """Better given by DICOMNODE_OIDC_SECRET; empty: a public client."""
    scopes: str = "openid profile"
    name_claim: str = "preferred_username"
    """Claim that names the account here."""
    role_claim: str = "roles"
    """Claim that holds a role or a list of them; a dot leads into it: `realm_access.roles`."""
    roles: dict[str, Role] = {}
    """Value of that claim -> viewer, reader or admin; the highest counts, none: no entry."""

    @field_validator("issuer")
    @classmethod
    def _issuer_is_safe(cls, text: str) -> str:
        parts = urlsplit(text)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
            raise ValueError("the issuer is an https URL")
        return text.rstrip("/")


class WebSettings(_Section):
    """The node's pages, REST API and DICOMweb, in a process of their own."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    certificate: Path | None = None
    """PEM file, with intermediate certificates behind it."""
    key: Path | None = None
    """PEM file of the certificate's private key."""
    public_url: Annotated[str, AfterValidator(_origin)] = ""
    """As browsers see it, e.g. behind a proxy: `https://dicomnode.hospital.example`."""
    proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies whose X-Forwarded-For is believed."""
    session_hours: Annotated[float, Field(gt=0, le=168)] = 10.0
    idle_minutes: Annotated[float, Field(gt=0)] = 60.0
    """A session that was not used for so long ends."""
    viewer: Path | None = None
    """Where `dicomnode viewer --install` puts OHIF; none: `viewer` in the data folder."""
    oidc: OidcSettings | None = None

    @model_validator(mode="after")
    def _open_only_with_certificate(self) -> Self:
        for address in self.proxies:
            _network(address)
        if (self.certificate is None) != (self.key is None):
            raise ValueError("`certificate` and `key` are given together")
        if self.certificate is None and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} is not a loopback address, so `certificate` and `key` are"
                " needed"
            )
        if self.oidc is not None and not (self.public_url or is_loopback(self.host)):
            raise ValueError("logins by a provider need `public_url`, where it sends browsers back")
        return self

    @property
    def is_secure(self) -> bool:
        """True if browsers reach it by https."""
        return self.certificate is not None or self.public_url.startswith("https:")


class Settings(_Section):
    """The whole configuration."""

    ae_title: AETitle = "DICOMNODE"
    data_dir: Path = Path("dicomnode-data")
    """Files and, by default, both databases. Relative to the settings file."""
    rules: Path | None = None
    """TOML file of rules; none: the shipped rules."""
    database_url: DatabaseUrl = ""
    """Default: SQLite `index.sqlite` in `data_dir`. PostgreSQL: `postgresql+psycopg://...`."""
    flow_database_url: DatabaseUrl = ""
    """Default: SQLite `flow.sqlite` in `data_dir`, or the database of `database_url`."""
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"
    receive: ReceiveSettings = ReceiveSettings()
    assembly: AssemblySettings = AssemblySettings()
    flow: FlowSettings = FlowSettings()
    algorithms: AlgorithmSettings = AlgorithmSettings()
    output: OutputSettings = OutputSettings()
    reports: ReportSettings = ReportSettings()
    sql: SqlSettings = SqlSettings()
    web: WebSettings = WebSettings()
    destinations: tuple[Destination, ...] = ()

    @field_validator("destinations")
    @classmethod
    def _names_are_unique(cls, known: tuple[Destination, ...]) -> tuple[Destination, ...]:
        names = [destination.name for destination in known]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"defined more than once: {', '.join(twice)}")
        return known

    def destination(self, name: str) -> Destination | None:
        """The destination called `name`, or None."""
        return next((known for known in self.destinations if known.name == name), None)

    @property
    def index_url(self) -> str:
        """SQLAlchemy URL of the index."""
        return self.database_url or f"sqlite:///{self.data_dir / 'index.sqlite'}"

    @property
    def flow_url(self) -> str:
        """SQLAlchemy URL of the durable flow's own tables."""
        if self.flow_database_url or self.database_url:
            return self.flow_database_url or self.database_url
        return f"sqlite:///{self.data_dir / 'flow.sqlite'}"


_Tls = TypeVar("_Tls", ReceiveTls, PeerTls)


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read settings from a TOML file; without one, the defaults.

    Raises:
        ConfigError: listing every fault of the file.
    """
    raw: dict[str, object] = {}
    base = Path.cwd()
    if path is not None:
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        # ValueError: no TOML, or no UTF-8.
        except (OSError, ValueError) as exc:
            raise ConfigError([f"{path}: {exc}"]) from exc
        base = path.resolve().parent
    for key, variable in (
        ("database_url", "DICOMNODE_DATABASE_URL"),
        ("flow_database_url", "DICOMNODE_FLOW_DATABASE_URL"),
    ):
        if environ.get(variable):
            raw[key] = environ[variable]
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as exc:
        # `from None`: pydantic quotes the input, and a database URL may hold a password.
        raise ConfigError([f"{path or 'settings'}: {_words(f)}" for f in exc.errors()]) from None
    return settings.model_copy(
        update={
            "data_dir": base / settings.data_dir,
            "rules": base / settings.rules if settings.rules else None,
            "algorithms": AlgorithmSettings(
                roots=tuple(base / root for root in settings.algorithms.roots)
            ),
            "reports": settings.reports.model_copy(
                update={"lexicons": tuple(base / one for one in settings.reports.lexicons)}
            ),
            "sql": settings.sql.model_copy(
                update={
                    "questions": tuple(base / one for one in settings.sql.questions),
                    "reader_url": environ.get("DICOMNODE_READER_URL") or settings.sql.reader_url,
                }
            ),
            "web": _web(settings.web, base, environ),
            "receive": settings.receive.model_copy(
                update={"tls": _beside(settings.receive.tls, base)}
            ),
            "assembly": settings.assembly.model_copy(
                update={
                    "count_queries": tuple(
                        one.model_copy(update={"tls": _beside(one.tls, base)})
                        for one in settings.assembly.count_queries
                    )
                }
            ),
            "destinations": tuple(
                one.model_copy(update={"tls": _beside(one.tls, base)})
                for one in settings.destinations
            ),
        }
    )


def _beside(tls: _Tls | None, base: Path) -> _Tls | None:
    """The same with paths that do not depend on where the node is started."""
    if tls is None:
        return None
    names = ("certificate", "key", "authorities")
    stated = {name: getattr(tls, name) for name in names}
    return tls.model_copy(update={name: base / path for name, path in stated.items() if path})


def _web(web: WebSettings, base: Path, environ: Mapping[str, str]) -> WebSettings:
    secret = environ.get("DICOMNODE_OIDC_SECRET")
    oidc = (
        web.oidc.model_copy(update={"client_secret": secret}) if web.oidc and secret else web.oidc
    )
    return web.model_copy(
        update={
            "viewer": base / web.viewer if web.viewer else None,
            "certificate": base / web.certificate if web.certificate else None,
            "key": base / web.key if web.key else None,
            "oidc": oidc,
        }
    )


def _words(fault: ErrorDetails) -> str:
    """One fault for people: where it stands, what is wrong, what may have been meant."""
    place = ".".join(str(part) for part in fault["loc"]) or "settings"
    if fault["type"] != "extra_forbidden":
        return f"{place}: {fault['msg'].removeprefix('Value error, ')}"
    near = get_close_matches(str(fault["loc"][-1]), _keys_at(fault["loc"][:-1]), n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return f"{place}: there is no such setting{meant}"


def _keys_at(loc: tuple[int | str, ...]) -> list[str]:
    """The settings there are in the section at `loc`."""
    section: type[BaseModel] = Settings
    for part in loc:
        if isinstance(part, str):
            section = _section_type(section.model_fields[part].annotation)
    return list(section.model_fields)


def _section_type(annotation: object) -> type[BaseModel]:
    """`X` of a field that holds one section `X` or a tuple of them."""
    inner = get_args(annotation)
    found = inner[0] if inner else annotation
    assert isinstance(found, type)
    assert issubclass(found, BaseModel)
    return found
