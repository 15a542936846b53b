"""A network's result as segments on the source grid, checked against `dicom.json`."""

import numpy as np
import numpy.typing as npt

from dicomnode.domain.errors import ContractBroken
from dicomnode.domain.findings import SegmentFinding
from dicomnode.domain.volumes import Grid
from dicomnode.pipeline.inference import Prediction
from dicomnode.pipeline.manifest import Segment, Segments
from dicomnode.pipeline.tensors import to_grid


def segments_of(prediction: Prediction, wanted: Segments, grid: Grid) -> tuple[SegmentFinding, ...]:
    """The segments that are not empty, in the order of `dicom.json`.

    Raises:
        ContractBroken: wrong number of channels, values that are no labels, or unknown labels.
    """
    labels = _integers(prediction.channels)
    if wanted.encoding == "labels":
        masks = _masks_of_labels(labels, prediction, wanted, grid)
    else:
        masks = _masks_of_channels(labels, prediction, wanted, grid)
    return tuple(
        _finding(segment, masks[number])
        for number, segment in wanted.segments.items()
        if masks[number].any()
    )


def _integers(channels: npt.NDArray[np.generic]) -> npt.NDArray[np.integer]:
    if np.issubdtype(channels.dtype, np.integer) and channels.dtype.itemsize == 1:
        return channels.view(channels.dtype)
    with np.errstate(invalid="ignore"):
        integers = channels.astype(np.int16)
    # False for fractions, NaN, infinities and what does not fit 16 bits alike.
    if not np.array_equal(integers, channels):
        raise ContractBroken("pred holds values that are no labels (fractions, NaN or too large)")
    return integers


def _masks_of_labels(
    labels: npt.NDArray[np.integer], prediction: Prediction, wanted: Segments, grid: Grid
) -> dict[int, npt.NDArray[np.bool_]]:
    if len(labels) != 1:
        raise ContractBroken(f"pred has {len(labels)} channels, but its encoding is labels")
    if labels.size and labels.min() < 0:
        raise ContractBroken("pred holds negative labels")
    # Plane by plane: counted at once, all of a CT would be made integers of 64 bits.
    unknown = {label for part in labels[0] for label in np.flatnonzero(np.bincount(part.ravel()))}
    unknown -= {0, *wanted.segments}
    if unknown:
        raise ContractBroken(f"pred holds label {min(unknown)}, which dicom.json does not know")
    # Turned once, not for every label; and row by row, three times as quick as all at once.
    turned = to_grid(labels[0], prediction.affine, grid)
    placed = np.empty(turned.shape, turned.dtype)
    for row in range(turned.shape[1]):
        placed[:, row] = turned[:, row]
    return {label: placed == label for label in wanted.segments}


def _masks_of_channels(
    labels: npt.NDArray[np.integer], prediction: Prediction, wanted: Segments, grid: Grid
) -> dict[int, npt.NDArray[np.bool_]]:
    if len(labels) != len(wanted.segments):
        raise ContractBroken(
            f"pred has {len(labels)} channels, but dicom.json names {len(wanted.segments)}"
        )
    if labels.size and (labels.min() < 0 or labels.max() > 1):
        raise ContractBroken("pred holds values other than 0 and 1 in its channels")
    return {
        channel: np.ascontiguousarray(to_grid(labels[channel], prediction.affine, grid) == 1)
        for channel in wanted.segments
    }


def _finding(segment: Segment, mask: npt.NDArray[np.bool_]) -> SegmentFinding:
    return SegmentFinding(
        name=segment.name,
        category=segment.category,
        type=segment.type,
        laterality=segment.laterality,
        color=segment.color,
        mask=mask,
    )
