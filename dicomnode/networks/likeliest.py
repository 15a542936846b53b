"""The class of the highest value at each place, much quicker than torch's own on a CPU."""

import torch
from torch import Tensor

__all__ = ["likeliest"]

_MOST = 256


def likeliest(values: Tensor) -> Tensor:
    """What `values.argmax(0)` gives of `(C, x, ...)`, as bytes: the first of equal ones counts.

    torch goes through classes that lie far apart in memory voxel by voxel; here each class is read
    in one go, plane by plane, which stay near the processor.

    Args:
        values: at most 256 classes; not a number in none of them.
    """
    if len(values) > _MOST:
        raise ValueError(f"{len(values)} classes are more than a byte tells")
    found = torch.zeros(values.shape[1:], dtype=torch.uint8, device=values.device)
    for told, classes in zip(found, values.unbind(1), strict=True):
        best = classes[0].clone()
        for number in range(1, len(classes)):
            told.masked_fill_(classes[number] > best, number)
            torch.maximum(best, classes[number], out=best)
    return found
