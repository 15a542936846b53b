"""Reading a volume on another grid, in pieces that fit into memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn import functional

from dicomnode.pipeline.block_reading import weighted

FILE = "filename_or_obj"
_NEAR = 4
"""Slices of which blocks are averaged at a time: they stay near the processor."""
SLAB = 16
"""Slices that are mapped back at a time: bounds the memory that a fine, long CT takes."""


def affine_of(image: Tensor) -> Tensor:
    """Return the 4 x 4 affine of a MetaTensor, float64 on the CPU."""
    if not isinstance(image, MetaTensor):
        raise TypeError("the image must be a MetaTensor: its affine says where the patient is")
    affine = torch.as_tensor(image.affine, dtype=torch.float64, device="cpu")
    return affine.reshape(-1, 4, 4)[0]


def name_of(image: Tensor) -> dict[str, object]:
    """Return the meta data that says which file this was, if it was one: `SaveImaged` asks."""
    name = image.meta.get(FILE) if isinstance(image, MetaTensor) else None
    return {} if name is None else {FILE: name}


def block_means(volume: Tensor, factors: Sequence[int], fill: float) -> Tensor:
    """Return `(1, 1, i, j, k)`, HU above `fill`, of a CT `(i, j, k)`: means of whole blocks.

    A last block that is not full repeats the last voxel. Works piece by piece, through the axis
    along which the memory is slowest, so that a turned view is read as it lies.
    """
    order = sorted(range(3), key=lambda axis: -volume.stride()[axis])
    turned = volume.cpu().permute(order).numpy()
    factors = [factors[axis] for axis in order]
    step = factors[0] * max(1, _NEAR // factors[0])
    parts = []
    for first in range(0, len(turned), step):
        part = np.maximum(turned[first : first + step], np.float32(fill), dtype=np.float32)
        for axis, factor in enumerate(factors):
            part = _means_along(part, axis, factor)
        parts.append(part - np.float32(fill))
    back = [order.index(axis) for axis in range(3)]
    return torch.from_numpy(np.concatenate(parts)).permute(back)[None, None]


def _means_along(
    values: npt.NDArray[np.float32], axis: int, factor: int
) -> npt.NDArray[np.float32]:
    """Means of `factor` values each along an axis; a last one not full repeats the last value."""
    if factor == 1:
        return values
    lying = values.swapaxes(axis, 0)
    sums = lying[::factor].copy(order="K")
    for n in range(1, factor):
        some = lying[n::factor]
        sums[: len(some)] += some
        sums[len(some) :] += lying[-1]
    sums /= factor
    return sums.swapaxes(axis, 0)


def sampling_matrix(points_to_index: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the `(3, 4)` matrix for grid_sample from one mapping output index to input index.

    Takes indices `(i, j, k)` of the output and gives normalised `(k, j, i)` of the input.
    """
    rows = []
    for axis in (2, 1, 0):
        row = points_to_index[axis].clone()
        row = row * 2 / shape[axis]
        row[3] += 1 / shape[axis] - 1
        rows.append(row)
    return torch.stack(rows)


def sampled(volume: Tensor, matrix: Tensor, first: int, shape: Sequence[int]) -> Tensor:
    """Return `(1, C, *shape)`: the volume read at output indices, axis 0 starting at `first`."""
    matrix = matrix.to(torch.float32)
    i, j, k = (torch.arange(n, dtype=torch.float32) for n in shape)
    i = i + first
    grid = (
        i[:, None, None, None] * matrix[:, 0]
        + j[None, :, None, None] * matrix[:, 1]
        + k[None, None, :, None] * matrix[:, 2]
        + matrix[:, 3]
    )
    return functional.grid_sample(volume, grid[None], padding_mode="zeros", align_corners=False)


def _weights(row: Tensor, size: int, outputs: Tensor) -> Tensor:
    """Return `(len(outputs), size)` for linear interpolation along one axis, 0 beyond its ends.

    `row` is (scale, shift) from output index to input index.
    """
    at = (outputs * row[0] + row[1])[:, None] - torch.arange(size, dtype=torch.float64)
    return (1 - at.abs()).clamp(min=0).float()


def parallel_axes(to_index: Tensor, shape: Sequence[int]) -> list[int] | None:
    """Return the input axis along which each output axis runs; None if some run along none.

    `to_index` maps output voxels to those of an input of this shape. Axes are parallel if nothing
    drifts by a twentieth of a voxel over the longest side.
    """
    turn = to_index[:3, :3]
    main: list[int] = turn.abs().argmax(0).tolist()
    aligned = torch.zeros_like(turn)
    for output_axis, input_axis in enumerate(main):
        aligned[input_axis, output_axis] = turn[input_axis, output_axis]
    drift = (turn - aligned).abs() * torch.tensor(shape)[:, None].max()
    return main if sorted(main) == [0, 1, 2] and float(drift.max()) < 0.05 else None


def read_block_means(
    volume: Tensor, factors: Sequence[int], to_block: Tensor, size: Sequence[int], fill: float
) -> Tensor:
    """Return `(1, *size)`, HU above `fill`: linear between the `block_means` of a CT `(i, j, k)`.

    `to_block` maps output voxels to blocks. Where the axes are parallel, means and interpolation
    are one weighting along each axis, and the CT is read once, slice by slice.
    """
    blocks = [-(-n // factor) for n, factor in zip(volume.shape, factors, strict=True)]
    main = parallel_axes(to_block, blocks)
    if main is None:
        means = block_means(volume, factors, fill)
        return Upsampler(means[0], to_block).read((0, 0, 0), size)
    along = [main.index(axis) for axis in range(3)]
    weights = [
        _weights(to_block[axis, [out, 3]], n, torch.arange(size[out], dtype=torch.float64))
        @ _block_weights(length, factor)
        for axis, out, n, length, factor in zip(
            range(3), along, blocks, volume.shape, factors, strict=True
        )
    ]
    # As the CT lies in memory: slices of rows of values.
    lying = sorted(range(3), key=lambda axis: -volume.stride()[axis])
    read = weighted(
        volume.permute(lying).numpy(), [csr_array(weights[axis].numpy()) for axis in lying], fill
    )
    return torch.from_numpy(read).permute([lying.index(axis) for axis in main])[None].contiguous()


def _block_weights(length: int, factor: int) -> Tensor:
    """Return `(blocks, length)`: means of blocks; a last one not full repeats the last voxel."""
    blocks = -(-length // factor)
    voxels = torch.arange(blocks * factor)
    weights = torch.zeros(blocks, length)
    share = torch.full(voxels.shape, 1 / factor)
    return weights.index_put_((voxels // factor, voxels.clamp(max=length - 1)), share, True)


class Upsampler:
    """Linear interpolation of `(C, x, y, z)` at the voxels of an output grid, part by part.

    `to_index` maps output voxels to those of the input. Where the axes of the two grids are
    parallel, in whatever order, it works axis by axis, which is much faster.
    """

    def __init__(self, values: Tensor, to_index: Tensor) -> None:
        main = parallel_axes(to_index, values.shape[1:])
        self.parallel = main is not None
        self.values = values
        self.matrix = sampling_matrix(to_index, values.shape[1:])
        if main is not None:
            self.values = values.permute(0, *(axis + 1 for axis in main))
            self.rows = [to_index[axis, [n, 3]] for n, axis in enumerate(main)]

    def read(self, start: Sequence[int], stop: Sequence[int]) -> Tensor:
        """Return `(C, *stop - start)`."""
        if not self.parallel:
            moved = self.matrix.clone()
            moved[:, 3] += self.matrix[:, :3] @ torch.tensor(start, dtype=torch.float64)
            size = [e - s for s, e in zip(start, stop, strict=True)]
            return sampled(self.values[None], moved, 0, size)[0]
        weights = [
            _weights(row, n, torch.arange(s, e, dtype=torch.float64))
            for row, n, s, e in zip(self.rows, self.values.shape[1:], start, stop, strict=True)
        ]
        # As the values lie in memory, and the axis first that loses most.
        lying = sorted(range(3), key=lambda axis: -self.values.stride()[axis + 1])
        part = self.values.permute(0, *(axis + 1 for axis in lying))
        for axis in sorted(range(3), key=lambda axis: len(weights[axis]) / weights[axis].shape[1]):
            part = _along(part, lying.index(axis), weights[axis])
        return part.permute(0, *(lying.index(axis) + 1 for axis in range(3))).contiguous()


def _along(values: Tensor, axis: int, weights: Tensor) -> Tensor:
    """Return `(C, x, y, z)` with one of the axes, counted from x, weighted by `(new, old)`."""
    if axis == 2:
        return values @ weights.T
    if axis == 1:
        return weights @ values
    return (weights @ values.flatten(2)).unflatten(2, values.shape[2:])


def box_of(
    mask: Tensor, to_index: Tensor, shape: Sequence[int]
) -> tuple[tuple[int, int, int], tuple[int, int, int]] | None:
    """Return first and end output voxel along each axis that can lie in the mask's box."""
    where = torch.nonzero(mask)
    if not len(where):
        return None
    low, high = where.amin(0).double() - 1.5, where.amax(0).double() + 1.5
    corners = torch.tensor(
        [[i, j, k, 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=torch.float64
    )
    corners[:, :3] = low + corners[:, :3] * (high - low)
    index = (corners @ torch.linalg.inv(to_index).T)[:, :3]
    size = torch.tensor(shape)
    start = index.amin(0).floor().long().clamp(min=0).minimum(size).tolist()
    stop = (index.amax(0).ceil().long() + 1).clamp(min=0).minimum(size).tolist()
    return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])
