"""A bundle of lesions on a whole CT: seconds a slice, and how much is more than its networks.

    python benchmarks/lesion_detectors.py [--bundle universal_lesion] [--slices 300] [--json FILE]

The CT is that of `ct_inference.py`: a phantom of chest and abdomen, interpolated to 512 x 512
pixels and so many slices, with noise. Measured is the whole of `Algorithm.run`, from the volume in
memory to findings with outlines, and within it the calls of the three networks alone; their ratio
is what resampling, cutting of views and placing cost. Seconds are of processor time of one thread.
FLOPs are those of the networks (two for a multiplication with its addition), for estimates of
other hardware.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from ct_inference import ct
from torch.utils.flop_counter import FlopCounterMode

from dicomnode.algorithm import RunContext
from dicomnode.networks.lesion_finder import LesionFinder
from dicomnode.pipeline.bundle import load_bundle
from dicomnode.pipeline.inference import make_ready
from dicomnode.shipped import shipped


class Clock:
    """Processor seconds within the networks."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.flops = 0

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, counted."""

        def counted(*args: Any) -> Any:
            with FlopCounterMode(display=False) as counter:
                begun = time.process_time()
                result = call(*args)
                spent = time.process_time() - begun
            self.seconds[name] = self.seconds.get(name, 0.0) + spent
            self.flops += counter.get_total_flops()
            return result

        return counted


def measured(bundle: str, slices: int, seed: int) -> dict[str, float | int | str]:
    """One run on one CT, after a shorter one that warms everything up."""
    algorithm = load_bundle(shipped("algorithms") / bundle)
    image, _ = ct(slices, seed)
    # A short part of it warms everything up; fewer slices of the whole would lie too far apart.
    part = replace(image.grid, shape=(24, *image.grid.shape[1:]))
    warm = replace(image, array=image.array[:24], grid=part)
    ready = make_ready(shipped("algorithms") / bundle, algorithm.manifest, "cpu")
    if not isinstance(ready.network, LesionFinder):
        raise SystemExit(f"{bundle} is no bundle of lesions of this kind")
    algorithm._ready["cpu"] = ready
    with TemporaryDirectory() as scratch:
        context = RunContext(device="cpu", scratch=Path(scratch))
        algorithm.run({"image": warm}, context)
        clock = Clock()
        for name, part in ready.network.named_children():
            part.forward = clock.timed(name, part.forward)  # type: ignore[method-assign]
        begun = time.process_time()
        findings = algorithm.run({"image": image}, context)
        whole = time.process_time() - begun
    networks = sum(clock.seconds.values())
    return {
        "bundle": bundle,
        "slices": slices,
        "marks": len(findings),
        "seconds": round(whole, 2),
        "seconds a slice": round(whole / slices, 4),
        **{f"seconds of {name}": round(spent, 2) for name, spent in clock.seconds.items()},
        "ratio to the networks": round(whole / networks, 3),
        "tera-FLOPs": round(clock.flops / 1e12, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--bundle", default="universal_lesion")
    parser.add_argument("--slices", type=int, default=300, help="at least 100")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    told = measured(asked.bundle, asked.slices, asked.seed)
    for name, value in told.items():
        print(f"{name}: {value}")
    if asked.json:
        asked.json.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
