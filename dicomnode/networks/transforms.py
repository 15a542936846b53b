"""Transforms that bundles name beside MONAI's own: to a working grid, and back onto the CT's.

A volume may come with its axes in any order, reversed or oblique. `ToWorkingGridd` reads it once,
through its affine, onto an upright grid of fixed spacing; `OntoImageGridd` brings class
probabilities back onto the CT's own voxels and decides there, so that borders stay smooth.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.networks.utils import pixelunshuffle
from monai.transforms.transform import MapTransform
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from dicomnode.networks.halves import HALF, Halves, without_halves
from dicomnode.networks.likeliest import likeliest
from dicomnode.networks.resampling import (
    SLAB,
    Upsampler,
    affine_of,
    box_of,
    name_of,
    read_block_means,
)

__all__ = ["KeepLargestPartsd", "OntoImageGridd", "ToWorkingGridd", "WindowToUnitd"]

INPUT_AFFINE = "input_affine"
INPUT_SHAPE = "input_shape"
"""Where `ToWorkingGridd` notes, in the image's meta data, the grid that the CT came on."""


class ToWorkingGridd(MapTransform):
    """Read a CT `(1, i, j, k)` onto an upright RAS grid `(1, x, y, z)` of fixed spacing.

    The grid covers the whole volume; what the volume does not cover is `fill`. Where the new
    spacing is coarser, blocks of voxels are averaged first, so that noise does not alias. A CT
    whose grid would exceed `max_voxels` is refused.

    Args:
        keys: images to read.
        spacing: millimetres along x (to the right), y (to the front), z (to the head).
        fill: HU outside the volume; darker values (-3024, -2048) become this too.
        max_voxels: the largest working grid.
        keep_as: key under which the image stays as it came, for `OntoImageGridd`.
        halves: read each voxel's eight halves too, as channels 1 to 8 in the order of MONAI's
            `pixelunshuffle`; channel 0 is as without.

    Attributes:
        only_reads: nothing after this step can reach the image as it came.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        spacing: Sequence[float] = (2.0, 2.0, 3.0),
        fill: float = -1024.0,
        max_voxels: int = 40_000_000,
        keep_as: str | None = None,
        halves: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.halves = halves
        self.keep_as = keep_as
        self.only_reads = keep_as is None
        self.spacing = tuple(float(value) for value in spacing)
        self.fill = fill
        self.max_voxels = max_voxels

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        """Return the dictionary with the images on their working grids."""
        result = dict(data)
        for key in self.key_iterator(result):
            if self.keep_as is not None:
                result[self.keep_as] = result[key]
            result[key] = self.upright(result[key])
        return result

    def upright(self, image: Tensor) -> MetaTensor:
        """Return one image on its working grid."""
        affine = affine_of(image)
        shape = image.shape[1:]
        corners = torch.tensor(
            [[i, j, k, 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=torch.float64
        )
        corners[:, :3] = corners[:, :3] * torch.tensor(shape, dtype=torch.float64) - 0.5
        world = (corners @ affine.T)[:, :3]
        low, high = world.amin(0), world.amax(0)
        step = torch.tensor(self.spacing, dtype=torch.float64)
        size = [max(1, int(n)) for n in torch.ceil((high - low) / step - 1e-3)]
        if math.prod(size) > self.max_voxels:
            raise ValueError(f"a working grid of {size} voxels is too large")
        upright = torch.diag(torch.cat((step, torch.ones(1, dtype=torch.float64))))
        centre = (low + high) / 2
        upright[:3, 3] = centre - step * (torch.tensor(size, dtype=torch.float64) - 1) / 2
        ct = image.as_subclass(Tensor)[0].cpu()
        to_index = torch.linalg.inv(affine) @ upright
        read = self._read(ct, to_index, size)
        if self.halves:
            fine = self._read(ct, to_index @ HALF, [2 * n for n in size])
            read = torch.cat((read, pixelunshuffle(fine[None], 3, 2)[0]))
        meta = {INPUT_AFFINE: affine.clone(), INPUT_SHAPE: torch.tensor(shape), **name_of(image)}
        return MetaTensor(read, affine=upright, meta=meta)

    def _read(self, ct: Tensor, to_index: Tensor, size: Sequence[int]) -> Tensor:
        """Return `(1, *size)`, HU; `to_index` maps its voxels to those of the CT."""
        to_block = to_index.clone()
        # how many input voxels one working step spans along each input axis
        span = to_index[:3, :3].abs().amax(1)
        factors = [
            min(max(1, int(s + 0.05)), n) for s, n in zip(span.tolist(), ct.shape, strict=True)
        ]
        for axis, factor in enumerate(factors):
            to_block[axis, 3] -= (factor - 1) / 2
            to_block[axis] /= factor
        return read_block_means(ct, factors, to_block, size, self.fill).add_(self.fill)


class WindowToUnitd(MapTransform):
    """Clip to `low`..`high` and scale to -1..1."""

    def __init__(
        self, keys: KeysCollection, low: float, high: float, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.low, self.high = low, high

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        """Return the dictionary with the images scaled."""
        result = dict(data)
        for key in self.key_iterator(result):
            clipped = result[key].clamp(self.low, self.high)
            result[key] = (clipped - self.low) * (2.0 / (self.high - self.low)) - 1.0
        return result


def _parts(mask: npt.NDArray[np.bool_], smallest: int, fraction: float) -> npt.NDArray[np.bool_]:
    """Return the largest part and those of at least `fraction` of it, if big enough at all."""
    labelled, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labelled.ravel())
    sizes[0] = 0
    keep = sizes >= max(smallest, fraction * sizes.max())
    return np.asarray(keep[labelled])


class KeepLargestPartsd(MapTransform):
    """Clean class probabilities `(C, x, y, z)`, class 0 the background, on the working grid.

    Of the foreground, parts below `foreground_fraction` of the largest go; then, of every class,
    parts below `class_fraction` of its largest; then parts below `smallest_ml`. Holes that no
    background path leaves are filled. Only voxels that change class are touched, the
    probabilities at the borders stay as they were.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        foreground_fraction: float = 0.03,
        class_fraction: float = 0.15,
        smallest_ml: float = 3.0,
        image_key: str = "image",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.foreground_fraction = foreground_fraction
        self.class_fraction = class_fraction
        self.smallest_ml = smallest_ml

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        """Return the dictionary with the probabilities cleaned."""
        result = dict(data)
        affine = affine_of(result[self.image_key])
        voxel_ml = float(torch.linalg.det(affine[:3, :3]).abs()) / 1000.0
        for key in self.key_iterator(result):
            result[key] = self.clean(result[key], voxel_ml)
        return result

    def clean(self, probabilities: Tensor, voxel_ml: float) -> Tensor:
        """Return one map of probabilities, cleaned; `voxel_ml` is the volume of a voxel."""
        smallest = max(1, int(self.smallest_ml / voxel_ml))
        p = probabilities.detach().cpu().float().as_subclass(Tensor).clone()
        foreground = (p[0] < 0.5).numpy()
        kept = _parts(foreground, smallest, self.foreground_fraction)
        best = likeliest(p[1:]).numpy() + 1
        for index in range(1, p.shape[0]):
            mine = kept & (best == index)
            main = _parts(mine, 1, self.class_fraction)
            stray = mine & ~main
            if stray.any():
                self._hand_over(p, stray, kept & ~mine, index)
        classes = np.where(kept, likeliest(p[1:]).numpy() + 1, 0)
        final = np.zeros_like(kept)
        for index in range(1, p.shape[0]):
            mine = _parts(classes == index, smallest, self.class_fraction)
            filled = ndimage.binary_fill_holes(mine)
            holes = torch.from_numpy(filled & ~mine & (classes == 0))
            p[:, holes] = 0.0
            p[index, holes] = 1.0
            final |= filled
        # what was taken for lung and is not kept, with the soft border around it
        gone = foreground & ~final
        gone = ndimage.binary_dilation(gone, iterations=2) & ~ndimage.binary_dilation(final)
        gone |= foreground & ~final
        out = torch.from_numpy(gone)
        p[:, out] = 0.0
        p[0, out] = 1.0
        return p

    @staticmethod
    def _hand_over(
        p: Tensor, stray: npt.NDArray[np.bool_], others: npt.NDArray[np.bool_], index: int
    ) -> None:
        """Give stray parts of a class that touch another class to that class."""
        labelled, _ = ndimage.label(stray)
        touched = set(np.unique(labelled[ndimage.binary_dilation(others) & stray]).tolist()) - {0}
        if not touched or p.shape[0] < 3:
            return
        where = torch.from_numpy(np.isin(labelled, sorted(touched)))
        rest = p[1:].clone()
        rest[index - 1] = -1.0
        other = likeliest(rest)[where].long() + 1
        moved = p[index][where]
        flat = p[:, where]
        flat[index] = 0.0
        flat[other, torch.arange(len(other))] += moved
        p[:, where] = flat


class OntoImageGridd(MapTransform):
    """Bring probabilities `(C, x, y, z)` back onto the CT's own grid; leave labels `(1, i, j, k)`.

    Linear between the working voxels, decided on the CT's own voxels: a voxel is foreground where
    the foreground classes together exceed one half, and then the likeliest of them. Both grids are
    read from the image that `ToWorkingGridd` left under `image_key`.

    With `edge_hu`, the border between lung and tissue is laid where the CT itself crosses that
    density: only within one working voxel of the border that the network drew, and only where the
    network is between 0.2 and 0.8. Dense lung away from the border is left to the network.

    Args:
        keys: probabilities to bring back.
        image_key: the image on the working grid.
        ct_key: the CT as it came (`keep_as`); without it in the dictionary no edge is moved.
        edge_hu: density of the border, or None.
        halves: labels of which the last channels tell more, eight halves of a voxel for each (see
            `RefinedInferer`); they decide on these.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        image_key: str = "image",
        ct_key: str = "ct",
        edge_hu: float | None = None,
        halves: Sequence[int] = (),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.halves = tuple(halves)
        self.ct_key = ct_key
        self.edge_hu = edge_hu

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        """Return the dictionary with label maps in place of the probabilities."""
        result = dict(data)
        image = result[self.image_key]
        if not isinstance(image, MetaTensor) or INPUT_AFFINE not in image.meta:
            raise ValueError(f"{self.image_key!r} was not read by ToWorkingGridd")
        affine = torch.as_tensor(image.meta[INPUT_AFFINE]).reshape(-1, 4, 4)[0]
        shape = [int(n) for n in torch.as_tensor(image.meta[INPUT_SHAPE]).reshape(-1, 3)[0]]
        ct = result.pop(self.ct_key, None)
        ct = None if ct is None else ct.as_subclass(Tensor).reshape(shape)
        for key in self.key_iterator(result):
            p = result[key].detach().cpu().float().as_subclass(Tensor)
            labels = self.labels(p, torch.linalg.inv(affine_of(image)) @ affine, shape, ct)
            result[key] = MetaTensor(labels, affine=affine, meta=name_of(image))
        return result

    def labels(
        self, p: Tensor, to_index: Tensor, shape: Sequence[int], ct: Tensor | None
    ) -> Tensor:
        """Return labels of this shape; `to_index` maps its voxels to those of `p`."""
        p, fine = without_halves(p, self.halves)
        halves = Halves(fine, self.halves, to_index, shape)
        classes = p[1:]
        total = classes.sum(0, keepdim=True)
        most = functional.max_pool3d(total[None], 3, 1, 1)[0]
        least = -functional.max_pool3d(-total[None], 3, 1, 1)[0]
        edge = self.edge_hu if ct is not None else None
        upsampler = Upsampler(torch.cat((classes, most, least)), to_index)
        labels = torch.zeros((1, *shape), dtype=torch.uint8)
        box = box_of(most[0] > 0.2, to_index, shape)
        if box is None:
            return labels
        low, high = box
        for first in range(low[0], high[0], SLAB):
            last = min(first + SLAB, high[0])
            read = upsampler.read((first, *low[1:]), (last, *high[1:]))
            own, most, least = read[:-2], read[-2], read[-1]
            own = halves.onto(own, (first, *low[1:]), (last, *high[1:]))
            likely = own.sum(0)
            chosen = likely > 0.5
            here = (slice(first, last), slice(low[1], high[1]), slice(low[2], high[2]))
            if edge is not None and ct is not None:
                border = (likely > 0.2) & (likely < 0.8) & (most > 0.5) & (least < 0.5)
                chosen = torch.where(border, ct[here].float() < edge, chosen)
            labels[0][here] = (likeliest(own) + 1) * chosen
        return labels
