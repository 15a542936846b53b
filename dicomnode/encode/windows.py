"""Which values are shown black and white."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicomnode.domain.findings import Finding, LesionFinding, SegmentFinding
from dicomnode.domain.volumes import Volume
from dicomnode.encode.outlines import largest_slice

LUNG_WINDOW = (-600.0, 1600.0)
SOFT_TISSUE_WINDOW = (40.0, 400.0)
"""Centre and width, in Hounsfield units."""
_RING_MM = 4.0
"""Around a lesion."""


def window_of(volume: Volume, findings: Sequence[Finding]) -> tuple[float, float]:
    """The values shown black and white.

    CT: the lung or the soft tissue window, whichever suits what is marked. Radiographs: 0 to 1,
    which is their header's own window. All else: the range without its outermost hundredths.
    """
    if volume.grid.frame_of_reference_uid is None:
        return 0.0, 1.0
    if volume.modality != "CT":
        low, high = np.percentile(volume.array[:, ::4, ::4], (1, 99))
        return float(low), float(max(high, low + 1e-6))
    samples = [
        _median_around(volume, finding.mask)
        if isinstance(finding, LesionFinding)
        else float(np.median(volume.array[finding.mask][::50]))
        for finding in findings
        if isinstance(finding, SegmentFinding | LesionFinding)
        and finding.mask is not None
        and finding.mask.any()
    ]
    is_lung = bool(samples) and min(samples) < -300
    centre, width = LUNG_WINDOW if is_lung else SOFT_TISSUE_WINDOW
    return centre - width / 2, centre + width / 2


def _median_around(volume: Volume, mask: npt.NDArray[np.bool_]) -> float:
    """Of what a lesion lies in: a solid nodule is as dense as muscle and is looked at in lung."""
    index = largest_slice(mask)
    reach = max(round(_RING_MM / float(np.mean(volume.grid.spacing_mm[1:]))), 1)
    ring = ndimage.binary_dilation(mask[index], iterations=reach) & ~mask[index]
    return float(np.median(volume.array[index][ring if ring.any() else mask[index]]))
