"""A volume on a much coarser grid: linear between the means of blocks of its voxels.

Here what is left over at the ends is not read and what lies beyond is told; `networks.resampling`
has a grid on which networks work: there the last voxel is repeated and values fall to air. Both
weigh the volume along its axes, slice by slice (`weighted`). Imports no torch.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.sparse import csr_array

__all__ = ["read_blocks", "weighted"]

Values = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

_DRIFT = 0.05
"""Blocks by which axes that count as parallel may run apart."""
_ROUNDING = 1e-6


def read_blocks(
    array: Values,
    block: npt.NDArray[np.int_],
    to_block: Matrix,
    size: npt.NDArray[np.int_],
    *,
    beyond: float,
) -> Values:
    """The values at every place of the coarse grid; `beyond` where it leaves the blocks' centres.

    Where the axes are parallel, only slices between which the coarse grid has a place are read.

    Args:
        array: `(slice, row, column)`.
        block: voxels of a block along each axis; what is left over at the end is not read.
        to_block: 4 x 4, from indices of the coarse grid to those of blocks.
        size: of the coarse grid.
        beyond: what stands for "not imaged".
    """
    blocks = np.array(array.shape) // block
    main = _parallel_axes(to_block, size)
    if main is None:
        return np.asarray(
            ndimage.affine_transform(
                _block_means(array, block),
                to_block[:3, :3],
                offset=to_block[:3, 3],
                output_shape=tuple(size.tolist()),
                order=1,
                mode="constant",
                cval=beyond,
            )
        )
    weights, imaged = [], []
    for axis, along in enumerate(main):
        at = to_block[axis, along] * np.arange(size[along]) + to_block[axis, 3]
        last = blocks[axis] - 1
        imaged.append((at >= -_ROUNDING) & (at <= last + _ROUNDING))
        between = 1 - np.abs(at.clip(0, last)[:, None] - np.arange(blocks[axis]))
        of_voxels = np.repeat(between.clip(min=0) / block[axis], block[axis], axis=1)
        weights.append(csr_array(of_voxels.astype(np.float32)))
    read = weighted(array, weights)
    read[~(imaged[0][:, None, None] & imaged[1][:, None] & imaged[2])] = beyond
    return read.transpose(np.argsort(main))


def weighted(array: Values, along: Sequence[csr_array], least: float | None = None) -> Values:
    """The array weighted along each of its axes.

    Slices of no weight are not read. Quick where the first axis is the slowest in memory.

    Args:
        array: `(slice, row, column)`.
        along: `(new, old)` of each axis; old rows and columns at the end may be missing.
        least: smaller values count as this one, and the result is what is above it; None: as is.
    """
    of_slices, of_rows, of_columns = along
    used = np.unique(of_slices.indices)
    planes = np.empty((len(used), of_rows.shape[0], of_columns.shape[0]), np.float32)
    above = np.empty((of_rows.shape[1], array.shape[2]), np.float32)
    # What `least` alone would give is taken off where there is less of it.
    of_least = np.float32(least or 0) * of_rows.sum(axis=1, dtype=np.float32)[:, None]
    for index, plane in zip(used, planes, strict=True):
        lines = array[index, : of_rows.shape[1]]
        if least is None:
            rows = of_rows @ lines
        else:
            rows = of_rows @ np.maximum(lines, np.float32(least), out=above) - of_least
        plane[...] = (of_columns @ rows[:, : of_columns.shape[1]].T.copy()).T
    stacked = of_slices[:, used] @ planes.reshape(len(used), -1)
    return np.asarray(stacked.reshape(-1, *planes.shape[1:]))


def _parallel_axes(to_block: Matrix, size: npt.NDArray[np.int_]) -> Sequence[int] | None:
    """The coarse axis along which each axis of the array runs; None if one runs along none."""
    turn = to_block[:3, :3]
    main = np.abs(turn).argmax(axis=1)
    aligned = np.zeros_like(turn)
    aligned[range(3), main] = turn[range(3), main]
    drift = np.abs(turn - aligned).max() * size.max()
    return main.tolist() if len(set(main.tolist())) == 3 and drift <= _DRIFT else None


def _block_means(array: Values, block: npt.NDArray[np.int_]) -> Values:
    """Means of whole blocks."""
    of_slices, of_rows, of_columns = block.tolist()
    slices, rows, columns = (np.array(array.shape) // block).tolist()
    means = np.empty((slices, rows, columns), np.float32)
    # A few slices at a time, which stay near the processor, and axis by axis.
    for index, mean in enumerate(means):
        some = array[index * of_slices : (index + 1) * of_slices]
        lines = _means(_means(some, of_slices)[0, : rows * of_rows], of_rows)
        mean[...] = _means(lines.T[: columns * of_columns], of_columns).T
    return means


def _means(values: npt.NDArray[np.floating], count: int) -> Values:
    """Means of so many rows each; numpy's own are slow along few of them."""
    if count == 1:
        return values.astype(np.float32, copy=False)
    summed = values[::count].astype(np.float32)
    for first in range(1, count):
        summed += values[first::count]
    return np.divide(summed, count, out=summed)
