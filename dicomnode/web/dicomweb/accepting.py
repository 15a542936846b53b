"""Which form of an answer the client wants (PS3.18 8.7)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_QUOTED_OR_NOT = r'(?:[^{}"]|"(?:[^"\\]|\\.)*")+'
_RANGES = re.compile(_QUOTED_OR_NOT.format(",", ","))
_PIECES = re.compile(_QUOTED_OR_NOT.format(";", ";"))
_LONGEST = 4096

MULTIPART = "multipart/related"
ANYTHING = "*/*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One media range of an Accept header."""

    type: str
    """Of each part, if `multipart`; `*/*` where it is not said."""
    multipart: bool
    transfer_syntax: str | None
    """A UID, `*` for as it is stored, None where it is not said."""
    quality: float
    parameters: Mapping[str, str] = field(default_factory=dict)

    def fits(self, media_type: str) -> bool:
        """True if `media_type` is within this range."""
        kind = self.type.split("/")[0]
        return self.type in (ANYTHING, media_type) or (
            self.type.endswith("/*") and media_type.startswith(f"{kind}/")
        )


def wanted_types(header: str | None, parameter: str | None = None) -> tuple[Wanted, ...]:
    """The ranges of an Accept header, the most wanted first; `accept` in the query goes before it.

    An empty or missing header accepts everything.
    """
    text = (parameter or header or ANYTHING)[:_LONGEST]
    ranges = [_range(found.group()) for found in _RANGES.finditer(text)]
    known = [one for one in ranges if one.quality > 0]
    return tuple(sorted(known, key=lambda one: -one.quality))


def _range(text: str) -> Wanted:
    first, *rest = (piece.group().strip() for piece in _PIECES.finditer(text))
    parameters = dict(_parameter(piece) for piece in rest)
    name = first.lower()
    multipart = name == MULTIPART
    return Wanted(
        type=parameters.get("type", ANYTHING).lower() if multipart else name,
        multipart=multipart,
        transfer_syntax=parameters.get("transfer-syntax"),
        quality=_quality(parameters.get("q", "1")),
        parameters=parameters,
    )


def _parameter(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip().lower(), value.strip().strip('"')


def _quality(text: str) -> float:
    return float(text) if re.fullmatch(r"[01](\.[0-9]{0,3})?", text) else 1.0


def first_that_fits(wanted: Iterable[Wanted], offered: Iterable[str]) -> str | None:
    """The offered media type that the client wants most; None if none will do."""
    types = list(offered)
    return next((kind for one in wanted for kind in types if one.fits(kind)), None)
