"""Stage 1: the dense candidate network on crops of scenes, balanced by type, hard ones again."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dicomnode.networks.windows import in_bfloat16
from scripts.averaging import Averaged
from scripts.crops import CROP, draw_cut, image_of, wanted_of
from scripts.scenes import SPACING, Scene, scenes_in

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
            crop = draw_cut(rng, scene, corner)
            parts = [image_of(rng, crop), *wanted_of(crop, kinds)]
            if rng.random() < 0.5:
                parts = [part.flip(-3) for part in parts]
            images.append(parts[0][None])
            wanted.append(parts[1:])
        stacked = torch.stack(images).contiguous(memory_format=torch.channels_last_3d)
        with in_bfloat16(device):
            logits = network(stacked.to(device))
        told = (torch.stack(part).to(device) for part in zip(*wanted, strict=True))
        loss, false = focal(logits.float(), *told)
        for value, (scene, corner) in zip(false.tolist(), drawn, strict=True):
            crops.told(value, scene, corner)
        return loss

    trained.run(loss_of)
