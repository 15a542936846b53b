"""Lesions on the CT's own grid: outlines, RECIST diameters, boxes, in patient millimetres."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms.transform import MapTransform
from scipy import ndimage
from torch import Tensor

from dicomnode.domain.blank import blank, filled
from dicomnode.networks.recist import Diameters, recist_of
from dicomnode.networks.resampling import affine_of, name_of
from dicomnode.networks.transforms import INPUT_AFFINE, INPUT_SHAPE

__all__ = ["PlaceLesionsd"]

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer[Any]]
Indices = npt.NDArray[np.int_]

_TO_LPS = np.array([-1.0, -1.0, 1.0])
_BALL_OF_FIELD = 0.2
"""Radius over side of the cube of a lesion that has no outline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cube:
    """Probabilities around a lesion, in millimetres of the working grid."""

    values: npt.NDArray[np.float32]
    middle_mm: Floats
    side_mm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placed:
    """One lesion on the CT's grid."""

    soft: npt.NDArray[np.float32]
    """Probabilities on its part of the grid."""
    start: tuple[int, int, int]
    plane: int
    """Slice of the diameters, within the part."""
    diameters: Diameters


class PlaceLesionsd(MapTransform):
    """Make what `docs/bundles.md` asks of lesions from what an inferer of lesions left.

    Outlines are interpolated from their cubes at the CT's own voxels. Lesions are taken by score:
    one whose middle lies in the outline of a surer one is the same lesion and goes; what two
    outlines share belongs to the surer one. A lesion without an outline is a ball.

    Args:
        keys: the dictionary of `FoundInferer`.
        types: number of the type in `dicom.json` for each type of the network, from 0.
        sites: the same for sites; None: no sites.
        image_key: the image that `ToWorkingGridd` left.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        types: Sequence[int],
        sites: Sequence[int] | None = None,
        image_key: str = "image",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.types = list(types)
        self.sites = None if sites is None else list(sites)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, object]:
        """Return the dictionary with lesions in place of what the inferer left."""
        result: dict[Hashable, object] = dict(data)
        image = data[self.image_key]
        if not isinstance(image, MetaTensor) or INPUT_AFFINE not in image.meta:
            raise ValueError(f"{self.image_key!r} was not read by ToWorkingGridd")
        result.pop("ct", None)
        ct = torch.as_tensor(image.meta[INPUT_AFFINE]).reshape(-1, 4, 4)[0].numpy()
        shape = [int(n) for n in torch.as_tensor(image.meta[INPUT_SHAPE]).reshape(-1, 3)[0]]
        for key in self.key_iterator(result):
            found = {name: values.numpy() for name, values in data[key].items()}  # type: ignore[attr-defined]
            placed = self.placed(found, affine_of(image).numpy(), ct, shape)
            if "mask" in placed:
                mask = torch.from_numpy(placed.pop("mask"))
                placed["mask"] = MetaTensor(  # type: ignore[assignment]
                    mask[None], affine=torch.from_numpy(ct), meta=name_of(image)
                )
            result[key] = placed
        return result

    def placed(
        self,
        found: Mapping[str, npt.NDArray[np.generic]],
        working: Floats,
        ct: Floats,
        shape: Sequence[int],
    ) -> dict[str, npt.NDArray[np.generic]]:
        """The arrays of `docs/bundles.md`; affines (working grid, CT) lead to RAS mm."""
        labels: Labels = blank(shape, np.uint8 if len(found["scores"]) < 256 else np.int32)
        rows: dict[str, list[object]] = {
            name: [] for name in ("scores", "types", "sites", "long_axes", "short_axes", "boxes")
        }
        # millimetres from voxel 0 of the working grid -> index of the CT
        turn = working.copy()
        turn[:3, :3] /= np.linalg.norm(working[:3, :3], axis=0)
        to_ct = np.linalg.inv(ct) @ turn
        spacing = np.linalg.norm(ct[:3, :3], axis=0)
        for row, point in enumerate(np.asarray(found["points"], float)):
            cube = _Cube(
                values=np.asarray(found["cubes"][row], np.float32),
                middle_mm=point,
                side_mm=float(found["fields"][row]),
            )
            one = _outlined(cube, to_ct=to_ct, spacing=spacing, labels=labels)
            if one is None:
                continue
            kind = int(found["kinds"][row])
            number = len(rows["scores"]) + 1
            part = tuple(slice(s, s + n) for s, n in zip(one.start, one.soft.shape, strict=True))
            labels[part][one.soft > 0.5] = number
            rows["scores"].append(float(np.clip(found["scores"][row], 0, 1)))
            rows["types"].append(self.types[kind])
            rows["sites"].append(self.sites[kind] if self.sites is not None else 0)
            for name, ends in (
                ("long_axes", one.diameters.long),
                ("short_axes", one.diameters.short),
            ):
                plane = np.full((2, 1), one.start[2] + one.plane)
                index = np.hstack([ends / spacing[:2] + one.start[:2], plane])
                index = np.clip(index, -0.5, np.array(shape) - 0.5)
                rows[name].append((index @ ct[:3, :3].T + ct[:3, 3]) * _TO_LPS)
            rows["boxes"].append(_box(one, ct))
        if self.sites is None:
            del rows["sites"]
        n = len(rows["scores"])
        result: dict[str, npt.NDArray[np.generic]] = {
            name: np.asarray(values, np.float64).reshape(n, *_SHAPE_OF.get(name, ()))
            for name, values in rows.items()
        }
        return {**result, "mask": filled(labels)}


_SHAPE_OF = {"long_axes": (2, 3), "short_axes": (2, 3), "boxes": (2, 3)}


def _outlined(cube: _Cube, *, to_ct: Floats, spacing: Floats, labels: Labels) -> _Placed | None:
    """The lesion on the CT's grid; None if it is part of one that is there already."""
    middle = to_ct[:3, :3] @ cube.middle_mm + to_ct[:3, 3]
    here = np.clip(np.round(middle).astype(int), 0, np.array(labels.shape) - 1)
    if labels[tuple(here)]:
        return None
    reach = np.abs(to_ct[:3, :3]) @ np.full(3, cube.side_mm / 2)
    start = np.maximum(np.floor(middle - reach).astype(int), 0)
    stop = np.minimum(np.ceil(middle + reach).astype(int) + 1, labels.shape)
    start = np.minimum(start, here)
    stop = np.maximum(stop, here + 1)
    found = _soft(
        cube, to_ct=to_ct, spacing=spacing, labels=labels, within=(start, stop), here=here
    )
    if found is None:
        soft = _ball(cube, middle, spacing, labels=labels, within=(start, stop), here=here)
    else:
        soft, start = found
    told = recist_of(soft, spacing.tolist())
    if told is None:
        return None
    plane, diameters = told
    return _Placed(
        soft=soft,
        start=(int(start[0]), int(start[1]), int(start[2])),
        plane=plane,
        diameters=diameters,
    )


def _soft(
    cube: _Cube,
    *,
    to_ct: Floats,
    spacing: Floats,
    labels: Labels,
    within: tuple[Indices, Indices],
    here: Indices,
) -> tuple[npt.NDArray[np.float32], Indices] | None:
    """What the cube outlines and is not taken yet, and its first voxel; None: there is nothing.

    Only the box of what can exceed one half is read, with a voxel around it.
    """
    warm = np.argwhere(cube.values > 0.5)
    if not len(warm):
        return None
    step = cube.side_mm / cube.values.shape[0]
    ends = np.stack([warm.min(0) - 1, warm.max(0) + 1]) - (cube.values.shape[0] - 1) / 2
    corners = cube.middle_mm + step * np.array(list(product(*ends.T)))
    index = corners @ to_ct[:3, :3].T + to_ct[:3, 3]
    start = np.clip(np.floor(index.min(0)).astype(int) - 1, *within)
    stop = np.clip(np.ceil(index.max(0)).astype(int) + 2, start, within[1])
    if (stop <= start).any():
        return None
    taken = labels[_part(start, stop)] > 0
    read = np.where(taken, 0.0, _read(cube, to_ct, start, stop)).astype(np.float32)
    soft = _middle_part(read, here - start, spacing)
    return None if soft is None else (soft, start)


def _ball(
    cube: _Cube,
    middle: Floats,
    spacing: Floats,
    *,
    labels: Labels,
    within: tuple[Indices, Indices],
    here: Indices,
) -> npt.NDArray[np.float32]:
    """A lesion that has no outline, in the box `within`."""
    start, stop = within
    lines = [
        (np.arange(a, b) - m) * step
        for a, b, m, step in zip(start, stop, middle, spacing, strict=True)
    ]
    far = np.linalg.norm(np.stack(np.meshgrid(*lines, indexing="ij"), -1), axis=-1)
    radius = _BALL_OF_FIELD * cube.side_mm
    soft = np.clip(0.5 + (radius - far) / (2 * spacing.max()), 0, 1).astype(np.float32)
    soft[tuple(here - start)] = 1.0
    soft[labels[_part(start, stop)] > 0] = 0.0
    return soft


def _part(start: Indices, stop: Indices) -> tuple[slice, ...]:
    return tuple(slice(a, b) for a, b in zip(start, stop, strict=True))


def _read(cube: _Cube, to_ct: Floats, start: Indices, stop: Indices) -> npt.NDArray[np.float32]:
    """The cube at the voxels `start` to `stop` of the CT, linear in between, 0 beyond it."""
    back = np.linalg.inv(to_ct)
    side = cube.values.shape[0]
    step = cube.side_mm / side
    place = (back[:3, :3] @ start + back[:3, 3] - cube.middle_mm) / step + (side - 1) / 2
    return np.asarray(
        ndimage.affine_transform(
            cube.values,
            back[:3, :3] / step,
            offset=place,
            output_shape=tuple(stop - start),
            order=1,
            mode="grid-constant",
        )
    )


def _middle_part(
    soft: npt.NDArray[np.float32], middle: npt.NDArray[np.int_], spacing: Floats
) -> npt.NDArray[np.float32] | None:
    """What hangs together with the middle, or lies within 5 mm of it; None if nothing does."""
    parts, count = ndimage.label(soft > 0.5)
    if count == 0:
        return None
    where = np.argwhere(parts)
    away = np.linalg.norm((where - middle) * spacing, axis=1)
    nearest = int(away.argmin())
    if away[nearest] > 5.0:
        return None
    mine = parts == parts[tuple(where[nearest])]
    # The soft border stays, so that diameters are finer than voxels.
    kept = ndimage.binary_dilation(mine, structure=np.ones((3, 3, 3), bool)) & ((parts == 0) | mine)
    return np.where(kept, soft, 0.0).astype(np.float32)


def _box(one: _Placed, ct: Floats) -> Floats:
    """Least and greatest corner in LPS mm of the voxels and of the diameters' ends."""
    where = np.argwhere(one.soft > 0.5) + np.array(one.start)
    low, high = where.min(0) - 0.5, where.max(0) + 0.5
    corners = np.array(
        [
            [(low, high)[i][0], (low, high)[j][1], (low, high)[k][2]]
            for i in (0, 1)
            for j in (0, 1)
            for k in (0, 1)
        ]
    )
    world = (corners @ ct[:3, :3].T + ct[:3, 3]) * _TO_LPS
    return np.stack([world.min(0), world.max(0)])
