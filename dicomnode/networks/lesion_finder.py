"""Candidates, random view aggregation and outlines as one network, and the inferer that runs it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.inferers.inferer import Inferer
from torch import Tensor, nn
from torch.nn import functional

from dicomnode.networks.candidates import CandidateNet, heat_of, mirrored_heat_of
from dicomnode.networks.detections import keep_apart, peaks
from dicomnode.networks.lesion_choice import Choice
from dicomnode.networks.outside import lies_inside, thick_parts
from dicomnode.networks.phnn import PHNN
from dicomnode.networks.views import ViewNet, aggregate, two_windows
from dicomnode.networks.windows import bfloat16_pays

__all__ = ["FoundInferer", "LesionFinder", "OutlineNet", "cube_at", "joint_score"]

CUBE = 40
"""Voxels along each side of the cube that a lesion is outlined in."""
_CUBES = 4
"""Outlined at a time."""
LEAST_FIELD_MM, MOST_FIELD_MM = 30.0, 110.0
FIELD_OF_RADIUS = 5.0
"""Side of the cube over the radius of the candidate."""


class OutlineNet(nn.Module):
    """A progressive holistically-nested network that outlines the lesion in the middle of a cube.

    Slices of the cube are read in 2D with one neighbour on each side. Takes cubes `(n, side, side,
    side)` in HU, gives logits `(n, side, side, side)`.
    """

    def __init__(
        self, features: Sequence[int] = (12, 20, 32), convolutions: Sequence[int] = (2, 2, 2)
    ) -> None:
        super().__init__()
        self.nested = PHNN(
            spatial_dims=2,
            in_channels=7,
            out_channels=2,
            features=tuple(features),
            convolutions=tuple(convolutions),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def stages(self, cubes: Tensor) -> list[Tensor]:
        """Logits of the lesion after every stage, each `(n, side, side, side)`."""
        n, _, _, depth = cubes.shape
        padded = functional.pad(cubes[:, None], (1, 1, 0, 0, 0, 0), mode="replicate")[:, 0]
        slabs = torch.stack([padded[..., s : s + depth] for s in range(3)], 1)
        # (n, 3, x, y, z) -> a batch of slices (n * z, 3, x, y)
        slabs = slabs.permute(0, 4, 1, 2, 3).flatten(0, 1)
        # How far the slice lies from the lesion's middle tells small lesions from vessels.
        away = (torch.arange(depth, device=cubes.device) + 0.5) * (2.0 / depth) - 1.0
        away = away.repeat(n)[:, None, None, None].expand(-1, 1, *slabs.shape[2:])
        outputs = self.nested(torch.cat([two_windows(slabs, 1), away.to(slabs.dtype)], 1))
        every = outputs if isinstance(outputs, list | tuple) else [outputs]
        return [(o[:, 1] - o[:, 0]).unflatten(0, (n, depth)).permute(0, 2, 3, 1) for o in every]

    def forward(self, cubes: Tensor) -> Tensor:
        """Logits of the last stage."""
        return self.stages(cubes)[-1]


def cube_at(
    volume: Tensor, spacing: Sequence[float], centre: Sequence[float], field_mm: float
) -> Tensor:
    """A cube `(CUBE, CUBE, CUBE)` in HU around a point in mm; air beyond the volume."""
    line = ((torch.arange(CUBE, dtype=torch.float32) + 0.5) / CUBE - 0.5) * field_mm
    weights, part = [], []
    for at, step, size in zip(centre, spacing, volume.shape, strict=True):
        # Only what the cube needs is read, with a voxel more on each side.
        first = int(np.clip(np.floor((float(at) - field_mm / 2) / step) - 1, 0, size - 1))
        last = int(np.clip(np.ceil((float(at) + field_mm / 2) / step) + 2, first + 1, size))
        part.append(slice(first, last))
        away = ((line + float(at)) / step - first)[:, None] - torch.arange(last - first)
        weights.append((1 - away.abs()).clamp(min=0).to(volume.device))
    x, y, z = weights
    # Linear, axis by axis, of HU above air, so that there is air beyond the volume.
    planes = y @ ((volume[tuple(part)] + 1024.0) @ z.T)
    return (x @ planes.flatten(1)).unflatten(1, (CUBE, CUBE)) - 1024.0


def field_of(radius_mm: float) -> float:
    """Side in mm of the cube for a lesion of about this radius."""
    return float(np.clip(FIELD_OF_RADIUS * radius_mm, LEAST_FIELD_MM, MOST_FIELD_MM))


def joint_score(heats: Tensor, seen: Tensor, heat_share: float | Tensor) -> Tensor:
    """Geometric mean of what the candidate network and the mean of the views say, both 0 to 1."""
    return heats.clamp(1e-6, 1) ** heat_share * seen.clamp(1e-6, 1) ** (1 - heat_share)


class LesionFinder(nn.Module):
    """The three networks of a detection bundle; `forward` gives the candidates' logits.

    Args:
        kinds: types of lesions that the candidate network knows.
    """

    def __init__(self, kinds: int) -> None:
        super().__init__()
        self.candidates = CandidateNet(kinds)
        self.views = ViewNet(kinds + 1)
        self.outline = OutlineNet()

    def forward(self, hu: Tensor) -> Tensor:
        """Logits `(n, kinds + 1, x, y, z)` of the candidates for HU `(n, 1, x, y, z)`."""
        logits: Tensor = self.candidates(hu)
        return logits


class FoundInferer(Inferer):
    """Run a `LesionFinder` on one volume `(1, 1, x, y, z)` in HU, upright, of known spacing.

    Leaves a dictionary; `PlaceLesionsd` makes patient coordinates of it. Rows are sorted by score.

    | key | shape | meaning |
    |---|---|---|
    | `points` | (n, 3) | millimetres from the centre of voxel 0 |
    | `kinds` | (n,) | type, from 0 |
    | `scores` | (n,) | 0 to 1 |
    | `heats` | (n,) | what the candidate network said |
    | `fields` | (n,) | side of the cube in mm |
    | `cubes` | (n, CUBE, CUBE, CUBE) | probability that a point belongs to the lesion |

    Args:
        spacing: of the volume, millimetres.
        kinds: types to look for, from 0; None: all.
        views: random views of each candidate.
        heat_share: weight of the candidate network's word in the score, a geometric mean of both;
            for all types or, in their order, for each that the network knows.
        candidates: of each type at most, for all types or, in their order, for each.
        at_least: heat below which there is no candidate.
        most: lesions of each type to outline at most.
        least_score: lesions below this are left out.
        types: number in `dicom.json` of each type that the network knows, in their order, so that
            a run can leave out types that are not reported; None: all are looked at alike.
        bfloat16: run the networks in bfloat16; None: where the device has instructions for it.
        mirrored: read the candidates in the volume's mirror image too, for the mean of both.
    """

    def __init__(
        self,
        *,
        spacing: Sequence[float] = (2.0, 2.0, 2.0),
        kinds: Sequence[int] | None = None,
        views: int = 50,
        heat_share: float | Sequence[float] = 0.5,
        candidates: int | Sequence[int] = 40,
        at_least: float = 0.03,
        most: int = 10,
        least_score: float = 0.02,
        types: Sequence[int] | None = None,
        bfloat16: bool | None = False,
        mirrored: bool = False,
    ) -> None:
        super().__init__()
        self.spacing = tuple(spacing)
        self.kinds, self.views, self.heat_share = kinds, views, heat_share
        self.candidates, self.at_least, self.most = candidates, at_least, most
        self.least_score, self.bfloat16 = least_score, bfloat16
        self.types, self.mirrored = types, mirrored
        self.floors: dict[int, float] = {}

    def __call__(
        self, inputs: Tensor, network: Callable[..., Any], *_args: Any, **_kwargs: Any
    ) -> dict[str, Tensor]:
        """Return the dictionary above."""
        if not isinstance(network, LesionFinder):
            raise TypeError("this inferer runs a LesionFinder")
        volume = inputs.as_subclass(Tensor)[0, 0].float()
        points, kinds, heats, radii = self.find(volume, network, all_of_them=False)
        shares = np.array([self._share_of(kind) for kind in kinds.tolist()], np.float64)
        fields = np.array([field_of(radius) for radius in radii.tolist()], np.float64)

        def scores_of(rows: npt.NDArray[np.int_]) -> npt.NDArray[np.float64]:
            told = self.views_of(volume, network, points[rows], radii[rows], self.views)
            seen = told.mean(1)[torch.arange(len(rows)), torch.from_numpy(kinds[rows]) + 1]
            heat, share = (torch.from_numpy(part[rows]).to(seen) for part in (heats, shares))
            return joint_score(heat, seen, share).cpu().numpy().astype(np.float64)

        order, scores = Choice(
            points=points,
            sides=fields,
            kinds=kinds,
            # A little more, for scores are rounded.
            most_scores=1.0001 * heats.clip(1e-6, 1) ** shares,
            floors=np.array([self._floor_of(kind) for kind in kinds.tolist()], np.float64),
            most=self.most,
        ).made(scores_of)
        return {
            "points": torch.from_numpy(points[order]),
            "kinds": torch.from_numpy(kinds[order]),
            "scores": torch.from_numpy(scores[order]).float(),
            "heats": torch.from_numpy(heats[order]),
            "fields": torch.from_numpy(fields[order]),
            "cubes": self.outlines(volume, network, points[order], fields[order]),
        }

    def only_for(self, least: Mapping[int, float]) -> FoundInferer:
        """The same, without the work for lesions that are neither reported nor alter one that is.

        Args:
            least: number of each reported type in `dicom.json` -> least score that is reported.
        """
        stricter = copy(self)
        stricter.least_score = max(self.least_score, min(least.values(), default=1.0))
        if self.types is not None:
            stricter.floors = {
                kind: max(self._floor_of(kind), least.get(number, math.inf))
                for kind, number in enumerate(self.types)
            }
        return stricter

    def _floor_of(self, kind: int) -> float:
        """Score from which on a lesion of this type is wanted for itself."""
        return self.floors.get(kind, self.least_score)

    def _share_of(self, kind: int) -> float:
        return self.heat_share[kind] if isinstance(self.heat_share, Sequence) else self.heat_share

    def _most_of(self, kind: int) -> int:
        many = self.candidates
        return many if isinstance(many, int) else many[kind]

    def _least_heat(self, kind: int) -> float:
        """Heat below which a candidate is left out whatever its views say."""
        share = self._share_of(kind)
        if not share:
            return self.at_least
        # A little less, for scores are rounded.
        return max(self.at_least, 0.9999 * self.least_score ** (1 / share))

    def views_of(
        self,
        volume: Tensor,
        network: LesionFinder,
        points: npt.NDArray[np.float64],
        radii: npt.NDArray[np.float64],
        views: int,
    ) -> Tensor:
        """Probabilities `(candidates, views, types + 1)` of random views."""

        def classified(some: Tensor) -> Tensor:
            with self._rough(some):
                told: Tensor = network.views(some)
            return told

        return aggregate(classified, volume, self.spacing, points, views=views, radii=radii)

    def _rough(self, values: Tensor) -> AbstractContextManager[object]:
        """Around the networks alone: places in millimetres would not stand it."""
        wanted = bfloat16_pays(values.device) if self.bfloat16 is None else self.bfloat16
        if not wanted:
            return nullcontext()
        return torch.autocast(values.device.type, torch.bfloat16)

    def find(
        self, volume: Tensor, network: LesionFinder, *, all_of_them: bool = True
    ) -> tuple[
        npt.NDArray[np.float64],
        npt.NDArray[np.int_],
        npt.NDArray[np.float64],
        npt.NDArray[np.float64],
    ]:
        """Candidates in the body of a CT `(x, y, z)`: points in mm, types, heats, radii in mm.

        Not `all_of_them`: without those that no views could lift to `least_score`.
        """
        with self._rough(volume):
            reading = mirrored_heat_of if self.mirrored else heat_of
            heats_of = reading(network.candidates, volume)
        maps = heats_of.maps.cpu()
        step = np.array(self.spacing) * network.candidates.stride
        first = np.array(self.spacing) * (network.candidates.stride - 1) / 2
        first += step * heats_of.corner
        body = thick_parts(volume)
        found = []
        for kind in range(len(maps) - 1) if self.kinds is None else self.kinds:
            at_least = self.at_least if all_of_them else self._least_heat(kind)
            most = self._most_of(kind)
            where, heat = peaks(maps[kind], at_least=at_least, most=4 * most)
            points = where.numpy() * step + first
            inside = lies_inside(body, points, self.spacing)
            where, heat = where[torch.from_numpy(inside)], heat[torch.from_numpy(inside)]
            points = points[inside]
            radii = 8.0 * torch.exp(maps[-1][tuple(where.T)].clamp(-2.0, 2.5)).numpy()
            # Two marks within a lesion are one.
            kept = keep_apart(points, heat.numpy(), np.clip(radii, 4.0, 30.0))[:most]
            found.append((points[kept], np.full(len(kept), kind), heat.numpy()[kept], radii[kept]))
        points, kinds, heats, radii = (np.concatenate(part) for part in zip(*found, strict=True))
        return points.astype(np.float64), kinds, heats.astype(np.float64), radii.astype(np.float64)

    def outlines(
        self,
        volume: Tensor,
        network: LesionFinder,
        points: npt.NDArray[np.float64],
        fields: npt.NDArray[np.float64],
    ) -> Tensor:
        """Probabilities `(n, CUBE, CUBE, CUBE)` on the cube around each point."""
        cubes = [
            cube_at(volume, self.spacing, point, float(field))
            for point, field in zip(points, fields, strict=True)
        ]
        parts = []
        for first in range(0, len(cubes), _CUBES):
            some = torch.stack(cubes[first : first + _CUBES])
            with self._rough(some):
                parts.append(network.outline(some).float().sigmoid())
        return torch.cat(parts).float().cpu() if parts else torch.zeros(0, CUBE, CUBE, CUBE)
