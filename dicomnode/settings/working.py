"""Durable work, algorithms, and what their results are called."""

from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    Field,
)

from dicomnode.domain.naming import Template
from dicomnode.settings.values import Seconds, Section


class FlowSettings(Section):
    """Durable work."""

    poll_s: Seconds = 0.05
    devices: tuple[str, ...] = ("auto",)
    """One worker child each: `cpu`, `cuda:0`, or `auto` (every CUDA device, else the CPU)."""
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """Tries of one job, for errors that say they are retryable."""
    retry_s: Seconds = 5.0
    take_over_s: Annotated[float, Field(ge=1.0, le=3600.0)] = 30.0
    """A process that was not heard of for so long loses its work to the others."""
    time_limit_factor: Annotated[float, Field(gt=0)] = 1.0
    """Multiplies each algorithm's own time limit, for slow machines."""
    load_limit_s: Seconds = 600.0
    """For a process to load torch, MONAI and a model before a run; does not count as the run's."""
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    """The host's memory that one run may take; none: four fifths of what is free."""

    device_gb: Annotated[float, Field(gt=0)] | None = None
    """Of each device, for this process; none: what is free of a CUDA device at its start."""
    runs_per_device: Annotated[int, Field(ge=1, le=16)] = 1
    """Runs that may share a device, where their memory fits."""

    @property
    def device_bytes(self) -> int | None:
        """`device_gb` in bytes."""
        return None if self.device_gb is None else int(self.device_gb * 1e9)

    @property
    def memory_bytes(self) -> int | None:
        """`memory_gb` in bytes."""
        return None if self.memory_gb is None else int(self.memory_gb * 1e9)


class AlgorithmSettings(Section):
    """Where bundles are read from, and nowhere else. Added ones come before shipped ones."""

    roots: tuple[Path, ...] = ()
    """Besides the ones shipped with the package."""
    added: Path | None = None
    """Where `dicomnode models add` keeps bundles; none: `models` in the data folder."""
    largest_gb: Annotated[float, Field(gt=0, le=1000)] = 8.0
    """The largest bundle that is added, unpacked."""


def _template(text: str) -> str:
    return Template(text).text


class LesionSettings(Section):
    """How many lesions detectors mark; None: each as its `configs/dicom.json` says."""

    false_positives_per_volume: Annotated[float, Field(gt=0, le=100)] | None = None
    """The operating point, from the FROC curve of each detector."""
    most: Annotated[int, Field(ge=1, le=100)] | None = None
    """Lesions marked in one volume."""
    follow_up: bool = True
    """Match lesions to those of earlier CTs of the patient."""


class OutputSettings(Section):
    """What result series are called."""

    series_number_base: Annotated[int, Field(ge=0, le=90_000)] = 9000
    series_number_per_source: Annotated[int, Field(ge=0, le=1_000)] = 0
    """Times the number of the series that was read, added to the base: 100 puts 301 beside 3."""
    series_description: Annotated[str, AfterValidator(_template)] = (
        "{title} {kind}[, series {source_number}][, rev {revision}]"
    )
    """Fields in braces; a part in brackets is left out where a field of it is empty."""
    institution: str = ""
