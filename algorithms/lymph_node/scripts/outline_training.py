"""Stage 3: the outlines of lesions, every stage of the nested network supervised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dicomnode.networks.lesion_finder import LesionFinder, cube_at, field_of
from dicomnode.networks.windows import in_bfloat16
from scripts.averaging import Averaged, varied
from scripts.scenes import SPACING, Scene


def outline_batch(
    rng: np.random.Generator, scenes: Sequence[Scene], size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Cubes in HU around lesions, off the middle as candidates are, with their masks 0 to 1."""
    with_lesions = [scene for scene in scenes if scene.lesions]
    for _ in range(size):
        scene = with_lesions[int(rng.integers(len(with_lesions)))]
        one = scene.lesions[int(rng.integers(len(scene.lesions)))]
        centre = np.asarray(one.centre) + rng.uniform(-1, 1, 3) * min(3.0, 0.4 * one.radius)
        field = field_of(one.radius * float(np.exp(rng.normal(0, 0.25))))
        volume = torch.from_numpy(scene.hu.astype(np.float32))
        mask = torch.from_numpy((scene.instances == one.number).astype(np.float32))
        # Air is what lies beyond; a mask has none of it.
        target = cube_at(mask * 1024.0 - 1024.0, SPACING, centre.tolist(), field) / 1024.0 + 1.0
        yield varied(rng, cube_at(volume, SPACING, centre.tolist(), field)), target


def train_outlines(
    finder: LesionFinder,
    scenes: Sequence[Scene],
    folder: Path,
    *,
    steps: int,
    batch: int = 4,
    rate: float = 3e-3,
) -> None:
    """Train the nested network."""
    trained = Averaged(finder.outline, folder, "outline", steps=steps, rate=rate)

    def loss_of(step: int) -> Tensor:
        rng = np.random.default_rng([3, step])
        torch.manual_seed(step)
        pairs = list(outline_batch(rng, scenes, batch))
        cubes, masks = (torch.stack(part) for part in zip(*pairs, strict=True))
        with in_bfloat16(cubes.device):
            outputs = finder.outline.stages(cubes)
        losses = []
        for logits in outputs:
            p = logits.float().sigmoid()
            cross = functional.binary_cross_entropy_with_logits(logits.float(), masks)
            both = (p * masks).sum((1, 2, 3)) * 2 + 1
            dice = 1 - both / ((p * p).sum((1, 2, 3)) + (masks * masks).sum((1, 2, 3)) + 1)
            losses.append(cross + dice.mean())
        return torch.stack(losses).mean()

    trained.run(loss_of)
