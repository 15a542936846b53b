"""Vertebral bodies told from each other: each with the attenuation of its marrow, drawn once."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from dicomnode.domain.codes import (
    HOUNSFIELD,
    MEDIAN,
    ML,
    STANDARD_DEVIATION,
    VERTEBRA,
    VERTEBRAL_MARROW,
    VERTEBRAL_MARROW_VOLUME,
)
from dicomnode.domain.findings import Mark, Measurement, MeasurementFinding

_TALLEST_MM = 32.0
"""The core of one body with its end plates; what is taller is several that have run together."""
_TALLEST_PARTED_MM = 36.0
"""The same where end plates were looked for: the disc may be in it."""
_LEAST_HEIGHT_MM = 8.0
_LEAST_PARTED_MM = 11.0
"""The same between end plates: a disc is lower."""
_APART_MM = 15.0
"""Least distance of two discs that is believed."""
_THICKEST_DISC_MM = 12.0
_AROUND_MM = 60.0
_WIDE = 0.4
"""Of the upper quarter of areas 60 mm around: a slice with less belongs to no body."""
_RISE_HU = 15.0
"""By how much an end plate stands out from what is above and below it."""
_LIKE = 0.5
"""What stands out this much as much, next to an end plate, is the disc's other one."""
_NEXT_TO_MM = 3.0
"""End plates reach into the slices beside them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """What is deep in bone near the middle, on a part of every n-th row and column."""

    mask: npt.NDArray[np.bool_]
    """(slice, row, column), not empty."""
    hu: npt.NDArray[np.float32]
    steps_mm: tuple[float, float, float]
    first_column: int
    """Of `mask`, counted in thinned columns of the image."""
    pixels: tuple[int, int]
    """Rows and columns of the image that one of `mask` stands for."""
    head_is_last: bool
    """True where slices rise towards the head."""

    @property
    def voxel_ml(self) -> float:
        """Of `mask`."""
        return float(np.prod(self.steps_mm)) / 1000


def vertebrae_of(cores: Cores) -> tuple[MeasurementFinding, ...]:
    """Median and standard deviation of HU in each body, and how many ml, from below.

    Bodies are counted from the lowest measured one, not named: which level that is cannot be told
    from an outline of bone alone. Where discs were outlined as bone, bodies are parted where end
    plates stand out; what is too tall or too low for one body is left out. The core of the middle
    slice is drawn.
    """
    bodies = sorted(_bodies(cores), key=lambda body: body.start, reverse=not cores.head_is_last)
    return tuple(_finding(number, body, cores) for number, body in enumerate(bodies, start=1))


def _bodies(cores: Cores) -> Iterator[slice]:
    """The slices of each body's core; no slice belongs to two."""
    for first, end in _runs(_wide(cores)):
        height = (end - first) * cores.steps_mm[0]
        if height > _TALLEST_MM:
            yield from _parted(cores, first, end)
        elif height >= _LEAST_HEIGHT_MM:
            yield slice(first, end)


def _parted(cores: Cores, first: int, end: int) -> Iterator[slice]:
    """What lies between discs, less what is next to their end plates."""
    step = cores.steps_mm[0]
    discs = [(first + low, first + high) for low, high in _discs(_profile(cores, first, end), step)]
    near = round(_NEXT_TO_MM / step)
    for (_, below), (above, _) in pairwise([(first, first - 1), *discs, (end, end - 1)]):
        start = first if below < first else below + 1 + near
        stop = end if above == end else above - near
        low = (stop - start) * step < _LEAST_PARTED_MM
        if not low and (above - below - 1) * step <= _TALLEST_PARTED_MM:
            yield slice(start, stop)


def _wide(cores: Cores) -> npt.NDArray[np.bool_]:
    """Which slices show as much core as bodies around have; of a disc little is called bone."""
    from scipy import ndimage

    areas = cores.mask.sum(axis=(1, 2))
    around = max(1, round(_AROUND_MM / cores.steps_mm[0]))
    return np.asarray(
        (areas > 0) & (areas >= _WIDE * ndimage.percentile_filter(areas, 75, size=around))
    )


def _runs(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _profile(cores: Cores, first: int, end: int) -> list[float]:
    """The upper quarter of HU of each slice, in which end plates stand out."""
    return [
        float(np.percentile(hu[mask], 75))
        for hu, mask in zip(cores.hu[first:end], cores.mask[first:end], strict=True)
    ]


def _discs(profile: list[float], step: float) -> list[tuple[int, int]]:
    """The slices of the end plates of each disc; one and the same where only one shows."""
    from scipy.signal import find_peaks

    plates, found = find_peaks(profile, prominence=_RISE_HU)
    rises = dict(zip(plates.tolist(), found["prominences"].tolist(), strict=True))
    highest, _ = find_peaks(profile, prominence=_RISE_HU, distance=max(1.0, _APART_MM / step))
    discs = []
    for plate in highest.tolist():
        least = _LIKE * rises[plate]
        both = [
            one
            for one, rise in rises.items()
            if abs(one - plate) * step <= _THICKEST_DISC_MM and rise >= least
        ]
        discs.append((min(both), max(both)))
    return discs


def _finding(number: int, body: slice, cores: Cores) -> MeasurementFinding:
    mask = cores.mask[body]
    values = cores.hu[body][mask].astype(np.float64)
    told = ((MEDIAN, np.median(values)), (STANDARD_DEVIATION, values.std()))
    middle = (body.start + body.stop - 1) // 2
    return MeasurementFinding(
        name=f"Vertebral body {number} from below",
        finding=VERTEBRAL_MARROW,
        site=VERTEBRA,
        measurements=(
            *(
                Measurement(
                    name=VERTEBRAL_MARROW, value=float(value), unit=HOUNSFIELD, derivation=how
                )
                for how, value in told
            ),
            Measurement(name=VERTEBRAL_MARROW_VOLUME, value=len(values) * cores.voxel_ml, unit=ML),
        ),
        marks=(Mark(slice_index=middle, points=_outline(cores.mask[middle], cores)),),
    )


def _outline(plane: npt.NDArray[np.bool_], cores: Cores) -> npt.NDArray[np.float64]:
    """Closed border of the largest part, as (column, row) of the image with corners at integers."""
    from skimage.measure import find_contours

    longest = max(find_contours(np.pad(plane, 1).astype(float), 0.5), key=len) - 1
    down, across = cores.pixels
    # The middle of a thinned pixel is that of the one pixel it was taken from.
    rows = longest[:, 0] * down + 0.5
    columns = (longest[:, 1] + cores.first_column) * across + 0.5
    return np.stack([columns, rows], axis=1)
