"""What a detector gave for one volume, as lesions on the source grid: checked, and not too many."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomnode.algorithm import LesionLimits
from dicomnode.domain.blank import blank, filled
from dicomnode.domain.codes import LONG_AXIS, ML, MM, SHORT_AXIS, VOLUME
from dicomnode.domain.errors import ContractBroken
from dicomnode.domain.findings import LesionFinding, Mark, Measurement
from dicomnode.domain.volumes import Grid
from dicomnode.pipeline.inference import Detections
from dicomnode.pipeline.manifest import Lesions
from dicomnode.pipeline.tensors import to_grid

Points = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_TOLERANCE_MM = 0.5
"""By which ends may lie outside of the volume or a box, and axes be in the wrong order."""
_SLICES = 0.51
"""By which ends may lie off the slice that they are drawn on."""
_AT_ONCE = 4096
"""Voxels of a label map that are passed over if none has a label."""
_SHAPES = {
    "scores": (),
    "types": (),
    "sites": (),
    "long_axes": (2, 3),
    "short_axes": (2, 3),
    "boxes": (2, 3),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One detection that was found sound, whatever its score. Millimetres in the patient, LPS."""

    number: int
    """From 1, as the detector counts; its label in the mask."""
    score: float
    type: int
    site: int
    """0: unknown."""
    long_axis: Points
    """(2, 3), both ends."""
    short_axis: Points
    box: Points
    """(2, 3): least and greatest corner."""
    slice_index: int
    """The slice both axes lie on."""

    @property
    def long_mm(self) -> float:
        """Length of the long axis."""
        return _length(self.long_axis)

    @property
    def short_mm(self) -> float:
        """Length of the short axis."""
        return _length(self.short_axis)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outlined:
    """Where a lesion lies on the source grid."""

    mask: Mask
    voxels: int


def candidates_of(detections: Detections, wanted: Lesions, grid: Grid) -> tuple[Candidate, ...]:
    """Every detection, the highest score first.

    Raises:
        ContractBroken: naming the array, the lesion and what is wrong with it.
    """
    values = _checked(detections.values)
    found = [
        _candidate(index, values, wanted, grid) for index in np.argsort(-values["scores"]).tolist()
    ]
    return tuple(found)


def lesions_of(
    detections: Detections, wanted: Lesions, grid: Grid, limits: LesionLimits
) -> tuple[LesionFinding, ...]:
    """The lesions to report, the highest score first; `limits` go before what `dicom.json` says.

    Raises:
        ContractBroken: as `candidates_of`; or the mask does not show what it is said to.
    """
    candidates = candidates_of(detections, wanted, grid)
    kept = [one for one in candidates if _is_reported(one, wanted, limits)]
    kept = kept[: _most(wanted, limits)]
    masks = _masks(detections, kept, grid, len(candidates))
    counted: Counter[int] = Counter()
    found = []
    for one in kept:
        counted[one.type] += 1
        name = f"{wanted.types[one.type].name} {counted[one.type]}"
        lesion = _finding(one, name, masks.get(one.number), wanted, grid)
        found.append(replace(lesion, operating_point=_point_of(one.type, wanted, limits)))
    return tuple(found)


def marked_at(detections: Detections, wanted: Lesions, grid: Grid, limits: LesionLimits) -> str:
    """A sentence for the reader: from which scores on there are marks, and how many were cut off.

    A report without a mark needs it as much as one with many.
    """
    points = {
        wanted.types[number].name: point for number, point in least_reported(wanted, limits).items()
    }
    if not points:
        return "No type of lesion is reported"
    scores = ", ".join(f"{name} from a score of {point:.2f}" for name, point in points.items())
    said = f"Marked at the point for {_rate(wanted, limits):g} false positives a volume: {scores}"
    above = sum(
        _is_reported(one, wanted, limits) for one in candidates_of(detections, wanted, grid)
    )
    most = _most(wanted, limits)
    if above > most:
        said += f"; the {most} of the highest scores are marked, {above - most} more are not"
    return said


def least_reported(wanted: Lesions, limits: LesionLimits) -> dict[int, float]:
    """Number of each type that is reported -> least score that it is reported from."""
    return {
        number: _point_of(number, wanted, limits)
        for number, kind in wanted.types.items()
        if kind.reported
    }


def least_score(points: Mapping[float, float], rate: float) -> float:
    """The least score to mark at, for at most `rate` false positives a volume.

    Between two operating points the stricter one holds; below all of them the strictest.
    """
    within = [each for each in points if each <= rate]
    return points[max(within) if within else min(points)]


def _is_reported(one: Candidate, wanted: Lesions, limits: LesionLimits) -> bool:
    return wanted.types[one.type].reported and one.score >= _point_of(one.type, wanted, limits)


def _rate(wanted: Lesions, limits: LesionLimits) -> float:
    return limits.false_positives_per_volume or wanted.false_positives_per_volume


def _most(wanted: Lesions, limits: LesionLimits) -> int:
    return limits.most or wanted.most


def _point_of(number: int, wanted: Lesions, limits: LesionLimits) -> float:
    """The least score that lesions of a type are marked at."""
    return least_score(wanted.points_of(number), _rate(wanted, limits))


def _checked(values: Mapping[str, Points]) -> Mapping[str, Points]:
    """All arrays, a row for each lesion, of finite numbers."""
    count = len(np.atleast_1d(values["scores"]))
    for name, array in values.items():
        if array.shape != (count, *_SHAPES[name]):
            shape = ", ".join(("lesions", *(str(length) for length in _SHAPES[name])))
            raise ContractBroken(f"{name} has shape {array.shape}, not ({shape})")
        if not np.isfinite(array).all():
            raise ContractBroken(f"{name} holds values that are not finite")
    scores = values["scores"]
    if scores.size and not 0 <= scores.min() <= scores.max() <= 1:
        raise ContractBroken("scores are not between 0 and 1")
    return values


def _candidate(index: int, values: Mapping[str, Points], wanted: Lesions, grid: Grid) -> Candidate:
    long_axis, short_axis = values["long_axes"][index], values["short_axes"][index]
    kind = float(values["types"][index])
    site = float(values["sites"][index]) if "sites" in values else 0.0
    told = f"lesion {index + 1}"
    if kind not in wanted.types:
        raise ContractBroken(f"{told} is of type {kind:g}, which dicom.json does not know")
    if site not in (0, *wanted.sites):
        raise ContractBroken(f"{told} lies at site {site:g}, which dicom.json does not know")
    if not 0 < _length(short_axis) <= _length(long_axis) + _TOLERANCE_MM:
        raise ContractBroken(
            f"{told} has a short axis of {_length(short_axis):.1f} mm "
            f"and a long one of {_length(long_axis):.1f} mm"
        )
    ends = np.vstack([long_axis, short_axis])
    box = values["boxes"][index] if "boxes" in values else np.array([ends.min(0), ends.max(0)])
    _check_box(told, box, long_axis)
    return Candidate(
        number=index + 1,
        score=float(values["scores"][index]),
        type=int(kind),
        site=int(site),
        long_axis=long_axis,
        short_axis=short_axis,
        box=box,
        slice_index=_common_slice(told, ends, grid),
    )


def _check_box(told: str, box: Points, long_axis: Points) -> None:
    if (box[0] > box[1]).any():
        raise ContractBroken(f"the box of {told} has its corners in the wrong order")
    middle = long_axis.mean(axis=0)
    if (middle < box[0] - _TOLERANCE_MM).any() or (middle > box[1] + _TOLERANCE_MM).any():
        raise ContractBroken(f"the long axis of {told} has its middle outside of its box")


def _common_slice(told: str, ends: Points, grid: Grid) -> int:
    """The one slice that all four ends lie on; inside of the volume."""
    indices = to_indices(ends, grid)
    between = np.array(grid.spacing_mm)
    least, most = (
        -0.5 - _TOLERANCE_MM / between,
        np.array(grid.shape) - 0.5 + _TOLERANCE_MM / between,
    )
    if (indices < least).any() or (indices > most).any():
        raise ContractBroken(f"an axis of {told} runs outside of the volume; are its ends LPS?")
    index = int(np.clip(np.round(indices[:, 0].mean()), 0, grid.shape[0] - 1))
    if np.abs(indices[:, 0] - index).max() > _SLICES:
        raise ContractBroken(f"the axes of {told} do not lie on one slice")
    return index


def to_indices(points: Points, grid: Grid) -> Points:
    """(n, 3) in the patient, LPS mm, as (slice, row, column) indices; integers are centres."""
    inverse = np.linalg.inv(grid.affine_lps_mm)
    return np.asarray(points @ inverse[:3, :3].T + inverse[:3, 3])


def _masks(
    detections: Detections, kept: Sequence[Candidate], grid: Grid, count: int
) -> dict[int, _Outlined]:
    """Number -> outline, of lesions that the label map shows at all."""
    if detections.mask is None:
        return {}
    channels = detections.mask.channels
    labels = channels
    if not np.issubdtype(channels.dtype, np.integer):
        with np.errstate(invalid="ignore"):
            labels = channels.astype(np.int32)
    if len(labels) != 1 or not (labels is channels or np.array_equal(labels, channels)):
        raise ContractBroken("the mask is no single channel of labels")
    placed = np.asarray(to_grid(labels[0], detections.mask.affine, grid))
    where, numbers = _labelled(placed)
    if numbers.size and not 0 <= numbers.min() <= numbers.max() <= count:
        raise ContractBroken(f"the mask has labels that are none of 0 to {count}")
    masks = {}
    for one in kept:
        own = where[:, numbers == one.number]
        if not own.size:
            continue
        mask = blank(grid.shape, np.bool_)
        mask[tuple(own)] = True
        if not mask[one.slice_index].any():
            raise ContractBroken(f"the mask of lesion {one.number} is not on the slice of its axes")
        masks[one.number] = _Outlined(mask=filled(mask), voxels=own.shape[1])
    return masks


def _labelled(
    placed: npt.NDArray[np.integer[Any]],
) -> tuple[npt.NDArray[np.int_], npt.NDArray[np.integer[Any]]]:
    """Indices `(3, n)` of all voxels with a label, and their labels; few of a CT's have one."""
    # In the order of memory, whichever that is: the other one takes ten times as long.
    turned = not placed.flags.c_contiguous
    lying = np.ascontiguousarray(placed.T if turned else placed)
    flat = lying.ravel()
    whole = flat.size // _AT_ONCE * _AT_ONCE
    chunks = flat[:whole].reshape(-1, _AT_ONCE)
    held = np.flatnonzero(np.bitwise_or.reduce(chunks.view(np.uint64), axis=1)) * _AT_ONCE
    found = [np.flatnonzero(flat[first : first + _AT_ONCE]) + first for first in [*held, whole]]
    at = np.concatenate(found)
    index = np.array(np.unravel_index(at, lying.shape))
    return (index[::-1] if turned else index), flat[at]


def _finding(
    one: Candidate, name: str, outlined: _Outlined | None, wanted: Lesions, grid: Grid
) -> LesionFinding:
    kind, site = wanted.types[one.type], wanted.sites.get(one.site)
    axes = [
        Mark(
            slice_index=one.slice_index,
            points=_on_image(ends, grid),
            measurement=Measurement(name=code, value=_length(ends), unit=MM),
        )
        for code, ends in ((LONG_AXIS, one.long_axis), (SHORT_AXIS, one.short_axis))
    ]
    measured = [mark.measurement for mark in axes if mark.measurement]
    if outlined is not None:
        millilitres = outlined.voxels * grid.voxel_mm3 / 1000
        measured.append(Measurement(name=VOLUME, value=millilitres, unit=ML))
    return LesionFinding(
        name=name,
        type=kind.code,
        site=site.code if site else None,
        laterality=site.laterality if site else None,
        score=one.score,
        marks=tuple(axes),
        measurements=tuple(measured),
        mask=None if outlined is None else outlined.mask,
        color=kind.color,
        box_lps_mm=one.box,
    )


def _on_image(ends: Points, grid: Grid) -> Points:
    """(column, row) from the corner of the first pixel (PS3.3 C.18.6), held inside the image."""
    centres = to_indices(ends, grid)[:, [2, 1]]
    return np.clip(centres + 0.5, 0, (grid.shape[2], grid.shape[1]))


def _length(ends: Points) -> float:
    return float(np.linalg.norm(ends[1] - ends[0]))
