"""Stage 1: the dense candidate network on crops of scenes, balanced by type, hard ones again."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dicomnode.networks.candidates import CandidateNet
from scripts.averaging import Averaged, varied
from scripts.scenes import SPACING, Planted, Scene, scenes_in

CROP = (64, 64, 48)
SHARES = (0.21, 0.11, 0.10, 0.14, 0.16, 0.13, 0.15)
"""How often crops are drawn around lesions of each kind: what is found worst most often."""


class Crops:
    """Draws crops of scenes, remembers which gave the greatest false heat, and draws them again.

    Args:
        folders: of scenes; each has a share of the crops.
        shares: of each folder, together 1.
        kinds: what is looked for; None: all that was planted.
        again: share of crops that are taken from the hardest.
        around: share of the others that are drawn around a lesion.
    """

    def __init__(
        self,
        folders: Sequence[str],
        shares: Sequence[float],
        *,
        kinds: Sequence[int] | None = None,
        again: float = 0.2,
        around: float = 0.65,
    ) -> None:
        self.shares, self.again, self.around = list(shares), again, around
        self.scenes = [scenes_in(folder, kinds) for folder in folders]
        wanted = range(len(SHARES)) if kinds is None else kinds
        self.kind_shares = np.array([SHARES[kind] for kind in wanted])
        self.holding = [
            [
                [scene for scene in folder if any(one.kind == kind for one in scene.clear)]
                for kind in range(len(self.kind_shares))
            ]
            for folder in self.scenes
        ]
        self.hardest: list[tuple[float, int, Scene, tuple[int, int, int]]] = []
        self.drawn = 0

    def draw(self, rng: np.random.Generator) -> tuple[Scene, tuple[int, int, int]]:
        """A scene and the lowest corner of a crop, which may reach beyond the scene."""
        if len(self.hardest) > 50 and rng.random() < self.again:
            return self.hardest.pop(int(rng.integers(len(self.hardest))))[2:]
        share = np.array([s if f else 0.0 for s, f in zip(self.shares, self.scenes, strict=True)])
        folder = int(rng.choice(len(share), p=share / share.sum()))
        spare = np.array((8, 8, 12))
        kind = self._kind(rng, folder)
        if kind is not None and rng.random() < self.around:
            holding = self.holding[folder][kind]
            scene = holding[int(rng.integers(len(holding)))]
            some = [one for one in scene.clear if one.kind == kind]
            at = np.array(some[int(rng.integers(len(some)))].centre) / SPACING
            corner = at - np.array(CROP) * rng.uniform(0.15, 0.85, 3)
        else:
            scene = self.scenes[folder][int(rng.integers(len(self.scenes[folder])))]
            corner = rng.uniform(-spare, np.maximum(np.array(scene.hu.shape) + spare - CROP, 1))
        size = np.array(scene.hu.shape)
        corner = np.minimum(corner, size + spare - CROP)
        corner = np.maximum(corner, np.minimum(-spare, (size - CROP) // 2))
        low = np.round(corner).astype(int)
        return scene, (int(low[0]), int(low[1]), int(low[2]))

    def _kind(self, rng: np.random.Generator, folder: int) -> int | None:
        """A kind that the folder holds, by its share; None: it holds no lesion."""
        share = self.kind_shares * [bool(scenes) for scenes in self.holding[folder]]
        return int(rng.choice(len(share), p=share / share.sum())) if share.any() else None

    def told(self, loss: float, scene: Scene, corner: tuple[int, int, int]) -> None:
        """Remember how much false heat a crop gave."""
        self.drawn += 1
        entry = (loss, self.drawn, scene, corner)
        if len(self.hardest) < 400:
            heapq.heappush(self.hardest, entry)
        elif loss > self.hardest[0][0]:
            heapq.heapreplace(self.hardest, entry)


def cut(scene: Scene, corner: tuple[int, int, int]) -> Tensor:
    """HU of a crop; air beyond the scene."""
    out = np.full(CROP, -1024, np.float32)
    size = scene.hu.shape
    start = [max(c, 0) for c in corner]
    stop = [min(c + n, s) for c, n, s in zip(corner, CROP, size, strict=True)]
    part = tuple(slice(a, max(b, a)) for a, b in zip(start, stop, strict=True))
    into = tuple(slice(p.start - c, p.stop - c) for p, c in zip(part, corner, strict=True))
    out[into] = scene.hu[part]
    return torch.from_numpy(out)


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
    calm = functional.avg_pool3d(hu[None, None], 3, 1, 1, count_include_pad=False)[0, 0]
    return hu + float(rng.uniform(-0.6, 0.8)) * (hu - calm)


def wanted_of(
    scene: Scene, corner: tuple[int, int, int], kinds: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What the network should say of a crop, on its own coarse grid.

    Returns:
        heat `(kinds, x, y, z)`, 0 to 1; weight of a voxel as a lesion's middle, the same shape, of
        sum 1 for each lesion; where false heat counts, the same shape; log radius `(x, y, z)`.
    """
    stride = CandidateNet.stride
    lines = [
        (np.arange(n // stride) * stride + (stride - 1) / 2 + c) * s
        for n, c, s in zip(CROP, corner, SPACING, strict=True)
    ]
    shape = tuple(len(line) for line in lines)
    heat = np.zeros((kinds, *shape), np.float32)
    middle, counts = np.zeros_like(heat), np.ones_like(heat)
    radius = np.zeros(shape, np.float32)
    counts[list(scene.unknown_kinds)] = 0
    for one in (*scene.clear, *scene.ignored):
        far2 = sum(
            ((line - c) ** 2).reshape([-1 if a == axis else 1 for a in range(3)])
            for axis, (line, c) in enumerate(zip(lines, one.centre, strict=True))
        )
        if far2.min() > (one.radius + 3.5) ** 2:
            continue
        if one in scene.ignored:
            counts[:, far2 <= (one.radius + 4) ** 2] = 0
            continue
        _add(one, far2, heat, middle, radius)
    return tuple(torch.from_numpy(a) for a in (heat, middle, counts, radius))  # type: ignore[return-value]


def _add(
    one: Planted, far2: np.ndarray, heat: np.ndarray, middle: np.ndarray, radius: np.ndarray
) -> None:
    width = max(0.4 * one.radius, 2.2)
    heat[one.kind] = np.maximum(heat[one.kind], np.exp(-far2 / (2 * width**2)))
    core = far2 <= width**2
    # A lesion whose middle lies outside of the crop has a rim, but no middle.
    if far2.min() > 12.0:
        return
    core[np.unravel_index(int(far2.argmin()), far2.shape)] = True
    middle[one.kind][core] = np.maximum(middle[one.kind][core], 1.0 / core.sum())
    radius[core] = np.log(max(one.radius, 1.0) / 8.0)


def focal(
    logits: Tensor, heat: Tensor, middle: Tensor, counts: Tensor, radius: Tensor
) -> tuple[Tensor, Tensor]:
    """Loss of a batch of crops (scalar), and the false heat of each.

    Focal loss with less weight near a middle; found middles weigh twice, because what a candidate
    network misses nobody finds.
    """
    told = logits[:, :-1]
    p = told.sigmoid()
    hit = middle > 0
    found = (1 - p) ** 2 * functional.softplus(-told) * middle
    false = torch.where(hit, 0.0, (1 - heat) ** 4 * p**2 * functional.softplus(told)) * counts
    lesions = middle.sum() + 1.0
    off = (logits[:, -1] - radius).abs() * middle.amax(1)
    loss = (2.0 * found.sum() + false.sum() + 0.3 * off.sum()) / lesions
    return loss, false.flatten(1).sum(1).detach()


def train_candidates(
    network: nn.Module,
    crops: Crops,
    folder: Path,
    *,
    kinds: int,
    steps: int,
    rate: float = 2e-3,
    warm: int = 40,
    batch: int = 2,
    draws: int = 0,
) -> None:
    """Train in bfloat16 on `batch` crops a step, where the network is; goes on where it stopped.

    `draws`: seed of the crops, so that training that goes on from weights sees others.
    """
    device = next(network.parameters()).device
    trained = Averaged(network, folder, "candidates", steps=steps, rate=rate, warm=warm)
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def loss_of(step: int) -> Tensor:
        rng = np.random.default_rng([1, step, draws])
        torch.manual_seed(step + 100_000 * draws)
        drawn = [crops.draw(rng) for _ in range(batch)]
        images, wanted = [], []
        for scene, corner in drawn:
            hu = cut(scene, corner)
            if rng.random() < 0.35:
                hu = thick(rng, hu)
            if rng.random() < 0.3:
                hu = sharper(rng, hu)
            parts = [varied(rng, hu), *wanted_of(scene, corner, kinds)]
            if rng.random() < 0.5:
                parts = [part.flip(-3) for part in parts]
            images.append(parts[0][None])
            wanted.append(parts[1:])
        stacked = torch.stack(images).contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast(device.type, torch.bfloat16):
            logits = network(stacked.to(device))
        told = (torch.stack(part).to(device) for part in zip(*wanted, strict=True))
        loss, false = focal(logits.float(), *told)
        for value, (scene, corner) in zip(false.tolist(), drawn, strict=True):
            crops.told(value, scene, corner)
        return loss

    trained.run(loss_of)
