"""The pancreas papers' networks on the same synthetic CT: what each step gains.

    python benchmarks/pancreas_networks.py --work FOLDER [--minutes 1.0] [--out table.json]

Crops of 192 x 144 x 120 mm around the pancreas of phantoms at 3 mm (`dicomnode.phantom`), the place
jittered. Every network gets the same processor time of training (three planes: three networks),
the same optimizer and the same slabs of neighbouring slices; it is scored on seeds that none was
trained on. Everything made is kept below FOLDER, so a run that was stopped goes on.
"""

import argparse
import json
import math
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers.utils import sliding_window_inference
from monai.losses.dice import DiceCELoss
from monai.networks.nets.segresnet import SegResNet
from torch import Tensor, nn

from dicomnode.evaluation.masks import fit_of, mean_interval
from dicomnode.networks import (
    HNN,
    PHNN,
    NestedLoss,
    PlaneCombiner,
    SlabInferer,
    ThreePlaneInferer,
    ThreePlaneNetwork,
    WithContext,
)
from dicomnode.networks.inferers import PLANES
from dicomnode.phantom import make_case
from dicomnode.phantom.structures import Organ

SIZE = (64, 48, 40)
"""x, y, z voxels of 3 mm."""
OFFSETS = (-3, -1, 0, 1, 3)
SHAPE: dict[str, Any] = {"features": (16, 32, 48, 64), "convolutions": (2, 2, 2, 2)}
TRAIN, DEV, TEST = range(48), range(5_000, 5_010), range(10_000, 10_032)
BATCH = 12


def crop(seed: int) -> dict[str, Tensor] | None:
    """Image (1, x, y, z) in -1..1 and labels, RAS; None: this person has no pancreas."""
    case = make_case(seed, region=(60.0, 270.0), spacing_mm=(3.0, 3.0, 3.0), detail=False)
    pancreas = case.labels == Organ.PANCREAS
    if not pancreas.any():
        return None
    rng = np.random.default_rng([77, seed])
    middle = np.argwhere(pancreas).mean(0) + rng.uniform(-4, 4, 3)
    parts = []
    for array, fill in ((case.hu, -1024.0), (pancreas.astype(np.float32), 0.0)):
        turned = torch.from_numpy(np.ascontiguousarray(array[:, ::-1, ::-1].T))
        shape = np.array(turned.shape)
        centre = np.array([shape[0] - 1 - middle[2], shape[1] - 1 - middle[1], middle[0]])
        low = np.round(centre).astype(int) - np.array(SIZE) // 2
        reach = max(SIZE)
        padded = nn.functional.pad(turned, (reach,) * 6, value=fill)
        parts.append(
            padded[tuple(slice(n + reach, n + reach + s) for n, s in zip(low, SIZE, strict=True))]
        )
    image = ((parts[0].clamp(-160, 240) + 160) / 200 - 1).float()
    return {"image": image[None].contiguous(), "label": parts[1][None].byte().contiguous()}


def cases(folder: Path, seeds: range) -> list[dict[str, Tensor]]:
    """Made once, kept on disk."""
    path = folder / f"cases_{seeds.start}_{len(seeds)}.pt"
    if not path.exists():
        made = [one for seed in seeds if (one := crop(seed)) is not None]
        torch.save(made, path)
    loaded: list[dict[str, Tensor]] = torch.load(path, weights_only=True)
    return loaded


class PatchNetwork(nn.Module):
    """A plain convolutional network that labels the middle of a 24 x 24 patch (5 slices)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(5, 24, 3), nn.ReLU(), nn.Conv2d(24, 24, 3), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(24, 48, 3), nn.ReLU(), nn.Conv2d(48, 48, 3), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(48 * 9, 64), nn.ReLU(), nn.Linear(64, 2)),
        )

    def forward(self, patches: Tensor) -> Tensor:
        said: Tensor = self.layers(patches)
        return said


def slabs(volume: Tensor, at: list[int], axes: tuple[int, ...], offsets: tuple[int, ...]) -> Tensor:
    """(slices, offsets, rows, columns) of a volume (x, y, z)."""
    stack = volume.permute(axes)
    return torch.stack([stack[[min(max(a + o, 0), len(stack) - 1) for o in offsets]] for a in at])


def batches(
    data: list[dict[str, Tensor]], plane: str, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Slabs and labels (N, 1, rows, columns); four of five slices hold pancreas."""
    rng = np.random.default_rng(seed)
    axes = PLANES[plane]
    while True:
        images, labels = [], []
        for _ in range(BATCH):
            one = data[int(rng.integers(len(data)))]
            label = one["label"][0].permute(axes)
            inside = torch.nonzero(label.flatten(1).any(1))[:, 0].tolist()
            pick = inside if rng.random() < 0.8 else list(range(len(label)))
            at = int(pick[int(rng.integers(len(pick)))])
            shift, gain = rng.normal(0, 0.1), rng.uniform(0.9, 1.1)
            images.append(slabs(one["image"][0], [at], axes, OFFSETS)[0] * gain + shift)
            labels.append(label[at][None])
        yield torch.stack(images), torch.stack(labels).long()


def train(
    folder: Path, name: str, network: nn.Module, step: Callable[[nn.Module], Tensor], seconds: float
) -> nn.Module:
    """Train for so many seconds of processor time with AdamW and a cosine; keep the weights."""
    path = folder / f"{name}.pt"
    if path.exists():
        network.load_state_dict(torch.load(path, weights_only=True))
        return network.eval()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-4)
    network.train()
    began, steps, losses = time.process_time(), 0, []
    while (done := (time.process_time() - began) / seconds) < 1:
        warm = min(1.0, (steps + 1) / 20)
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        loss = step(network)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        losses.append(loss.item())
        steps += 1
    print(f"{name}: {steps} steps, loss {np.mean(losses[-20:]):.3f}", flush=True)
    torch.save(network.state_dict(), path)
    return network.eval()


def on_slabs(data: list[dict[str, Tensor]], plane: str, seed: int = 0) -> Callable[..., Tensor]:
    feed, loss = batches(data, plane, seed), NestedLoss(2)

    def step(network: nn.Module) -> Tensor:
        image, label = next(feed)
        value: Tensor = loss(network(image.contiguous(memory_format=torch.channels_last)), label)
        return value

    return step


def on_patches(data: list[dict[str, Tensor]]) -> Callable[..., Tensor]:
    feed, rng = batches(data, "axial", 0), np.random.default_rng(1)

    def step(network: nn.Module) -> Tensor:
        image, label = next(feed)
        image = nn.functional.pad(image, (12, 11, 12, 11), value=-1.0)
        patches, truth = [], []
        for slab, mask in zip(image, label[:, 0], strict=True):
            for inside in (mask == 1, mask == 0):
                where = torch.nonzero(inside)
                for _ in range(8 if len(where) else 0):
                    row, column = where[int(rng.integers(len(where)))].tolist()
                    patches.append(slab[:, row : row + 24, column : column + 24])
                    truth.append(int(mask[row, column]))
        return nn.functional.cross_entropy(network(torch.stack(patches)), torch.tensor(truth))

    return step


def on_stacks(data: list[dict[str, Tensor]]) -> Callable[..., Tensor]:
    """Runs of eight axial slices for the network with context."""
    rng, loss = np.random.default_rng(2), NestedLoss(2)

    def step(network: nn.Module) -> Tensor:
        image, label = [], []
        for _ in range(2):
            one = data[int(rng.integers(len(data)))]
            first = int(rng.integers(SIZE[2] - 8))
            at = list(range(first, first + 8))
            image.append(slabs(one["image"][0], at, PLANES["axial"], OFFSETS))
            label.append(one["label"][0].permute(PLANES["axial"])[at])
        outputs = network(torch.stack(image))
        truth = torch.stack(label).long().flatten(0, 1)[:, None]
        value: Tensor = loss([one.flatten(0, 1) for one in outputs], truth)
        return value

    return step


def on_blocks(data: list[dict[str, Tensor]]) -> Callable[..., Tensor]:
    rng, loss = np.random.default_rng(3), DiceCELoss(softmax=True, to_onehot_y=True)

    def step(network: nn.Module) -> Tensor:
        images, labels = [], []
        for _ in range(2):
            one = data[int(rng.integers(len(data)))]
            low = [int(rng.integers(s - 31)) for s in SIZE]
            box = (slice(None), *(slice(n, n + 32) for n in low))
            images.append(one["image"][box] * rng.uniform(0.9, 1.1) + rng.normal(0, 0.1))
            labels.append(one["label"][box].long())
        value: Tensor = loss(network(torch.stack(images)), torch.stack(labels))
        return value

    return step


def on_planes(said: list[Tensor], data: list[dict[str, Tensor]]) -> Callable[..., Tensor]:
    """The combiner, on what the planes say of people they were not trained on."""
    rng, loss = np.random.default_rng(4), DiceCELoss(softmax=True, to_onehot_y=True)

    def step(network: nn.Module) -> Tensor:
        one = int(rng.integers(len(data)))
        value: Tensor = loss(network(said[one]), data[one]["label"][None].long())
        return value

    return step


def read_patches(network: nn.Module, image: Tensor) -> Tensor:
    """Every second voxel of each axial slice, linear between."""
    found = []
    for at in range(image.shape[-1]):
        slab = slabs(image[0, 0], [at], PLANES["axial"], OFFSETS)
        padded = nn.functional.pad(slab, (12, 11, 12, 11), value=-1.0)
        patches = padded.unfold(2, 24, 2).unfold(3, 24, 2)[0].permute(1, 2, 0, 3, 4)
        logits = network(patches.flatten(0, 1)).unflatten(0, patches.shape[:2]).permute(2, 0, 1)
        size = slab.shape[2:]
        found.append(nn.functional.interpolate(logits[None], size=size, mode="bilinear")[0])
    # (slice, class, y, x) to (class, x, y, z)
    return torch.stack(found).permute(1, 3, 2, 0)[None].softmax(1)


def networks(folder: Path, seconds: float) -> dict[str, Callable[[Tensor], Tensor]]:
    """Each trained: from an image (1, 1, x, y, z) to probabilities (1, 2 or more, x, y, z)."""
    data, dev = cases(folder, TRAIN), cases(folder, DEV)
    torch.manual_seed(0)
    axial = SlabInferer(OFFSETS, multiple=8, batch=20, classes=2)
    patch = train(folder, "patch", PatchNetwork(), on_patches(data), seconds)
    plain = train(folder, "hnn", HNN(2, 5, 2, **SHAPE), on_slabs(data, "axial"), seconds)
    each = {
        plane: train(
            folder,
            f"hnn_boundary_{plane}",
            HNN(2, 5, 2, boundary_channels=1, **SHAPE),
            on_slabs(data, plane),
            seconds,
        )
        for plane in PLANES
    }
    phnn = train(folder, "phnn", PHNN(2, 5, 2, **SHAPE), on_slabs(data, "axial"), seconds)
    longer = PHNN(2, 5, 2, **SHAPE)
    longer.load_state_dict(phnn.state_dict())
    longer = train(folder, "phnn_longer", longer, on_slabs(data, "axial", 9), seconds)
    context = WithContext(PHNN(2, 5, 2, **SHAPE), 2)
    context.network.load_state_dict(phnn.state_dict())
    context = train(folder, "phnn_context", context, on_stacks(data), seconds)
    volumetric = SegResNet(
        spatial_dims=3,
        init_filters=8,
        in_channels=1,
        out_channels=2,
        blocks_down=(1, 2, 2),
        blocks_up=(1, 1),
        norm=("GROUP", {"num_groups": 4}),
    )
    volumetric = train(folder, "segresnet", volumetric, on_blocks(data), seconds)
    planes = ThreePlaneInferer(2, slabs={"offsets": OFFSETS, "multiple": 8, "batch": 20})
    with torch.inference_mode():
        said = [planes.planes(one["image"][None], each) for one in dev]
    said = [one.clone() for one in said]
    combiner = train(
        folder, "combiner", PlaneCombiner(3, 2, channels=3), on_planes(said, dev), seconds / 2
    )
    three = ThreePlaneNetwork(each["axial"], each["coronal"], each["sagittal"], combiner).eval()
    warm = SlabInferer(OFFSETS, multiple=8, batch=20, classes=2, context=4)
    return {
        "patch network, axial": lambda x: read_patches(patch, x),
        "HNN, axial, interior": lambda x: axial(x, plain),
        "HNN, axial, interior + boundary": lambda x: axial(x, each["axial"]),
        "HNN, three planes, interior + boundary": lambda x: planes(x, three),
        "P-HNN, axial": lambda x: axial(x, phnn),
        "P-HNN, axial, trained twice as long": lambda x: axial(x, longer),
        "P-HNN, axial, ConvLSTM context": lambda x: warm(x, context),
        "SegResNet, 3D": lambda x: sliding_window_inference(
            x, (32, 32, 32), 4, volumetric, overlap=0.5, mode="gaussian"
        ).softmax(1),
    }


PAIRS = (
    ("HNN, axial, interior", "patch network, axial"),
    ("HNN, axial, interior + boundary", "HNN, axial, interior"),
    ("HNN, three planes, interior + boundary", "HNN, axial, interior + boundary"),
    ("HNN, three planes, interior + boundary", "patch network, axial"),
    ("P-HNN, axial", "HNN, axial, interior"),
    ("P-HNN, axial, ConvLSTM context", "P-HNN, axial, trained twice as long"),
    ("SegResNet, 3D", "HNN, three planes, interior + boundary"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=1.0, help="processor time a network")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    readers = networks(asked.work, 60 * asked.minutes)
    test = cases(asked.work, TEST)
    people = [str(n) for n in range(len(test))]
    rows: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
    for name, read in readers.items():
        fits, began = [], time.process_time()
        with torch.inference_mode():
            for one in test:
                found = read(one["image"][None])[0, :2].argmax(0).numpy() == 1
                fits.append(fit_of(found, one["label"][0].numpy() == 1, (3, 3, 3), 27.0))
        spent = (time.process_time() - began) / len(test)
        rows[name] = {
            key: np.array([getattr(fit, key) for fit in fits])
            for key in ("dice", "asd_mm", "hd95_mm")
        } | {"seconds": np.array(spent)}
    table: dict[str, Any] = {"n": len(test), "networks": {}, "gains": {}}
    for name, row in rows.items():
        line = {key: mean_interval(row[key], people) for key in ("dice", "asd_mm", "hd95_mm")}
        table["networks"][name] = {
            **{key: [one.value, one.low, one.high] for key, one in line.items()},
            "missed": int(np.isnan(row["asd_mm"]).sum()),
            "seconds": float(row["seconds"]),
        }
    for better, other in PAIRS:
        gain = mean_interval(rows[better]["dice"] - rows[other]["dice"], people)
        table["gains"][f"{better} over {other}"] = [gain.value, gain.low, gain.high]
    table["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(table, indent=1))
    if asked.out:
        asked.out.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
