"""Sliding windows over the body alone, in bounded memory.

MONAI's `sliding_window_inference` visits air, table and room as well, and holds the sum of all
classes for the whole volume. Here windows lie over the body's box, those without body are left out,
and sums are held for as many slices as a window is deep.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from monai.data.utils import compute_importance_map
from monai.inferers.inferer import Inferer
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

__all__ = ["BodyWindowInferer", "bfloat16_pays", "body_box", "body_mask", "in_bfloat16"]

_WITH_BFLOAT16 = ("amx_tile", "avx512_bf16")
"""Instructions that multiply in bfloat16, as torch names them."""
_COARSE = 4
_CERTAIN = 20.0
"""Logit of the background where no window was."""

Box = tuple[slice, slice, slice]


def bfloat16_pays(device: torch.device) -> bool:
    """Return whether the device computes in bfloat16 itself; elsewhere that is slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # torch has no public names for them yet; without one nothing is gained and nothing lost.
    asked = (getattr(torch.cpu, f"_is_{kind}_supported", None) for kind in _WITH_BFLOAT16)
    return device.type == "cpu" and any(asks is not None and bool(asks()) for asks in asked)


def in_bfloat16(device: torch.device, wanted: bool | None = None) -> torch.autocast:
    """Around networks: bfloat16 if `wanted`; None: where that pays, for elsewhere a step of
    training took six times as long by it."""
    rough = bfloat16_pays(device) if wanted is None else wanted
    return torch.autocast(device.type, torch.bfloat16, enabled=rough)


def body_mask(volume: Tensor, above: float) -> Tensor:
    """Return where the body is, in blocks of 4 x 4 x 4 voxels (the last ones may be cut).

    The largest part that is denser than `above`, with what it encloses in each of its three
    directions of slices (lungs, bowel gas). All false if nothing is.

    Args:
        volume: `(x, y, z)`, in the network's scale.
        above: of that scale; between air and fat.
    """
    dense = (volume > above).float()[None, None]
    pad = [side for n in reversed(volume.shape) for side in (0, -n % _COARSE)]
    coarse = functional.avg_pool3d(functional.pad(dense, pad), _COARSE)[0, 0] > 0.4
    labelled, count = ndimage.label(coarse.cpu().numpy())
    if count == 0:
        return torch.zeros(coarse.shape, dtype=torch.bool)
    sizes = np.bincount(labelled.ravel())
    sizes[0] = 0
    body = labelled == sizes.argmax()
    for axis in range(3):
        for index in range(body.shape[axis]):
            here = tuple(index if n == axis else slice(None) for n in range(3))
            body[here] = ndimage.binary_fill_holes(body[here])
    # what of the skin's block was less than half full
    return torch.from_numpy(ndimage.binary_dilation(body))


def body_box(volume: Tensor, above: float) -> Box | None:
    """Return the box of voxels that holds the body; None if there is none. See `body_mask`."""
    where = torch.nonzero(body_mask(volume, above))
    if not len(where):
        return None
    low, high = where.amin(0) * _COARSE, (where.amax(0) + 1) * _COARSE
    x, y, z = (
        slice(int(a), min(int(b), n)) for a, b, n in zip(low, high, volume.shape, strict=True)
    )
    return x, y, z


class BodyWindowInferer(Inferer):
    """Logits of a 3D network by overlapping windows with Gaussian weights, over the body alone.

    Where no window was, class 0 is certain. Without `body_above` the result is that of MONAI's
    `SlidingWindowInferer` with the same windows.

    Args:
        roi_size: of a window, voxels.
        overlap: share of a window that the next one covers too.
        sw_batch_size: windows a forward pass.
        mode: `gaussian` or `constant` weights.
        body_above: values above this are body or table, in the network's scale; None: everywhere.
        least_body: a window is left out if less of it is body.
        bfloat16: run the network in bfloat16; None: where the device has instructions for it.
        pad_value: what lies beyond the volume.
        labels: give the likeliest class, `(N, 1, x, y, z)`, instead of logits; then memory does not
            grow with classes times slices.
    """

    def __init__(
        self,
        roi_size: Sequence[int],
        *,
        overlap: float = 0.25,
        sw_batch_size: int = 4,
        mode: str = "gaussian",
        body_above: float | None = None,
        least_body: float = 0.0,
        bfloat16: bool | None = False,
        pad_value: float = 0.0,
        labels: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= overlap < 1:
            raise ValueError("overlap is at least 0 and less than 1")
        self.roi = tuple(int(n) for n in roi_size)
        self.overlap = overlap
        self.batch = sw_batch_size
        self.mode = mode
        self.body_above = body_above
        self.least_body = least_body
        self.bfloat16 = bfloat16
        self.pad_value = pad_value
        self.labels = labels

    def __call__(
        self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return logits `(N, classes, x, y, z)`, or labels, for `(N, channels, x, y, z)`."""
        volumes = inputs.as_subclass(Tensor)
        return torch.stack([self._volume(v, network, *args, **kwargs) for v in volumes])

    def _volume(
        self, volume: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        shape = volume.shape[1:]
        body = None if self.body_above is None else body_mask(volume[0], self.body_above)
        box: Box | None = (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2]))
        if self.body_above is not None:
            box = body_box(volume[0], self.body_above)
        result: Tensor | None = None
        for here, logits in self._parts(volume, box, body, network, *args, **kwargs):
            if result is None:
                result = self._background(len(logits), shape, logits)
            result[(slice(None), *here)] = (
                logits.argmax(0, keepdim=True).to(result.dtype) if self.labels else logits
            )
        if result is None:
            # Nothing of a body: one window tells how many classes there are.
            empty = volume.new_full((1, volume.shape[0], *self.roi), self.pad_value)
            one = self._forward(empty, network, *args, **kwargs)
            result = self._background(one.shape[1], shape, one)
        return result

    def _background(self, classes: int, shape: Sequence[int], like: Tensor) -> Tensor:
        if self.labels:
            return like.new_zeros((1, *shape), dtype=torch.uint8 if classes < 256 else torch.int16)
        result = like.new_full((classes, *shape), -_CERTAIN)
        result[0] = _CERTAIN
        return result

    def _parts(
        self,
        volume: Tensor,
        box: Box | None,
        body: Tensor | None,
        network: Callable[..., Tensor],
        *args: Any,
        **kwargs: Any,
    ) -> Iterator[tuple[Box, Tensor]]:
        """Finished parts of the box, from the first slice to the last, with their logits."""
        if box is None:
            return
        starts = [self._starts(side, roi) for side, roi in zip(box, self.roi, strict=True)]
        weights = compute_importance_map(self.roi, mode=self.mode, sigma_scale=0.125).float()
        weights = weights.to(volume.device).clamp(min=1e-3)
        sums: Tensor | None = None
        total = volume.new_zeros([s.stop - s.start for s in box[:2]] + [self.roi[2]])
        for number, z in enumerate(starts[2]):
            windows = [(x, y, z) for x in starts[0] for y in starts[1]]
            windows = [window for window in windows if self._holds_body(window, body)]
            for first in range(0, len(windows), self.batch):
                some = windows[first : first + self.batch]
                patches = torch.stack([self._patch(volume, window) for window in some])
                for window, logits in zip(
                    some, self._forward(patches, network, *args, **kwargs), strict=True
                ):
                    if sums is None:
                        sums = logits.new_zeros((len(logits), *total.shape))
                    target, part = self._inside(window, box)
                    sums[(slice(None), *target)] += (logits * weights)[(slice(None), *part)]
                    total[target] += weights[part]
            last = number + 1 == len(starts[2])
            step = self.roi[2] if last else starts[2][number + 1] - z
            depth = min(step, box[2].stop - z)
            if sums is not None:
                done = sums[..., :depth] / total[..., :depth].clamp(min=1e-6)
                nowhere = total[..., :depth] == 0
                done[:, nowhere] = -_CERTAIN
                done[0, nowhere] = _CERTAIN
                yield (box[0], box[1], slice(z, z + depth)), done
                sums = functional.pad(sums[..., step:], (0, step)) if step < self.roi[2] else None
            total = functional.pad(total[..., step:], (0, step))

    def _starts(self, side: slice, roi: int) -> list[int]:
        """Where windows begin along one axis; a box smaller than a window has one, around it."""
        length = side.stop - side.start
        if length <= roi:
            return [side.start]
        step = max(1, int(roi * (1 - self.overlap)))
        count = math.ceil((length - roi) / step) + 1
        return [min(side.start + n * step, side.stop - roi) for n in range(count)]

    def _holds_body(self, window: Sequence[int], body: Tensor | None) -> bool:
        if body is None:
            return True
        part = body[
            tuple(
                slice(start // _COARSE, -(-(start + roi) // _COARSE))
                for start, roi in zip(window, self.roi, strict=True)
            )
        ]
        return bool(part.any()) and float(part.float().mean()) >= self.least_body

    def _patch(self, volume: Tensor, window: Sequence[int]) -> Tensor:
        here = tuple(slice(a, a + roi) for a, roi in zip(window, self.roi, strict=True))
        patch = volume[(slice(None), *here)]
        pad = [
            side
            for n, roi in zip(reversed(patch.shape[1:]), reversed(self.roi), strict=True)
            for side in (0, roi - n)
        ]
        return functional.pad(patch, pad, value=self.pad_value)

    def _inside(self, window: Sequence[int], box: Box) -> tuple[Box, Box]:
        """Where a window lies among the sums (which begin at its own first slice), and its part."""
        target, part = [], []
        for axis, (start, roi, side) in enumerate(zip(window, self.roi, box, strict=True)):
            length = min(roi, side.stop - start)
            first = 0 if axis == 2 else start - side.start
            target.append(slice(first, first + length))
            part.append(slice(0, length))
        return (target[0], target[1], target[2]), (part[0], part[1], part[2])

    def _forward(
        self, patches: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        with in_bfloat16(patches.device, self.bfloat16):
            logits = network(patches, *args, **kwargs)
        return logits.float()
