"""Which values are shown black and white."""

from collections.abc import Sequence

import numpy as np

from dicomnode.domain.findings import Finding, LesionFinding, SegmentFinding
from dicomnode.domain.volumes import Volume

LUNG_WINDOW = (-600.0, 1600.0)
SOFT_TISSUE_WINDOW = (40.0, 400.0)
"""Centre and width, in Hounsfield units."""


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
        float(np.median(volume.array[finding.mask][::50]))
        for finding in findings
        if isinstance(finding, SegmentFinding | LesionFinding)
        and finding.mask is not None
        and finding.mask.any()
    ]
    is_lung = bool(samples) and min(samples) < -300
    centre, width = LUNG_WINDOW if is_lung else SOFT_TISSUE_WINDOW
    return centre - width / 2, centre + width / 2
