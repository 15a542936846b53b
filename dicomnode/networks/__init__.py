"""Networks, inferers and transforms that MONAI bundles name in their configuration."""

from dicomnode.networks.context import SliceContext, WithContext
from dicomnode.networks.fluid import ApartFromFluidd
from dicomnode.networks.halved import HalvedGrid
from dicomnode.networks.hnn import HNN, NestedLoss
from dicomnode.networks.inferers import SlabInferer
from dicomnode.networks.organs import KeepOrgansd, MaskBodyd, RefuseWithoutd, ScaleSoftTissued
from dicomnode.networks.phnn import PHNN
from dicomnode.networks.planes import PlaneCombiner, ThreePlaneInferer, ThreePlaneNetwork
from dicomnode.networks.refined import RefinedInferer
from dicomnode.networks.through_slices import ThroughSlicesUNet
from dicomnode.networks.together import Together, TogetherInferer
from dicomnode.networks.transforms import (
    KeepLargestPartsd,
    OntoImageGridd,
    ToWorkingGridd,
    WindowToUnitd,
)
from dicomnode.networks.whole import WholeInferer
from dicomnode.networks.windows import BodyWindowInferer

__all__ = [
    "HNN",
    "PHNN",
    "ApartFromFluidd",
    "BodyWindowInferer",
    "HalvedGrid",
    "KeepLargestPartsd",
    "KeepOrgansd",
    "MaskBodyd",
    "NestedLoss",
    "OntoImageGridd",
    "PlaneCombiner",
    "RefinedInferer",
    "RefuseWithoutd",
    "ScaleSoftTissued",
    "SlabInferer",
    "SliceContext",
    "ThreePlaneInferer",
    "ThreePlaneNetwork",
    "ThroughSlicesUNet",
    "ToWorkingGridd",
    "Together",
    "TogetherInferer",
    "WholeInferer",
    "WindowToUnitd",
    "WithContext",
]
