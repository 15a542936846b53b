"""What the objects of one job come from: images, algorithm, job. Every builder is handed this."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dicomnode.algorithm import AlgorithmIdentity
from dicomnode.domain.volumes import Volume
from dicomnode.encode.derivation import Derivation, ResultUids
from dicomnode.encode.sources import SourceSeries
from dicomnode.settings import OutputSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """One algorithm's run on one series."""

    volume: Volume
    source: SourceSeries
    identity: AlgorithmIdentity
    derivation: Derivation
    uids: ResultUids
    settings: OutputSettings
    carried: Mapping[str, str] = field(default_factory=dict)
    """Name of a finding -> the Tracking UID that it has from elsewhere."""

    def tracking_uid(self, identifier: str) -> str:
        """The Tracking UID of a finding or of a line of one, the same in SEG, SR and GSPS."""
        return self.carried.get(identifier) or self.uids.tracking(identifier)
