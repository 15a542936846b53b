"""The node's pages, and who logs in by whom."""

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    field_validator,
    model_validator,
)

from dicomnode.domain.access import Role
from dicomnode.settings.values import Section, is_loopback, network


def _origin(text: str) -> str:
    """`https://host[:port]`, or plain http where it stays on this machine."""
    parts = urlsplit(text)
    is_whole = parts.hostname and parts.path in {"", "/"} and not (parts.query or parts.fragment)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))
    if text and not (is_whole and is_safe):
        raise ValueError("give https://host or https://host:port, nothing behind it")
    return text.rstrip("/")


class OidcSettings(Section):
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
    roles: dict[str, Role] = Field(default_factory=dict)
    """Value of that claim -> viewer, reader or admin; the highest counts, none: no entry."""

    @field_validator("issuer")
    @classmethod
    def _issuer_is_safe(cls, text: str) -> str:
        parts = urlsplit(text)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
            raise ValueError("the issuer is an https URL")
        return text.rstrip("/")


class WebSettings(Section):
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
            network(address)
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
