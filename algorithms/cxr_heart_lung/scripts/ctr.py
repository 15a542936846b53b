"""The cardiothoracic ratio of a pair of mask sets: the reference definition, numpy only.

CTR = heart width / thoracic width, both in pixels along the image's rows, over the *whole*
mask, not row by row:

* heart width: from the leftmost to the rightmost column that holds a heart pixel, both included;
* thoracic width: the same for right and left lung together. The two ends may lie in
  different rows.

On the 168 published ratios of the Wingspan masks this definition errs by 0.0013 on average
(0.0046 at most), which is rounding. The width of the widest single row of both lungs errs by
0.0046 (0.035 at most), the widest row of the heart over the thoracic width by 0.0117.
"""

import numpy as np
from numpy.typing import NDArray


def extent(mask: NDArray[np.bool_]) -> int:
    """Return the width of `mask` (rows, columns) in columns, both ends counted; 0 if empty."""
    columns = np.flatnonzero(mask.any(axis=0))
    return int(columns[-1] - columns[0] + 1) if columns.size else 0


def cardiothoracic_ratio(
    heart: NDArray[np.bool_], right_lung: NDArray[np.bool_], left_lung: NDArray[np.bool_]
) -> float | None:
    """Return the ratio; None when the heart or either lung is empty.

    Masks are (rows, columns), image row by image row. A ratio needs no pixel spacing as long
    as all columns are equally wide.
    """
    if not (heart.any() and right_lung.any() and left_lung.any()):
        return None
    return extent(heart) / extent(right_lung | left_lung)
