"""Transforms of bundles that label many organs on CT: body first, scale, parts, refusal."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from monai.config.type_definitions import KeysCollection
from monai.transforms.transform import MapTransform
from scipy import ndimage
from torch import Tensor

from dicomnode.domain.errors import InputRefused
from dicomnode.networks.halves import without_halves
from dicomnode.networks.likeliest import likeliest
from dicomnode.networks.resampling import affine_of

__all__ = ["KeepOrgansd", "MaskBodyd", "RefuseWithoutd", "ScaleSoftTissued", "scale_soft_tissue"]

Mask = npt.NDArray[np.bool_]
AIR_HU = -1000.0


def scale_soft_tissue(hu: Tensor) -> Tensor:
    """HU as about -1.5..1.5: steep from -200 to 300, shallow in air and bone, never flat."""
    return ((hu - 50) / 250).clamp(-1, 1) + 0.5 * (hu / 1000).clamp(-1, 1)


def soft_tissue_hu(scaled: Tensor) -> Tensor:
    """`scale_soft_tissue` turned back; right from -200 to 300 HU, clipped there outside of it."""
    return ((scaled + 50 / 250) / (1 / 250 + 0.5 / 1000)).clamp(-200, 300)


class ScaleSoftTissued(MapTransform):
    """Apply `scale_soft_tissue`."""

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        """Return the dictionary with the images scaled."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = scale_soft_tissue(result[key])
        return result


def body_mask(hu: npt.NDArray[np.float32], above: float = -350.0) -> Mask:
    """The patient in `(x, y, z)` HU: the largest dense part, opened, holes of each slice filled.

    Table, blankets and arms that lie apart stay outside; lungs and bowel gas are inside. All
    False where nothing is dense.
    """
    plane = np.ones((3, 3, 1), np.bool_)
    dense = ndimage.binary_opening(hu > above, plane, iterations=2)
    parts, count = ndimage.label(dense)
    if count > 1:
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        dense = parts == sizes.argmax()
    grown = ndimage.binary_dilation(dense, plane)
    slices = [ndimage.binary_fill_holes(grown[:, :, k]) for k in range(grown.shape[2])]
    return np.stack(slices, axis=2)


class MaskBodyd(MapTransform):
    """Set everything outside the patient to air; `(1, x, y, z)` HU on an upright working grid."""

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        """Return the dictionary with the images masked."""
        result = dict(data)
        for key in self.key_iterator(result):
            body = torch.from_numpy(body_mask(result[key][0].numpy()))
            result[key] = torch.where(body[None], result[key], AIR_HU)
        return result


class KeepOrgansd(MapTransform):
    """Class probabilities `(C, x, y, z)` to those of the classes wanted, strays removed.

    The result is `(1 + len(wanted), x, y, z)`: first what is none of them. Of an organ that is one
    piece (`single`), parts smaller than `fraction` of its largest go; an organ of fewer than
    `smallest_ml` goes whole. Where a part goes, its probability becomes background.

    Args:
        keys: probabilities on the working grid.
        wanted: channels to keep, in the order of the labels that come out (1, 2, ...); several
            channels in one item are joined.
        single: those of `wanted` that are one piece, by their (first) channel.
        smallest_ml: least volume of any of `wanted`.
        fraction: see above.
        image_key: an image on the same grid, for the volume of a voxel.
        halves: channels of which the last ones tell more, eight halves of a voxel for each
            (`RefinedInferer`); they are kept at the end, 0 where a part goes.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        wanted: Sequence[int | Sequence[int]],
        single: Sequence[int] = (),
        smallest_ml: float = 2.0,
        fraction: float = 0.25,
        image_key: str = "image",
        halves: Sequence[int] = (),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.halves = tuple(halves)
        self.wanted = tuple((w,) if isinstance(w, int) else tuple(w) for w in wanted)
        self.single = frozenset(single)
        if not self.single <= {channels[0] for channels in self.wanted}:
            raise ValueError("single names a channel that is not wanted")
        self.smallest_ml, self.fraction, self.image_key = smallest_ml, fraction, image_key

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        """Return the dictionary with the probabilities reduced."""
        result = dict(data)
        affine = affine_of(result[self.image_key])
        voxel_ml = float(torch.linalg.det(affine[:3, :3]).abs()) / 1000.0
        for key in self.key_iterator(result):
            p = result[key].detach().cpu().float().as_subclass(Tensor)
            result[key] = self._kept(p, voxel_ml)
        return result

    def _kept(self, p: Tensor, voxel_ml: float) -> Tensor:
        p, halves = without_halves(p, self.halves)
        halves = halves.clone()
        best = likeliest(p).numpy()
        kept = []
        for channels in self.wanted:
            mine = np.isin(best, channels)
            main = self._main(mine, channels[0], voxel_ml)
            own = p[list(channels)].sum(0)
            stray = mine & ~main
            if stray.any():
                near = ndimage.binary_dilation(stray, iterations=2)
                if main.any():
                    near &= ~ndimage.binary_dilation(main, iterations=2)
                gone = torch.from_numpy(near | stray)
                own[gone] = 0.0
                if channels[0] in self.halves:
                    halves[self.halves.index(channels[0])][:, gone] = 0.0
            kept.append(own)
        foreground = torch.stack(kept)
        rest = (1 - foreground.sum(0, keepdim=True)).clamp_min(0)
        return torch.cat((rest, foreground, halves.reshape(8 * len(self.halves), *rest.shape[1:])))

    def _main(self, mine: Mask, channel: int, voxel_ml: float) -> Mask:
        if mine.sum() * voxel_ml < self.smallest_ml:
            return np.zeros_like(mine)
        if channel not in self.single:
            return mine
        parts, count = ndimage.label(mine)
        if count < 2:
            return mine
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        main = np.asarray((sizes >= self.fraction * sizes.max())[parts])
        return main if main.sum() * voxel_ml >= self.smallest_ml else np.zeros_like(mine)


class RefuseWithoutd(MapTransform):
    """Refuse a CT that does not hold an organ, before the organ is reported from nowhere.

    On class probabilities `(C, x, y, z)`: each of `region` (channel -> least ml) must be there,
    which says that the right part of the body was scanned, and then the organ itself must exceed
    its least volume.

    Raises:
        InputRefused: naming what was not found.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        organ: Sequence[object],
        region: Sequence[Sequence[object]],
        image_key: str = "image",
        allow_missing_keys: bool = False,
    ) -> None:
        """`organ` and every item of `region` are [channel or channels, name, least ml], which may
        be followed by another such item that says as much."""
        super().__init__(keys, allow_missing_keys)
        self.organ, self.region = Least(*organ), tuple(Least(*one) for one in region)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        """Return the dictionary as it came."""
        affine = affine_of(data[self.image_key])
        voxel_ml = float(torch.linalg.det(affine[:3, :3]).abs()) / 1000.0
        for key in self.key_iterator(data):
            refuse_without(data[key], voxel_ml, self.organ, self.region)
        return dict(data)


class Least:
    """A channel (or several together), what it is called and how many ml there must be.

    `instead`: such an item that says as much where this is not found.
    """

    def __init__(self, channel: object, name: object, ml: object, instead: object = None) -> None:
        channels = channel if isinstance(channel, list | tuple) else (channel,)
        if not all(isinstance(c, int) for c in channels) or not isinstance(ml, int | float):
            raise TypeError("an organ is [channel or channels, name, least ml]")
        self.channels: tuple[int, ...] = tuple(channels)
        self.name, self.ml = str(name), float(ml)
        self.instead = Least(*instead) if isinstance(instead, list | tuple) else None

    def is_in(self, found: Mapping[int, float]) -> bool:
        """Whether enough of it, or of what says as much, is among the volumes found."""
        return self.ml_in(found) >= self.ml or (
            self.instead is not None and self.instead.is_in(found)
        )

    def ml_in(self, found: Mapping[int, float]) -> float:
        """The volume of all its channels, of those found."""
        return sum(found.get(channel, 0.0) for channel in self.channels)


def refuse_without(said: Tensor, voxel_ml: float, organ: Least, region: Sequence[Least]) -> None:
    """Return if the likeliest classes of `(C, x, y, z)` hold the region and the organ.

    Raises:
        InputRefused: naming what was not found.
    """
    counts = torch.bincount(likeliest(said.as_subclass(Tensor)).flatten())
    found = {i: int(n) * voxel_ml for i, n in enumerate(counts.tolist())}
    missing = [one.name for one in region if not one.is_in(found)]
    if missing:
        raise InputRefused(
            f"does not show the upper abdomen: too little of {' and '.join(missing)}"
        )
    if organ.ml_in(found) < organ.ml:
        raise InputRefused(f"no {organ.name} found: less than {organ.ml:g} ml of it")
