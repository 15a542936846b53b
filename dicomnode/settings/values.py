"""What several sections share: kinds of values, and the form of a section."""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
)

from dicomnode.domain.errors import InvalidUid
from dicomnode.domain.identifiers import checked_uid


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


def network(text: str) -> IPv4Network | IPv6Network:
    """An address or a CIDR network."""
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


class Section(BaseModel):
    """A part of the settings: frozen, and no key that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


def is_loopback(host: str | None) -> bool:
    """True if only this machine reaches a server on `host`."""
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"
