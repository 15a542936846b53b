"""A study that findings make urgent."""

from dataclasses import dataclass

from dicomnode.domain.matching import Priority


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """Why a study was flagged, and how urgent it is."""

    rule: str
    """The rule whose alert holds."""
    to: Priority
    findings: tuple[str, ...]
    """Names, as in the report."""
