"""Training of the refining network: axial first, the other planes from it, then what fuses them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dicomnode.networks import NestedLoss, ThreePlaneInferer
from dicomnode.networks.partial import PartialLoss
from dicomnode.networks.planes import ThreePlaneNetwork
from dicomnode.networks.timed import TimedTraining
from dicomnode.networks.windows import in_bfloat16
from dicomnode.phantom.masks import example_stocks
from dicomnode.phantom.slabs import Stock, read_stock
from dicomnode.phantom.streams import Supply
from scripts.classes import CLASSES, UNNAMED, WEIGHTS
from scripts.data import OFFSETS, Planes, volume

log = logging.getLogger("pancreas.training")
SHARES = {"axial": 0.5, "coronal": 0.22, "sagittal": 0.22}
"""Of the time; the rest is for the combiner."""


class Training:
    """The whole of training; `run` is what `configs/train.json` calls.

    Time is the processor's, so that a busy machine trains as long. Stopped, it goes on.
    """

    def __init__(
        self,
        *,
        network: ThreePlaneNetwork,
        pool: str,
        output: str,
        data_root: str | None = None,
        real_share: float = 0.4,
        seconds: float = 1600,
        seed: int = 1,
    ) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        self.network, self.pool, self.output = network, Path(pool), Path(output)
        self.seconds, self.seed = seconds, seed
        self.real: list[Stock] = example_stocks(Path(data_root)) if data_root else []
        self.share = real_share
        interior = PartialLoss(WEIGHTS, UNNAMED)
        self.loss = NestedLoss(len(CLASSES), interior=interior, boundary_weight=0.5)

    def run(self) -> None:
        """Train all parts and write `model.safetensors`."""
        planes: dict[str, nn.Module] = dict(self.network.planes.items())
        for number, (plane, share) in enumerate(SHARES.items()):
            if number:
                planes[plane].load_state_dict(planes["axial"].state_dict())
            self._plane(plane, planes[plane], share, number)
        self._combiner(planes)
        tensors = {k: v.contiguous() for k, v in self.network.state_dict().items()}
        save_file(tensors, self.output / "model.safetensors")

    def _plane(self, plane: str, network: nn.Module, share: float, number: int) -> None:
        seconds = self.seconds * share
        training = TimedTraining(
            network,
            self._loss_of,
            self.output / plane,
            seconds=seconds,
            learning_rate=2.5e-3 if number == 0 else 1.5e-3,
            averaging=0.99,
            clock=time.process_time,
        )
        start = (self.seed * 10 + number) * 1_000_000 + training.step
        stream = Planes(Supply(self.pool, self.real, self.share, start))
        stream.plane = plane
        if training.spent < seconds:
            training.fit(stream, seconds)
        network.load_state_dict(load_file(self.output / plane / "average.safetensors"))

    def _loss_of(self, network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        image = batch["image"].contiguous(memory_format=torch.channels_last)
        with in_bfloat16(image.device):
            outputs = network(image)
        loss: Tensor = self.loss(outputs, batch["label"][:, None])
        return loss

    def _combiner(self, planes: dict[str, nn.Module]) -> None:
        """On volumes that no plane was trained on; one of two shows the real patient."""
        seconds = self.seconds * (1 - sum(SHARES.values()))
        for network in planes.values():
            network.eval()
        inferer = ThreePlaneInferer(
            len(CLASSES), slabs={"offsets": OFFSETS, "multiple": 8, "batch": 16}
        )
        pool = sorted(self.pool.glob("belly_*.npz"))
        stocks = [read_stock(path) for path in pool[-20:]]
        partial = PartialLoss(WEIGHTS, UNNAMED)

        def loss_of(network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
            value: Tensor = partial(network(batch["said"]), batch["label"])
            return value

        def batches() -> Iterator[dict[str, Tensor]]:
            kept: list[dict[str, Tensor]] = []
            rng = np.random.default_rng(self.seed)
            for seed in range(900_000_000, 901_000_000):
                if len(kept) < 16:
                    source = self.real if self.real and seed % 5 < 2 else stocks
                    image, classes = volume(source, seed)
                    with torch.no_grad():
                        said = inferer.planes(image[None, None], planes)
                    kept.append({"said": said, "label": classes[None].long()})
                one = kept[int(rng.integers(len(kept)))]
                low = int(rng.integers(one["said"].shape[-1] - 24))
                yield {key: value[..., low : low + 24] for key, value in one.items()}

        training = TimedTraining(
            self.network.combiner,
            loss_of,
            self.output / "combiner",
            seconds=seconds,
            averaging=0.97,
            clock=time.process_time,
        )
        if training.spent < seconds:
            training.fit(batches(), seconds)
        self.network.combiner.load_state_dict(training.average)
