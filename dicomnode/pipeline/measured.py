"""What a measure tells of a segment."""

from typing import NamedTuple

from dicomnode.domain.findings import Finding, Measurement


class Measured(NamedTuple):
    """Numbers of the segment itself, and findings on parts of it that stand beside it."""

    numbers: tuple[Measurement, ...] = ()
    parts: tuple[Finding, ...] = ()
