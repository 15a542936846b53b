"""Between a `Volume` and MONAI: axes, affine, and results back on the grid they came from.

A volume is (slice, row, column) with an LPS affine; MONAI has (channel, column, row, slice) with
an RAS affine, as from a NIfTI file. No plane is named anywhere: only the affines decide.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from monai.utils.enums import MetaKeys, SpaceKeys
from scipy.ndimage import affine_transform
from torch.utils.dlpack import from_dlpack

from dicomnode.domain.volumes import Grid, Volume

Affine = npt.NDArray[np.float64]

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# (column, row, slice) indices to (slice, row, column) ones, and back.
_REVERSED_AXES = np.eye(4)[[2, 1, 0, 3]]
_SAME_PLACE = 0.05


def ras_affine(grid: Grid) -> Affine:
    """(column, row, slice) to RAS mm: the affine MONAI is given."""
    return np.asarray(_LPS_TO_RAS @ grid.affine_lps_mm @ _REVERSED_AXES)


def grid_of_ras(affine: Affine, shape: tuple[int, ...], frame_of_reference: str) -> Grid:
    """The grid of an array (slice, row, column) that has a NIfTI's affine; undoes `ras_affine`."""
    lps = _LPS_TO_RAS @ affine @ _REVERSED_AXES
    slices, rows, columns = shape
    return Grid(
        affine_lps_mm=np.asarray(lps),
        shape=(slices, rows, columns),
        frame_of_reference_uid=frame_of_reference,
    )


def to_metatensor(volume: Volume, dimensions: int, *, copy: bool = True) -> MetaTensor:
    """(1, columns, rows, slices), or (1, columns, rows) for 2 dimensions; float32.

    The affine is 4 x 4, or 3 x 3 for 2 dimensions: MONAI's transforms expect it so. Without `copy`
    it is the volume's own memory, for who only reads it: turning a CT takes a second.
    """
    array = volume.array if dimensions == 3 else volume.array[0]
    # torch knows no steps backwards.
    can_lend = array.dtype == np.float32 and min(array.strides) > 0
    turned = from_dlpack(array.T) if can_lend and not copy else _turned(array)
    kept = [*range(dimensions), 3]
    affine = torch.from_numpy(ras_affine(volume.grid)[np.ix_(kept, kept)])
    tensor = MetaTensor(turned[None], affine=affine)
    # What LoadImaged and EnsureChannelFirstd would have left, and some transforms look for.
    tensor.meta[MetaKeys.SPACE] = SpaceKeys.RAS
    tensor.meta["original_affine"] = affine.clone()
    tensor.meta["spatial_shape"] = np.array(turned.shape)
    tensor.meta["original_channel_dim"] = 0
    return tensor


def _turned(array: npt.NDArray[np.generic]) -> torch.Tensor:
    """A copy with the axes reversed, float32."""
    turned = np.empty(array.shape[::-1], np.float32)
    if array.ndim == 2:
        # Not by numpy, which writes every value to another line of memory.
        torch.from_numpy(turned).copy_(from_dlpack(np.ascontiguousarray(array)).T)
    else:
        # Row by row: turned at once, every value is fetched from main memory alone.
        for row in range(array.shape[-2]):
            turned[:, row] = array[..., row, :].T
    return torch.from_numpy(turned)


def same_place(first: Affine, second: Affine, shape: Sequence[int]) -> bool:
    """True if both put every corner voxel of `shape` within a twentieth of a voxel."""
    corners = np.array(np.meshgrid(*((0, n - 1) for n in shape), indexing="ij"))
    indices = np.vstack([corners.reshape(3, -1), np.ones(8)])
    try:
        apart = np.linalg.inv(first) @ second @ indices - indices
    except np.linalg.LinAlgError:
        return False
    return bool(np.abs(apart).max() < _SAME_PLACE)


def to_grid(
    channel: npt.NDArray[np.generic], affine: Affine | None, grid: Grid
) -> npt.NDArray[np.generic]:
    """One channel of a result, (columns, rows[, slices]), on the source grid (slice, row, column).

    `affine` is the result's own, (column, row, slice) to RAS mm; what lies elsewhere is resampled
    to the nearest neighbour, 0 outside. None: it lies on the source grid already.
    """
    turned = channel[..., np.newaxis].T if channel.ndim == 2 else channel.T
    if affine is None:
        return turned
    back = np.linalg.inv(affine @ _REVERSED_AXES) @ _LPS_TO_RAS @ grid.affine_lps_mm
    return np.asarray(
        affine_transform(
            turned,
            back[:3, :3],
            offset=back[:3, 3],
            output_shape=grid.shape,
            order=0,
            # Unlike "constant", keeps the outer half of the border voxels.
            mode="grid-constant",
            cval=0,
        )
    )
