"""Windows that clip: what a narrow VOI window in the header does to a radiograph."""

from collections.abc import Hashable, Mapping
from typing import Any, TypeVar

import numpy as np
from monai.config.type_definitions import KeysCollection
from monai.transforms.transform import MapTransform, RandomizableTransform
from numpy.typing import NDArray
from torch import Tensor

Image = TypeVar("Image", NDArray[np.float32], Tensor)


def window(image: Image, low: float, high: float) -> Image:
    """Return `image` (0 to 1) with `low` to `high` stretched to 0 to 1, clipped at both ends."""
    return ((image - low) / (high - low)).clip(0, 1)


class RandWindowd(RandomizableTransform, MapTransform):
    """Cut a random share of the grey range off its dark and its bright end.

    Each end loses between nothing and `cut` of the range, independently; `cut` is below 0.5.
    Shares of the range, not of the pixels: chest radiographs are bright, and cutting 0.3 off the
    bright end saturates two thirds of the pixels of a typical one.
    """

    def __init__(self, keys: KeysCollection, prob: float, cut: float) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        if not 0 <= cut < 0.5:
            raise ValueError(f"cut must be from 0 to below 0.5, not {cut}")
        self.cut = cut

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        changed = dict(data)
        self.randomize(None)
        low, high = self.R.uniform(0, self.cut), 1 - self.R.uniform(0, self.cut)
        if self._do_transform:
            for key in self.key_iterator(changed):
                changed[key] = window(changed[key], low, high)
        return changed
