"""A radiograph of any size on the field of a network."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms.transform import MapTransform
from torch import Tensor
from torch.nn import functional

from dicomnode.networks.resampling import affine_of, name_of

__all__ = ["FitIntoSquared"]


class FitIntoSquared(MapTransform):
    """Scale a radiograph `(1, columns, rows)` into a square `(1, side, side)`.

    The longer side fills the square, the rest is 0 on both sides of the shorter one. Its sharpness
    hardly depends on its size: MONAI's `Resized` by areas takes the mean of two pixels almost
    everywhere where an image of 504 pixels fills 512, and a network sees another image.

    Args:
        keys: images to scale; their affines follow.
        side: of the square, in pixels.

    Attributes:
        only_reads: nothing after this step can reach the image as it came.
    """

    only_reads = True

    def __init__(self, keys: KeysCollection, side: int, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.side = side

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        """Return the dictionary with the images in their squares."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.fitted(result[key])
        return result

    def fitted(self, image: Tensor) -> MetaTensor:
        """Return one image in its square."""
        shape = tuple(image.shape[1:])
        size = tuple(max(1, round(n * self.side / max(shape))) for n in shape)
        # As the file has it, rows before columns: an image that comes as a turned view is not
        # copied, and only the small one is turned.
        lying = image.as_subclass(Tensor)[None].transpose(2, 3).float()
        small = _scaled(lying, size[::-1])
        before = [(self.side - n) // 2 for n in size]
        after = [self.side - n - b for n, b in zip(size, before, strict=True)]
        small = functional.pad(small, (before[0], after[0], before[1], after[1]))
        to_image = torch.eye(3, dtype=torch.float64)
        for axis, (n, m, b) in enumerate(zip(shape, size, before, strict=True)):
            to_image[axis, axis] = n / m
            to_image[axis, 2] = (n / m - 1) / 2 - b * n / m
        squared = small[0].transpose(1, 2)
        return MetaTensor(squared, affine=_planar(image) @ to_image, meta=name_of(image))


def _scaled(image: Tensor, size: tuple[int, ...]) -> Tensor:
    """`(1, 1, *size)`: by areas where it becomes a half or a quarter and less, else bicubic.

    Halving is what archives of pictures ask for, and takes a fifth of `interpolate`'s time this
    way. At a quarter and less areas of whole pixels are near enough to even, and several times as
    fast as cubic weights.
    """
    shape = tuple(image.shape[2:])
    if shape == size:
        return image.clone()
    if shape == (2 * size[0], 2 * size[1]):
        total = image[..., ::2, ::2] + image[..., ::2, 1::2]
        total += image[..., 1::2, ::2]
        total += image[..., 1::2, 1::2]
        return total / 4
    if max(shape) >= 4 * max(size):
        return functional.interpolate(image, size=size, mode="area")
    found = functional.interpolate(image, size=size, mode="bicubic", antialias=True)
    # Cubic weights overshoot at edges.
    return found.clamp(*image.aminmax())


def _planar(image: Tensor) -> Tensor:
    """The affine of a picture, 3 x 3."""
    if not isinstance(image, MetaTensor):
        raise TypeError("the image must be a MetaTensor: its affine says where it lies")
    affine = torch.as_tensor(image.affine, dtype=torch.float64, device="cpu")
    if affine.shape[-1] == 3:
        return affine.reshape(-1, 3, 3)[0]
    return affine_of(image)[[0, 1, 3]][:, [0, 1, 3]]
