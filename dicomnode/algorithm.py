"""The contract of an algorithm: what a MONAI bundle or a plug-in package has to offer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from dicomnode.domain.codes import Code
from dicomnode.domain.device_memory import Shortage
from dicomnode.domain.findings import Finding
from dicomnode.domain.volumes import Volume

ENTRY_POINT_GROUP = "dicomnode.algorithms"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmIdentity:
    """Who made a finding. Goes into every object (PS3.3 10.16, PS3.16 TID 4019)."""

    name: str
    version: str
    manufacturer: str
    title: str
    model_digest: str
    """SHA-256 over the digests of the listed files and of the inference configuration, hex."""
    intended_use: str
    """One sentence; written into every SR, e.g. `Research use only. ...`."""
    procedure: Code | None = None
    """What all images that it reads are of; None: only their headers can tell."""
    calibrated: str = ""
    """By which calibration of the site, in words; empty: as it was shipped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """Which series an algorithm can read as one of its inputs."""

    modalities: frozenset[str]
    dimensions: int
    """2: a projection radiograph; 3: a volume."""
    max_spacing_mm: float | None = None
    """Largest distance between slices."""
    min_slices: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionLimits:
    """How much a site wants marked in one volume, where it does not leave that to the detector."""

    false_positives_per_volume: float | None = None
    """The operating point: the one of the detector's FROC curve that marks no more than this."""
    most: int | None = None
    """Lesions in one volume; those of the highest scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """What a run is given besides its images."""

    device: str
    """`cpu`, `cuda:0`, ..."""
    scratch: Path
    """A folder of its own, removed afterwards."""
    memory_bytes: int | None = None
    """The host's memory that a run may take; None: what is free."""
    shortage: Shortage | None = None
    """Set where the whole was predicted to take more than the device has."""
    notes: list[str] = field(default_factory=list)
    """What a reader of the result has to know of how it was made; the run adds to it."""
    progress: Callable[[float, str], None] = field(default=lambda _fraction, _stage: None)
    lesions: LesionLimits = LesionLimits()


class Algorithm(Protocol):
    """Reads volumes, returns findings on the first input's grid.

    Implemented by `pipeline.bundle.BundleAlgorithm` and by entry points of the group
    `dicomnode.algorithms`.
    """

    @property
    def identity(self) -> AlgorithmIdentity:
        """Name, version, digest."""
        ...

    @property
    def needs(self) -> Mapping[str, InputSpec]:
        """Input name -> what fits it; the first is the one findings lie on."""
        ...

    @property
    def time_limit_s(self) -> float:
        """Beyond this the run is killed."""
        ...

    def run(self, inputs: Mapping[str, Volume], context: RunContext) -> Sequence[Finding]:
        """Findings, empty if there is nothing to report.

        Raises:
            InputRefused: this input is not one it may read; the message says why.
            OutOfMemory: the device is too small.
            ContractBroken: the network's output is not what `dicom.json` describes.
        """
        ...


@runtime_checkable
class Loadable(Protocol):
    """An algorithm that can load its model ahead of a run; the time does not count as the run's.

    Implemented by `pipeline.bundle.BundleAlgorithm`; an entry point may do without.
    """

    def load(self, device: str) -> None:
        """Be ready to run on the device; quick where it already is.

        Raises:
            BundleInvalid, OutOfMemory: as a run would.
        """
        ...
