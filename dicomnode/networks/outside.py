"""What lies outside of the body on a CT: clothing, blankets, the edge of a table.

Folds of cloth look like nodules in a lung to a network that sees soft tissue in air. They are told
by being thin: what does not hold a cube of 24 mm that is denser than air lies outside. Lungs and
bowel gas that the body encloses are inside; so is a lung at the edge of a small field of view,
because its tissue is denser than air, and a body that fills the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from torch import Tensor

from dicomnode.networks.resampling import block_means

__all__ = ["lies_inside", "thick_parts"]

Bools = npt.NDArray[np.bool_]

_BLOCK = 4
"""Voxels along each side."""
_THICK = 3
"""Blocks: thinner parts are none of the body."""
_AIR_HU, _VOID_HU = -950.0, -1024.0


def thick_parts(hu: Tensor) -> Bools:
    """Where the body is, in blocks of 4 x 4 x 4 voxels (the last ones may be cut).

    Args:
        hu: `(x, y, z)`, voxels of about 2 mm.
    """
    above = block_means(hu, (_BLOCK,) * 3, _VOID_HU)[0, 0]
    parts: Bools = (above > _AIR_HU - _VOID_HU).cpu().numpy()
    # Gas in the bowel, plane by plane across z: in other planes clothing encloses air, too.
    parts = ndimage.binary_fill_holes(parts, ndimage.generate_binary_structure(2, 1)[..., None])
    # The body goes on beyond the image.
    return _opened(np.pad(parts, _THICK - 1, mode="edge"))


def _opened(parts: Bools) -> Bools:
    """All cubes of `_THICK` blocks that lie in the parts, joined; that much less on each side.

    Much quicker, axis by axis, than an opening of scipy's.
    """
    for axis in range(3):
        parts = np.logical_and.reduce(_shifted(parts, axis))
    for axis in range(3):
        parts = np.logical_or.reduce(_shifted(parts, axis))
    return parts


def _shifted(parts: Bools, axis: int) -> list[Bools]:
    """`_THICK` views along an axis, each a block further."""
    length = parts.shape[axis] - _THICK + 1
    lying = np.moveaxis(parts, axis, 0)
    return [np.moveaxis(lying[n : n + length], 0, axis) for n in range(_THICK)]


def lies_inside(parts: Bools, points: npt.NDArray[np.float64], spacing: Sequence[float]) -> Bools:
    """Whether each point lies in `thick_parts`.

    Args:
        parts: of the volume.
        points: `(n, 3)` millimetres from the centre of voxel 0.
        spacing: of the volume, millimetres.
    """
    blocks = np.floor((points / np.asarray(spacing) + 0.5) / _BLOCK).astype(int)
    x, y, z = np.clip(blocks, 0, np.array(parts.shape) - 1).T
    return np.asarray(parts[x, y, z], bool)
