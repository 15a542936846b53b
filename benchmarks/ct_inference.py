"""A CT bundle's network on a whole CT, as its inferer reads it and by plain sliding windows.

    python benchmarks/ct_inference.py [--bundle lung_ct] [--slices 300] [--json FILE]
    python benchmarks/ct_inference.py --memory --slices 600

The CT is a phantom of chest and abdomen (`dicomnode.phantom`), made at 3 mm and interpolated to
512 x 512 pixels and so many slices, with noise. Both readings take the same preprocessed volume and
the same weights in this process, in turns; plain is `sliding_window_inference` over the whole
volume in float32, overlap 0.25, with whatever mirrored reading the bundle asks for. Dice is between
the labels of both. Seconds are of processor time (two cores or one, shared with other work) and by
the clock. `--memory` runs the whole bundle in this process, and quotes its peak.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from monai.inferers.utils import sliding_window_inference
from torch import Tensor
from torch.nn import functional

from dicomnode.algorithm import RunContext
from dicomnode.domain.volumes import Grid, Volume
from dicomnode.networks import SlabInferer
from dicomnode.phantom import Phase, Region, make_case
from dicomnode.phantom.structures import Organ
from dicomnode.pipeline.bundle import load_bundle
from dicomnode.pipeline.inference import make_ready
from dicomnode.pipeline.tensors import to_metatensor
from dicomnode.shipped import shipped

ROI = (128, 128)
LUNGS = [int(organ) for organ in Organ if "LUNG" in organ.name]


def ct(slices: int, seed: int) -> tuple[Volume, Volume]:
    """A phantom on the grid of a scanner's CT; and its lungs alone, dense, on the same grid."""
    case = make_case(seed, region=Region.CHEST_AND_ABDOMEN, phase=Phase.PORTAL, detail=False)
    coarse = torch.from_numpy(case.hu)[None, None]
    size = (slices, 512, 512)
    fine = functional.interpolate(coarse, size=size, mode="trilinear", align_corners=False)
    rng = np.random.default_rng(seed)
    array = fine[0, 0].numpy()
    for index in range(slices):
        array[index] += rng.normal(0, 12, array[index].shape).astype(np.float32)
    scale = [a / b for a, b in zip(case.grid.shape, size, strict=True)]
    affine = case.grid.affine_lps_mm.copy()
    affine[:3, 3] += affine[:3, :3] @ [(s - 1) / 2 for s in scale]
    affine[:3, :3] *= scale
    image = Volume(
        study_uid="1.2.3",  # type: ignore[arg-type]
        series_uid="1.2.3.4",  # type: ignore[arg-type]
        modality="CT",
        array=array,
        grid=Grid(affine_lps_mm=affine, shape=size, frame_of_reference_uid="1.2.3.5"),
        frames=(),
    )
    lungs = torch.from_numpy(np.isin(case.labels, LUNGS).astype(np.float32))[None, None]
    inside = functional.interpolate(lungs, size=size, mode="trilinear", align_corners=False)
    return image, replace(image, array=(inside[0, 0].numpy() * 1424 - 1024).astype(np.float32))


def plainly(inferer: SlabInferer, volume: Tensor, network: Any) -> Tensor:
    """The same slabs and the same mirrored reading, by MONAI's sliding windows in the plane."""
    stack = volume[0, 0].permute(2, 1, 0)
    at = torch.arange(len(stack))
    parts = []
    for first in range(0, len(stack), inferer.batch):
        middle = at[first : first + inferer.batch]
        slabs = torch.stack(
            [stack[(middle + o).clamp(0, len(stack) - 1)] for o in inferer.offsets], dim=1
        )
        p = _windows(slabs, network).softmax(1)
        if inferer.mirrored is not None:
            other = _windows(slabs.flip(-1), network).softmax(1)
            p = (p + other.flip(-1)[:, inferer.mirrored]) / 2
        parts.append(p)
    return torch.cat(parts).permute(1, 3, 2, 0)[None]


def _windows(slabs: Tensor, network: Any) -> Tensor:
    found = sliding_window_inference(slabs, ROI, 8, network, overlap=0.25)
    assert isinstance(found, Tensor)
    return found


def timed(read: Callable[[], Tensor]) -> tuple[Tensor, float, float]:
    cpu, clock = time.process_time(), time.monotonic()
    with torch.inference_mode():
        found = read()
    return found, time.process_time() - cpu, time.monotonic() - clock


def dice(a: Tensor, b: Tensor) -> float:
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else float("nan")


def compare(
    bundle: str, volume: Volume, lungs: Volume, variants: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    root = shipped("algorithms") / bundle
    algorithm = load_bundle(root)
    ready = make_ready(root, algorithm.manifest, "cpu")
    data = ready.preprocessing({"image": to_metatensor(volume, 3)})
    image = torch.as_tensor(data["image"].as_tensor())[None]
    truth = ready.preprocessing({"image": to_metatensor(lungs, 3)})["image"].as_tensor()[0] > 0
    own: SlabInferer = ready.inferer
    plain, plain_cpu, plain_clock = timed(lambda: plainly(own, image, ready.network))
    figures: dict[str, Any] = {
        "bundle": bundle,
        "slices": volume.grid.shape[0],
        "working grid": list(image.shape[2:]),
        "plain": {
            "cpu_s": plain_cpu,
            "clock_s": plain_clock,
            "dice": dice(plain[0].argmax(0) > 0, truth),
        },
    }
    for name, changes in variants.items():
        inferer = SlabInferer(own.offsets, multiple=own.multiple, batch=own.batch)
        for key, value in {**vars(own), **changes}.items():
            setattr(inferer, key, value)
        found, cpu, clock = timed(lambda: inferer(image, ready.network))  # noqa: B023
        figures[name] = {
            "cpu_s": cpu,
            "clock_s": clock,
            "cpu_ratio": cpu / plain_cpu,
            "dice": dice(found[0].argmax(0) > 0, truth),
        }
    return figures


def peak(bundle: str, volume: Volume) -> dict[str, Any]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    cpu, clock = time.process_time(), time.monotonic()
    with TemporaryDirectory() as scratch:
        context = RunContext(device="cpu", scratch=Path(scratch))
        findings = load_bundle(shipped("algorithms") / bundle).run({"image": volume}, context)
    return {
        "bundle": bundle,
        "slices": volume.grid.shape[0],
        "findings": len(findings),
        "cpu_s": time.process_time() - cpu,
        "clock_s": time.monotonic() - clock,
        "peak_gb_before": before,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="lung_ct")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--body-above", type=float, default=-0.26, help="in the network's scale")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    volume, lungs = ct(asked.slices, asked.seed)
    if asked.memory:
        figures = peak(asked.bundle, volume)
    else:
        variants: dict[str, dict[str, Any]] = {
            "whole slices, float32": {"body_above": None, "bfloat16": False},
            "body box, float32": {"body_above": asked.body_above, "bfloat16": False},
            "as shipped": {},
        }
        figures = compare(asked.bundle, volume, lungs, variants)
    print(json.dumps(figures, indent=1))
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
