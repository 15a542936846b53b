"""Training in three stages, each resumable: candidates, views (on hard negatives), outlines."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from dicomnode.networks.candidates import ScaleSpace
from dicomnode.networks.lesion_finder import FoundInferer, LesionFinder, cube_at, field_of
from dicomnode.networks.views import draw_poses, views_at
from scripts.scenes import SPACING, TRAIN_MOST, Scene, scenes_in, write_scenes

log = logging.getLogger("lesions.training")

HIT_MARGIN_MM = 2.0


class Averaged:
    """Trains one network on batches that a function draws; keeps an exponential average.

    `loss_of(step)` returns the loss of a fresh batch. Stopped, it goes on from its checkpoint.
    """

    def __init__(
        self, network: nn.Module, folder: Path, name: str, *, steps: int, rate: float
    ) -> None:
        self.network, self.steps, self.rate = network, steps, rate
        self.weights = folder / f"{name}.safetensors"
        self.checkpoint = folder / f"{name}.pt"
        self.curve_file = folder / f"{name}_curve.json"
        self.name = name
        self.step = 0
        self.curve: list[tuple[int, float]] = []
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-3)
        self.average = {k: v.detach().clone() for k, v in network.state_dict().items()}
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True)
            network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.average, self.step = state["average"], state["step"]
            self.curve = [tuple(row) for row in state["curve"]]

    def run(self, loss_of: Callable[[int], Tensor]) -> None:
        started, losses = time.monotonic(), []
        while self.step < self.steps:
            self.network.train()
            for group in self.optimizer.param_groups:
                group["lr"] = self._rate()
            loss = loss_of(self.step)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            self.optimizer.step()
            self.step += 1
            self._average()
            losses.append(loss.item())
            if self.step % 25 == 0 or self.step == self.steps:
                self.curve.append((self.step, float(np.mean(losses))))
                log.info(
                    "%s %d loss %.4f %.0f s",
                    *(self.name, self.step, self.curve[-1][1], time.monotonic() - started),
                )
                losses = []
            if self.step % 50 == 0 or self.step == self.steps:
                self._keep()
        self.network.load_state_dict(self.average)
        self.network.eval()

    def _rate(self) -> float:
        warm = min(1.0, (self.step + 1) / 40)
        return self.rate * warm * (0.02 + 0.49 * (1 + math.cos(math.pi * self.step / self.steps)))

    def _average(self) -> None:
        keep = min(0.99, (self.step + 1) / (self.step + 10))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value.detach(), 1 - keep)
            else:
                self.average[name].copy_(value)

    def _keep(self) -> None:
        save_file({k: v.contiguous() for k, v in self.average.items()}, self.weights)
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "step": self.step,
            "curve": self.curve,
        }
        torch.save(state, self.checkpoint.with_suffix(".tmp"))
        self.checkpoint.with_suffix(".tmp").replace(self.checkpoint)
        self.curve_file.write_text(json.dumps(self.curve))


def varied(rng: np.random.Generator, hu: Tensor) -> Tensor:
    """Other calibration and more noise, as scanners differ."""
    hu = hu * float(rng.uniform(0.96, 1.04)) + float(rng.uniform(-12, 12))
    if rng.random() < 0.3:
        hu = hu + torch.randn_like(hu) * float(rng.uniform(2, 18))
    return hu


def gather_voxels(
    scenes: Sequence[Scene], features: ScaleSpace, folder: Path, *, negatives: int = 2500
) -> dict[str, np.ndarray]:
    """Features of points in the middle of lesions, and of points in the body elsewhere.

    `classes` is 0 or kind + 1; the rim of a lesion is neither. Kept on disk, scene by scene.
    """
    parts = []
    for scene in scenes:
        path = folder / f"voxels_{scene.name}.npz"
        if not path.exists():
            np.savez(path, **_voxels_of(scene, features, negatives))
        parts.append(dict(np.load(path)))
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _voxels_of(scene: Scene, features: ScaleSpace, negatives: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([1, len(scene.lesions), *map(ord, scene.name)])
    size = [n // 2 * 2 for n in scene.hu.shape]
    hu = scene.hu[: size[0], : size[1], : size[2]].astype(np.float32)
    with torch.inference_mode():
        told = features(torch.from_numpy(hu)[None, None])[0].flatten(1)
        # Something that is not air, or near it.
        body = functional.max_pool3d(torch.from_numpy(hu)[None, None], 2)[0, 0] > -300
    lines = [np.arange(n // 2) * 2 * s + s / 2 for n, s in zip(size, SPACING, strict=True)]
    points = np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(-1, 3)
    classes, radii = np.zeros(len(points), int), np.zeros(len(points), np.float32)
    near = np.zeros(len(points), bool)
    for one in scene.lesions:
        away = np.linalg.norm(points - np.asarray(one.centre), axis=1)
        core = away <= max(0.45 * one.radius, 2.5)
        core[away.argmin()] = True
        near |= away <= one.radius + 4
        classes[core], radii[core] = one.kind + 1, one.radius
    rows = np.flatnonzero(classes > 0)
    free = np.flatnonzero((classes == 0) & ~near & body.numpy().ravel())
    free = rng.choice(free, min(negatives, len(free)), replace=False)
    # Large lesions have thousands of points, small ones few: all count alike.
    chosen = np.concatenate([rows, free])
    weight = np.ones(len(chosen), np.float32)
    for one in scene.lesions:
        mine = (classes[rows] == one.kind + 1) & (radii[rows] == np.float32(one.radius))
        weight[: len(rows)][mine] = 30.0 / max(mine.sum(), 1)
    return {
        "features": told[:, chosen].T.numpy().astype(np.float32),
        "classes": classes[chosen],
        "radii": radii[chosen],
        "weight": weight,
    }


def gather_hard(
    scenes: Sequence[Scene],
    features: ScaleSpace,
    mined: dict[str, dict[str, np.ndarray]],
    folder: Path,
) -> dict[str, np.ndarray]:
    """Features where the candidate network saw a lesion and there is none, and right beside."""
    parts = []
    for scene in scenes:
        path = folder / f"hard_{scene.name}.npz"
        if not path.exists():
            np.savez(path, **_hard_of(scene, features, mined[scene.name]))
        parts.append(dict(np.load(path)))
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _hard_of(
    scene: Scene, features: ScaleSpace, mined: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    size = [n // 2 * 2 for n in scene.hu.shape]
    hu = scene.hu[: size[0], : size[1], : size[2]].astype(np.float32)
    with torch.inference_mode():
        told = features(torch.from_numpy(hu)[None, None])[0]
    points = mined["points"][mined["classes"] == 0]
    index = np.round((points / SPACING - 0.5) / 2).astype(int)
    steps = np.concatenate([np.zeros((1, 3), int), np.eye(3, dtype=int), -np.eye(3, dtype=int)])
    index = (index[:, None] + steps).reshape(-1, 3)
    index = np.clip(index, 0, np.array(told.shape[1:]) - 1)
    n = len(index)
    return {
        "features": told[:, index[:, 0], index[:, 1], index[:, 2]].T.numpy().astype(np.float32),
        "classes": np.zeros(n, int),
        "radii": np.zeros(n, np.float32),
        "weight": np.ones(n, np.float32),
    }


def train_candidates(
    finder: LesionFinder,
    voxels: dict[str, np.ndarray],
    folder: Path,
    *,
    steps: int,
    batch: int = 4096,
) -> None:
    """Stage 1: the small network behind the fixed features."""
    features = torch.from_numpy(voxels["features"])
    classes = torch.from_numpy(voxels["classes"])
    radii, weight = torch.from_numpy(voxels["radii"]), torch.from_numpy(voxels["weight"])
    net = finder.candidates
    if not (folder / "candidates.pt").exists():
        net.get_buffer("mean").copy_(features.mean(0))
        net.get_buffer("spread").copy_(features.std(0) + 1e-3)
    trained = Averaged(net, folder, "candidates", steps=steps, rate=4e-3)

    def loss_of(step: int) -> Tensor:
        rng = np.random.default_rng([1, step])
        rows = torch.from_numpy(rng.integers(0, len(features), batch))
        logits = net.judged(features[rows].T[None, :, :, None, None])[0, :, :, 0, 0].T
        wanted = functional.one_hot(classes[rows], net.kinds + 1)[:, 1:].float()
        cross = functional.binary_cross_entropy_with_logits(
            logits[:, :-1], wanted, reduction="none"
        ).sum(1)
        hit = classes[rows] > 0
        off = (logits[:, -1] - torch.log(radii[rows].clamp_min(1) / 8)) ** 2
        return (cross * weight[rows]).mean() + 0.3 * off[hit].mean()

    trained.run(loss_of)


def hit_kind(scene: Scene, point: np.ndarray) -> tuple[int, float] | None:
    """Kind of the lesion that a point lies in, and its radius."""
    for one in scene.lesions:
        if np.linalg.norm(np.asarray(one.centre) - point) <= one.radius + HIT_MARGIN_MM:
            return one.kind, one.radius
    return None


def mine(
    finder: LesionFinder, scenes: Sequence[Scene], folder: Path, *, most: int = 12
) -> dict[str, dict[str, np.ndarray]]:
    """Candidates of every scene: points, and class (0: none, else kind + 1). Kept on disk."""
    inferer = FoundInferer(spacing=SPACING, candidates=most)
    mined = {}
    for scene in scenes:
        path = folder / f"mined_{scene.name}.npz"
        if not path.exists():
            with torch.inference_mode():
                volume = torch.from_numpy(scene.hu.astype(np.float32))
                points, kinds, heats, radii = inferer.find(volume, finder)
            hits = [hit_kind(scene, point) for point in points]
            classes = np.array([0 if hit is None else hit[0] + 1 for hit in hits], int)
            np.savez(path, points=points, kinds=kinds, heats=heats, radii=radii, classes=classes)
        mined[scene.name] = dict(np.load(path))
    return mined


def gather_views(
    scenes: Sequence[Scene],
    mined: dict[str, dict[str, np.ndarray]],
    folder: Path,
    *,
    a_scene: int = 220,
) -> dict[str, np.ndarray]:
    """Random views, half of them of what the candidate network took for a lesion and is none."""
    parts = []
    for scene in scenes:
        path = folder / f"views_{scene.name}.npz"
        if not path.exists():
            rng = np.random.default_rng([2, *map(ord, scene.name)])
            points, classes = _view_points(rng, scene, mined[scene.name], a_scene)
            poses = [draw_poses(p, 1, seed=int(rng.integers(2**31))) for p in points]
            volume = torch.from_numpy(scene.hu.astype(np.float32))
            views = views_at(volume, SPACING, torch.from_numpy(np.concatenate(poses)))
            np.savez(path, views=views.numpy().astype(np.int16), classes=classes)
        parts.append(dict(np.load(path)))
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def train_views(
    finder: LesionFinder,
    gathered: dict[str, np.ndarray],
    folder: Path,
    *,
    steps: int,
    rate: float = 3e-3,
    batch: int = 128,
) -> None:
    """Stage 2."""
    trained = Averaged(finder.views, folder, "views", steps=steps, rate=rate)
    classes = torch.from_numpy(gathered["classes"])

    def loss_of(step: int) -> Tensor:
        rng = np.random.default_rng([2, step])
        torch.manual_seed(step)
        rows = rng.integers(0, len(classes), batch)
        views = varied(rng, torch.from_numpy(gathered["views"][rows].astype(np.float32)))
        if rng.random() < 0.5:
            views = views.transpose(2, 3)
        logits = finder.views(views)
        return functional.cross_entropy(logits, classes[rows], label_smoothing=0.02)

    trained.run(loss_of)


def _view_points(
    rng: np.random.Generator, scene: Scene, mined: dict[str, np.ndarray], count: int
) -> tuple[np.ndarray, np.ndarray]:
    negatives = mined["points"][mined["classes"] == 0]
    hits = mined["classes"] > 0
    points = [
        (p, int(c)) for p, c in zip(mined["points"][hits], mined["classes"][hits], strict=True)
    ]
    points += [
        (np.asarray(one.centre) + rng.normal(0, 0.25 * one.radius, 3), one.kind + 1)
        for one in scene.lesions
    ]
    chosen, classes = [], []
    for _ in range(count):
        if points and (rng.random() < 0.5 or not len(negatives)):
            present = sorted({c for _, c in points})
            wanted = present[int(rng.integers(len(present)))]
            of_class = [p for p, c in points if c == wanted]
            chosen.append(of_class[int(rng.integers(len(of_class)))])
            classes.append(wanted)
        elif len(negatives):
            chosen.append(negatives[int(rng.integers(len(negatives)))])
            classes.append(0)
    return np.asarray(chosen).reshape(-1, 3), np.asarray(classes, np.int64)


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
    """Stage 3: every stage of the nested network is supervised."""
    trained = Averaged(finder.outline, folder, "outline", steps=steps, rate=rate)

    def loss_of(step: int) -> Tensor:
        rng = np.random.default_rng([3, step])
        torch.manual_seed(step)
        pairs = list(outline_batch(rng, scenes, batch))
        cubes, masks = (torch.stack(part) for part in zip(*pairs, strict=True))
        with torch.autocast("cpu", torch.bfloat16):
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


class Training:
    """The whole of training; `run` is what `configs/train.json` calls.

    Two rounds of candidates and views, the second on what the first took for lesions; then
    outlines. Each round and stage has a folder or file of its own and goes on where it stopped.
    """

    def __init__(
        self,
        *,
        network: LesionFinder,
        scenes: str,
        output: str,
        people: int,
        candidate_steps: Sequence[int],
        view_steps: Sequence[int],
        outline_steps: int,
        seed: int = 7,
    ) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        self.network, self.output = network, Path(output)
        write_scenes(scenes, range(people), TRAIN_MOST, variants=2)
        self.scenes = scenes_in(scenes)
        self.candidate_steps, self.view_steps = candidate_steps, view_steps
        self.outline_steps = outline_steps

    def run(self) -> None:
        """Both rounds, the outlines, then `model.safetensors`."""
        features = self.network.candidates.features
        first = self.output / "round1"
        first.mkdir(parents=True, exist_ok=True)
        voxels = gather_voxels(self.scenes, features, first)
        mined: dict[str, dict[str, np.ndarray]] = {}
        for number, steps in enumerate(self.candidate_steps):
            folder = self.output / f"round{number + 1}"
            folder.mkdir(exist_ok=True)
            if mined:
                hard = gather_hard(self.scenes, features, mined, folder)
                voxels = {key: np.concatenate([voxels[key], hard[key]]) for key in voxels}
            train_candidates(self.network, voxels, folder, steps=steps)
            mined = mine(self.network, self.scenes, folder, most=12 + 3 * number)
            gathered = gather_views(self.scenes, mined, folder)
            train_views(self.network, gathered, folder, steps=self.view_steps[number])
        train_outlines(self.network, self.scenes, self.output, steps=self.outline_steps)
        state = {k: v.contiguous() for k, v in self.network.state_dict().items()}
        save_file(state, self.output / "model.safetensors")
