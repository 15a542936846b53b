"""How CTs look that phantoms do not: as if by other scanners, kernels, slices, lungs.

Everything is laid over a crop, or over a whole scene, when it is drawn; scenes stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from dicomnode.phantom.structures import LUNGS
from scripts.twigs import add_twigs

_AIR = -1000.0
_LUNG_TO = -400.0
"""HU above which nothing is taken for lung."""


def as_scanned(
    rng: np.random.Generator, hu: Tensor, lung: npt.NDArray[np.bool_] | None = None
) -> Tensor:
    """A crop as another scanner would have shown it; calibration is left to `varied`.

    Args:
        rng: what is drawn.
        hu: HU `(x, y, z)`.
        lung: where vessels of the lung may be added; None: nowhere, for they are there.
    """
    if lung is not None and lung.any() and rng.random() < 0.8:
        hu = torch.from_numpy(add_twigs(rng, hu.numpy(), lung))
    if rng.random() < 0.25:
        hu = airier(rng, hu)
    if rng.random() < 0.35:
        hu = noisy(rng, hu)
    if rng.random() < 0.45:
        hu = thick(rng, hu)
    if rng.random() < 0.3:
        hu = sharper(rng, hu)
    return hu


def free_lung(
    labels: npt.NDArray[np.generic], instances: npt.NDArray[np.generic]
) -> npt.NDArray[np.bool_]:
    """Where vessels may be added: lung, and no lesion."""
    return np.isin(labels, LUNGS) & (instances == 0)


def dimmer(
    rng: np.random.Generator,
    hu: Tensor,
    instances: npt.NDArray[np.generic],
    numbers: Sequence[int],
) -> Tensor:
    """Lesions in fat that took up less contrast medium than they did, down to 15 HU.

    Args:
        rng: what is drawn.
        hu: HU `(x, y, z)`.
        instances: number of the lesion at each voxel, 0 where there is none.
        numbers: of the lesions that grow dimmer.
    """
    change = np.zeros(tuple(hu.shape), np.float32)
    for number in numbers:
        inside = instances == number
        mean = float(hu.numpy()[inside].mean()) if inside.any() else 0.0
        if mean > 20:
            change[inside] = rng.uniform(15, mean) - mean
    if not change.any():
        return hu
    return hu + torch.from_numpy(ndimage.gaussian_filter(change, 0.6, truncate=3.0))


def airier(rng: np.random.Generator, hu: Tensor) -> Tensor:
    """Lungs of a deeper breath: air stays air, tissue tissue, what lies between grows darker."""
    share = ((hu - _AIR) / (_LUNG_TO - _AIR)).clamp(0, 1)
    darker = _AIR + (_LUNG_TO - _AIR) * share ** float(rng.uniform(1.0, 2.4))
    return torch.where(share < 1, torch.minimum(hu, darker), hu)


def noisy(rng: np.random.Generator, hu: Tensor) -> Tensor:
    """Noise with the grain of a kernel, often drawn out from side to side as by shoulders."""
    grain = rng.standard_normal(tuple(hu.shape), dtype=np.float32)
    width = [*rng.uniform(0.0, 0.8, 2), rng.uniform(0.0, 1.0)]
    if rng.random() < 0.25:
        width[0] = rng.uniform(1.0, 4.0)
    grain = ndimage.gaussian_filter(grain, width, truncate=2.5)
    grain *= np.float32(rng.uniform(2, 20) / max(float(grain.std()), 1e-6))
    return hu + torch.from_numpy(grain)


def thick(rng: np.random.Generator, hu: Tensor) -> Tensor:
    """As if slices were 3 to 6 mm apart, interpolated back to the grid."""
    step = float(rng.uniform(1.5, 3.0))
    count = max(int(hu.shape[2] / step), 4)
    slices = functional.adaptive_avg_pool3d(hu[None, None], (*hu.shape[:2], count))
    back = functional.interpolate(
        slices, size=tuple(hu.shape), mode="trilinear", align_corners=False
    )
    return back[0, 0]


def sharper(rng: np.random.Generator, hu: Tensor) -> Tensor:
    """As if by another kernel: softer, or sharper with its greater noise."""
    window = (3, 3, 1) if rng.random() < 0.5 else (3, 3, 3)
    pad = tuple(n // 2 for n in window)
    calm = functional.avg_pool3d(hu[None, None], window, 1, pad, count_include_pad=False)[0, 0]
    return hu + float(rng.uniform(-0.6, 0.8)) * (hu - calm)
