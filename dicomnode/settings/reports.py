"""How reports come in, and how questions are asked of them."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    Field,
    model_validator,
)

from dicomnode.settings.values import DatabaseUrl, Seconds, Section, is_loopback, network

ReportField = Annotated[str, Field(pattern=r"^(PID|PV1|ORC|OBR|IPC|ZDS)-[1-9][0-9]?$")]


class Hl7Settings(Section):
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
            network(address)
        if not self.allow and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} is not a loopback address, so `allow` must list the senders"
            )
        return self

    def admits(self, address: str) -> bool:
        """True if a peer from this address may send."""
        return not self.allow or any(ip_address(address) in network(one) for one in self.allow)


class ReportSettings(Section):
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


class SqlSettings(Section):
    """Questions asked in SQL."""

    questions: tuple[Path, ...] = ()
    """Folders of saved questions of the site's own, besides the shipped ones."""
    reader_url: DatabaseUrl = ""
    """Login for PostgreSQL that may only read; better given by DICOMNODE_READER_URL."""
    time_limit_s: Seconds = 30.0
