"""Who may send, how, and when a study is whole."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    Field,
    model_validator,
)

from dicomnode.domain.tls import TlsFiles
from dicomnode.settings.values import AETitle, Port, Seconds, Section, Uid, is_loopback, network


class AllowedPeer(Section):
    """A sender that is admitted: all three must fit."""

    calling_ae: AETitle
    called_ae: AETitle | None = None
    """None: the node's own AE title."""
    address: str = "127.0.0.1/32"
    """Address or CIDR network the peer connects from."""

    @model_validator(mode="after")
    def _check_address(self) -> Self:
        network(self.address)
        return self

    def fits(self, *, calling_ae: str, called_ae: str, address: str, own_ae: str) -> bool:
        """True if a peer with these three is this one."""
        return (
            calling_ae == self.calling_ae
            and called_ae == (self.called_ae or own_ae)
            and ip_address(address) in network(self.address)
        )


class PeerTls(Section):
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


class CommitmentAsker(Section):
    """A sender that may ask for storage commitment, and where its answer goes."""

    ae_title: AETitle
    """That asks, and that the report is addressed to."""
    host: str
    port: Port
    tls: PeerTls | None = None


class ReceiveTls(Section):
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


class ReceiveSettings(Section):
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
    commitment: tuple[CommitmentAsker, ...] = ()
    """Who may ask for storage commitment of what it sent; empty: it is not offered."""

    @model_validator(mode="after")
    def _open_only_on_loopback(self) -> Self:
        if not self.allow and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} is not a loopback address, so `allow` must list the senders"
            )
        return self


class CountQuery(Section):
    """Whom to ask by C-FIND how many instances a study has, for senders with this AE title."""

    calling_ae: AETitle
    ae_title: AETitle
    host: str
    port: Port
    tls: PeerTls | None = None


class AssemblySettings(Section):
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
