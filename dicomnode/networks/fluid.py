"""Fluid beside an organ, told from it by its HU: a network that reads shapes takes it in."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from monai.config.type_definitions import KeysCollection
from monai.transforms.transform import MapTransform
from scipy import ndimage
from torch import Tensor

from dicomnode.networks.halves import without_halves
from dicomnode.networks.likeliest import likeliest
from dicomnode.networks.organs import soft_tissue_hu
from dicomnode.networks.resampling import affine_of

__all__ = ["ApartFromFluidd", "fluid_within"]

Mask = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float32]
SMOOTH_MM = 4.5
FLUID_HU = (-5.0, 28.0)
"""Mean of water to fluid rich in protein; clotted blood and fat are not told."""
LEAST_DIFFERENCE_HU = 25.0
"""Between the organ and the fluid: a fatty liver without contrast medium may be as dark."""
LEAST_ORGAN = 0.2
"""Share of what was outlined that is the organ, in one piece: vessels in a dark liver are less."""
LEAST_ML = 30.0
LEAST_OUTSIDE = 0.25
"""Share of the fluid's surface where the outline ends: what lies amid the organ is part of it."""


def fluid_within(hu: Values, outlined: Mask, spacing_mm: Sequence[float]) -> Mask:
    """Where `outlined`, `(x, y, z)`, holds fluid that lies beside the organ; mostly nowhere.

    HU are smoothed within the outline and divided by Otsu's threshold (IEEE Trans. SMC 9:62,
    1979); the darker part is fluid if its HU, its size and its place say so.
    """
    nowhere = np.zeros_like(outlined)
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    if outlined.sum() * voxel_ml < LEAST_ML / (1 - LEAST_ORGAN):
        return nowhere
    smooth = _smoothed(hu, outlined, spacing_mm)
    threshold = _otsu(smooth[outlined])
    dark = outlined & (smooth < threshold)
    bright = outlined & ~dark
    if not dark.any() or not bright.any():
        return nowhere
    low, high = smooth[dark].mean(), smooth[bright].mean()
    if not FLUID_HU[0] <= low <= FLUID_HU[1] or high - low < LEAST_DIFFERENCE_HU:
        return nowhere
    core = ndimage.binary_opening(bright, iterations=3)
    if _largest(core) < LEAST_ORGAN * outlined.sum():
        return nowhere
    fluid = _beside(dark, outlined, LEAST_ML / voxel_ml)
    if not fluid.any():
        return nowhere
    specks = ndimage.binary_dilation(fluid, iterations=4) & ~ndimage.binary_dilation(
        core, iterations=3
    )
    rim = ndimage.binary_dilation(fluid, iterations=2) & dark
    return np.asarray(outlined & (fluid | specks | rim))


def _smoothed(hu: Values, within: Mask, spacing_mm: Sequence[float]) -> Values:
    sigma = [SMOOTH_MM / step for step in spacing_mm]
    weight = ndimage.gaussian_filter(within.astype(np.float32), sigma)
    total = ndimage.gaussian_filter(np.where(within, hu, 0).astype(np.float32), sigma)
    return np.asarray(total / np.maximum(weight, 1e-3), np.float32)


def _otsu(values: Values) -> float:
    """The threshold at which the two parts' means lie farthest apart, weighed by their sizes."""
    counts, edges = np.histogram(values, bins=120)
    middles = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)[:-1].astype(float)
    sum_below = np.cumsum(counts * middles)[:-1]
    above, whole = values.size - below, float((counts * middles).sum())
    apart = below * above * (sum_below / below - (whole - sum_below) / above) ** 2
    return float(edges[1 + int(np.nanargmax(apart))])


def _largest(mask: Mask) -> int:
    parts, count = ndimage.label(mask)
    return int(np.bincount(parts.ravel())[1:].max()) if count else 0


def _beside(dark: Mask, outlined: Mask, least: float) -> Mask:
    """The dark parts that are large and lie at the outline's edge."""
    parts, count = ndimage.label(ndimage.binary_opening(dark, iterations=1))
    fluid = np.zeros_like(dark)
    for number in range(1, count + 1):
        part = parts == number
        if part.sum() < least:
            continue
        around = ndimage.binary_dilation(part) & ~part
        if (around & ~outlined).sum() >= LEAST_OUTSIDE * around.sum():
            fluid |= part
    return fluid


class ApartFromFluidd(MapTransform):
    """Give the fluid beside organs back to its own class, in class probabilities `(C, x, y, z)`.

    Args:
        keys: probabilities on the working grid.
        organs: channels that may have taken fluid in, each asked by itself.
        fluid: the channel that gets their probability there.
        image_key: the image on the same grid, scaled by `ScaleSoftTissued`.
        halves: channels of which the last ones tell more (`RefinedInferer`); 0 in the fluid.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        organs: Sequence[int],
        fluid: int,
        image_key: str = "image",
        halves: Sequence[int] = (),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.organs, self.fluid, self.image_key = tuple(organs), fluid, image_key
        self.halves = tuple(halves)

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        """Return the dictionary with the probabilities moved."""
        result = dict(data)
        image = result[self.image_key]
        spacing = torch.linalg.vector_norm(affine_of(image)[:3, :3], dim=0).tolist()
        hu = soft_tissue_hu(image[0].detach().cpu().float().as_subclass(Tensor)).numpy()
        for key in self.key_iterator(result):
            result[key] = result[key].clone()
            p, halves = without_halves(result[key], self.halves)
            best = likeliest(p.as_subclass(Tensor)).cpu().numpy()
            for organ in self.organs:
                found = fluid_within(hu, best == organ, spacing)
                if found.any():
                    at = torch.from_numpy(found).to(p.device)
                    p[self.fluid][at] += p[organ][at]
                    p[organ][at] = 0.0
                    if organ in self.halves:
                        halves[self.halves.index(organ)][:, at] = 0.0
        return result
