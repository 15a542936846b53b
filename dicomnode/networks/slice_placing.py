"""What `SliceInferer` found, as axes and boxes on the CT's own slices, in patient millimetres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from dicomnode.networks.lesion_placing import PlaceLesionsd

__all__ = ["PlaceSlicesd"]

Floats = npt.NDArray[np.float64]

_TO_LPS = np.array([-1.0, -1.0, 1.0])
_LEAST_MM = 1.0
"""An axis shorter than this is drawn so long: one of no length cannot be written."""


class PlaceSlicesd(PlaceLesionsd):
    """Make what `docs/bundles.md` asks of lesions from the ends that `SliceInferer` left.

    The short axis is what of it stands at right angles to the long one, as RECIST has it drawn;
    of the two the longer is the long one. There is no mask: a network that tells ends does not
    outline. Arguments are those of `PlaceLesionsd`.
    """

    def placed(
        self,
        found: Mapping[str, npt.NDArray[np.generic]],
        working: Floats,
        ct: Floats,
        shape: Sequence[int],
    ) -> dict[str, npt.NDArray[np.generic]]:
        """The arrays of `docs/bundles.md`; affines (working grid, CT) lead to RAS mm."""
        to_ct = np.linalg.inv(ct) @ working
        last = np.asarray(shape) - 0.5
        axes, boxes = [], []
        for ends, box in zip(
            np.asarray(found["ends"], float), np.asarray(found["boxes"], float), strict=True
        ):
            index = np.clip(ends @ to_ct[:3, :3].T + to_ct[:3, 3], -0.5, last)
            index[:, 2] = np.clip(np.rint(index[:, 2].mean()), 0, shape[2] - 1)
            both = _crossed((index @ ct[:3, :3].T + ct[:3, 3]) * _TO_LPS)
            # The cross may reach over the image's border by what it was straightened by.
            axes.append(_within(both, ct, last))
            boxes.append(_box(box, working, axes[-1]))
        n = len(axes)
        lines = np.asarray(axes, float).reshape(n, 2, 2, 3)
        kinds = np.asarray(found["kinds"], int)
        result: dict[str, npt.NDArray[np.generic]] = {
            "scores": np.asarray(found["scores"], np.float64).clip(0, 1),
            "types": np.array(self.types, float)[kinds],
            "long_axes": lines[:, 0],
            "short_axes": lines[:, 1],
            "boxes": np.asarray(boxes, float).reshape(n, 2, 3),
        }
        if self.sites is not None:
            result["sites"] = np.array(self.sites, float)[kinds]
        return result


def _crossed(ends: Floats) -> Floats:
    """Long and short axis `(2, 2, 3)` of four ends `(4, 3)` on one plane, at right angles."""
    pairs = ends.reshape(2, 2, 3)
    lengths = np.linalg.norm(pairs[:, 1] - pairs[:, 0], axis=1)
    long, short = pairs if lengths[0] >= lengths[1] else pairs[::-1]
    long = _at_least(long, np.array([1.0, 0.0, 0.0]))
    along = (long[1] - long[0]) / np.linalg.norm(long[1] - long[0])
    across = short[1] - short[0]
    across = across - along * (across @ along)
    middle = short.mean(0)
    straight = np.stack([middle - across / 2, middle + across / 2])
    # Another direction on the plane, for a short axis that lies along the long one.
    other = np.cross(along, np.cross(ends[2] - ends[0], along))
    if np.linalg.norm(other) < 1e-6:
        other = np.cross(along, [0.0, 0.0, 1.0])
    return np.stack([long, _at_least(straight, other)]).astype(np.float64)


def _at_least(line: Floats, direction: Floats) -> Floats:
    """The line, or one of `_LEAST_MM` through its middle."""
    if np.linalg.norm(line[1] - line[0]) >= _LEAST_MM:
        return line
    step = direction / max(float(np.linalg.norm(direction)), 1e-9) * _LEAST_MM / 2
    return np.stack([line.mean(0) - step, line.mean(0) + step])


def _within(axes: Floats, ct: Floats, last: Floats) -> Floats:
    """The axes, cut to the image."""
    world = axes.reshape(4, 3) * _TO_LPS
    back = np.linalg.inv(ct)
    index = np.clip(world @ back[:3, :3].T + back[:3, 3], -0.5, last)
    return ((index @ ct[:3, :3].T + ct[:3, 3]) * _TO_LPS).reshape(2, 2, 3)


def _box(corners: Floats, working: Floats, axes: Floats) -> Floats:
    """Least and greatest corner in LPS mm of the lesion's slices, its axes included."""
    every = np.stack(np.meshgrid(*corners.T, indexing="ij"), -1).reshape(-1, 3)
    world = (every @ working[:3, :3].T + working[:3, 3]) * _TO_LPS
    points = np.vstack([world, axes.reshape(4, 3)])
    return np.stack([points.min(0), points.max(0)])
