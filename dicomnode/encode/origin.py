"""What the objects of one job come from: images, algorithm, job. Every builder is handed this."""

from dataclasses import dataclass

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
