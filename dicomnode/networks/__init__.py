"""Networks, inferers and transforms that MONAI bundles name in their configuration."""

from dicomnode.networks.inferers import SlabInferer
from dicomnode.networks.phnn import PHNN
from dicomnode.networks.transforms import (
    KeepLargestPartsd,
    OntoImageGridd,
    ToWorkingGridd,
    WindowToUnitd,
)

__all__ = [
    "PHNN",
    "KeepLargestPartsd",
    "OntoImageGridd",
    "SlabInferer",
    "ToWorkingGridd",
    "WindowToUnitd",
]
