"""A CT bundle's network on a whole CT, as its inferer reads it and by plain sliding windows.

    python benchmarks/ct_inference.py [--bundle lung_ct | body_ct | pancreas] [--json FILE]
    python benchmarks/ct_inference.py --memory --slices 600 [--bundle ...]

The CT is a phantom of chest and abdomen (`dicomnode.phantom`), made at 3 mm and interpolated to
512 x 512 pixels and so many slices, with noise. Both readings take the same preprocessed volume and
the same weights in this process, in turns; plain is `sliding_window_inference` over the whole
volume in float32, overlap 0.25, with whatever mirrored reading the bundle asks for. For `pancreas`
plain are the refining networks (three planes and what fuses them, the 3D one) over the whole
volume, without a coarse one that says where; own is all of them. For `body_ct` plain are both of
its networks over the whole volume. Dice is
that of each against the phantom's labels. Seconds are of processor time (two cores or one, shared
with other work) and by the clock. `--memory` runs the whole bundle in this process, and quotes its
peak.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from monai.inferers.utils import sliding_window_inference
from torch import Tensor
from torch.nn import functional

from dicomnode.algorithm import RunContext
from dicomnode.domain.volumes import Grid, Volume
from dicomnode.networks import RefinedInferer, SlabInferer, ThreePlaneInferer, TogetherInferer
from dicomnode.networks.hnn import soft_outputs
from dicomnode.networks.organs import scale_soft_tissue
from dicomnode.phantom import Phase, Region, make_case
from dicomnode.phantom.structures import BONES, LUNGS, Organ
from dicomnode.pipeline.bundle import load_bundle
from dicomnode.pipeline.inference import make_ready
from dicomnode.pipeline.tensors import to_metatensor
from dicomnode.shipped import shipped

ROI, ROI_3D, ROI_REFINED = (128, 128), (128, 128, 32), (128, 128, 64)
EVERYWHERE = 10_000
CONSECUTIVE = 64
"""Slices of a window where a network reads them together; such windows do not overlap along z."""


@dataclass(frozen=True, kw_only=True)
class Structure:
    """What a bundle's network says of an organ, and what the phantom calls it."""

    channels: tuple[int, ...]
    organs: tuple[Organ, ...]


STRUCTURES = {
    "lung_ct": {"lungs": Structure(channels=(1, 2), organs=LUNGS)},
    "body_ct": {
        "liver": Structure(channels=(3,), organs=(Organ.LIVER,)),
        "spleen": Structure(channels=(4,), organs=(Organ.SPLEEN,)),
        "kidneys": Structure(channels=(5, 6), organs=(Organ.KIDNEY_RIGHT, Organ.KIDNEY_LEFT)),
        "bone": Structure(channels=(18, 19), organs=BONES),
    },
    "pancreas": {"pancreas": Structure(channels=(1,), organs=(Organ.PANCREAS,))},
}
"""Channels as in each bundle's card."""


def ct(slices: int, seed: int) -> tuple[Volume, npt.NDArray[np.uint8]]:
    """A phantom on the grid of a scanner's CT; and its labels at 3 mm, over the same box."""
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
    return image, case.labels


def truth_of(one: Structure, labels: npt.NDArray[np.uint8], like: Volume, steps: Any) -> Tensor:
    """The organ on the working grid `(x, y, z)`, by those steps that change the grid."""
    inside = torch.from_numpy(np.isin(labels, [int(o) for o in one.organs]).astype(np.float32))
    fine = functional.interpolate(
        inside[None, None], size=like.grid.shape, mode="trilinear", align_corners=False
    )
    data: Any = {"image": to_metatensor(replace(like, array=fine[0, 0].numpy()), 3)}
    for step in steps:
        if type(step).__name__ in {"ToWorkingGridd", "Flipd"}:
            data = step(data)
    return torch.as_tensor(data["image"].as_tensor())[0] > 0.5


def plainly(inferer: Any, volume: Tensor, network: Any) -> Tensor:
    """The network over the whole volume, as the bundle's inferer would be without its savings."""
    if isinstance(inferer, SlabInferer):
        return slices_plainly(inferer, volume, network)
    if isinstance(inferer, RefinedInferer):
        plain = copy(inferer)
        plain.margin = EVERYWHERE
        plain.coarse = partial(slices_plainly, inferer.coarse)  # type: ignore[assignment]
        plain.fine = refined_plainly  # type: ignore[assignment]
        found: Tensor = plain(volume, network)
        return found
    together: TogetherInferer = inferer.fine
    scaled = scale_soft_tissue(volume)
    mean = torch.zeros(())
    for name, share in together.shares.items():
        member = network.fine.members[name]
        given = scaled
        if name == "planes":
            planes = cast("ThreePlaneInferer", together.inferers[name]).inferers
            said = [slices_plainly(p, scaled, member.planes[at]) for at, p in planes.items()]
            given = torch.cat(said, 1)
        logits = sliding_window_inference(given, ROI_3D, 1, member, overlap=0.25)
        assert isinstance(logits, Tensor)
        mean = mean + share * logits.float().softmax(1)
    return mean


def refined_plainly(volume: Tensor, network: Any, beside: Tensor) -> Tensor:
    """The refining network of a `RefinedInferer` by sliding windows over halved voxels."""
    # Windows are cut from one tensor: what lies beside the volume is spread to its grid.
    spread = functional.interpolate(beside, scale_factor=2, mode="nearest")

    def read(window: Tensor) -> Tensor:
        logits: Tensor = network(window[:, :1], window[:, 1:, ::2, ::2, ::2])
        return logits

    given = torch.cat((volume, spread), 1)
    logits = sliding_window_inference(given, ROI_REFINED, 1, read, overlap=0.25)
    assert isinstance(logits, Tensor)
    return logits.float().softmax(1)


def slices_plainly(inferer: SlabInferer, volume: Tensor, network: Any) -> Tensor:
    """The same slabs and the same mirrored reading, by MONAI's sliding windows in the plane."""
    stack = volume[0, 0].permute(inferer.axes)
    at = torch.arange(len(stack))
    back = [(0, 2, 3)[inferer.axes.index(axis)] for axis in range(3)]
    if inferer.context:
        slabs = torch.stack([stack[(at + o).clamp(0, len(stack) - 1)] for o in inferer.offsets])
        found = sliding_window_inference(
            slabs[None],
            (CONSECUTIVE, *ROI),
            1,
            lambda some: network(some.transpose(1, 2)).transpose(1, 2),
            overlap=(0.0, 0.25, 0.25),
        )
        assert isinstance(found, Tensor)
        return _soft(found[0].transpose(0, 1), inferer).permute(1, *back)[None]
    parts = []
    for first in range(0, len(stack), inferer.batch):
        middle = at[first : first + inferer.batch]
        slabs = torch.stack(
            [stack[(middle + o).clamp(0, len(stack) - 1)] for o in inferer.offsets], dim=1
        )
        p = _soft(_windows(slabs, network), inferer)
        if inferer.mirrored is not None:
            other = _soft(_windows(slabs.flip(-1), network), inferer)
            p = (p + other.flip(-1)[:, inferer.mirrored]) / 2
        parts.append(p)
    return torch.cat(parts).permute(1, *back)[None]


def _soft(logits: Tensor, inferer: SlabInferer) -> Tensor:
    return soft_outputs(logits, logits.shape[1] if inferer.classes is None else inferer.classes)


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
    bundle: str,
    volume: Volume,
    labels: npt.NDArray[np.uint8],
    variants: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    root = shipped("algorithms") / bundle
    algorithm = load_bundle(root)
    ready = make_ready(root, algorithm.manifest, "cpu")
    data = ready.preprocessing({"image": to_metatensor(volume, 3)})
    image = torch.as_tensor(data["image"].as_tensor())[None]
    wanted = STRUCTURES[bundle]
    steps = ready.preprocessing.transforms
    truth = {name: truth_of(one, labels, volume, steps) for name, one in wanted.items()}

    def scores(found: Tensor) -> dict[str, float]:
        # What follows the classes of a `RefinedInferer` are halves of voxels.
        best = found[0, : len(found[0]) - 8 * len(getattr(own, "organs", ()))].argmax(0)
        return {
            name: dice(torch.isin(best, torch.tensor(one.channels)), truth[name])
            for name, one in wanted.items()
        }

    own = ready.inferer
    plain, plain_cpu, plain_clock = timed(lambda: plainly(own, image, ready.network))
    figures: dict[str, Any] = {
        "bundle": bundle,
        "slices": volume.grid.shape[0],
        "working grid": list(image.shape[2:]),
        "plain": {"cpu_s": plain_cpu, "clock_s": plain_clock, "dice": scores(plain)},
    }
    del plain
    for name, changes in variants.items():
        inferer = copy(own)
        for key, value in changes.items():
            setattr(inferer, key, value)
        found, cpu, clock = timed(lambda: inferer(image, ready.network))  # noqa: B023
        figures[name] = {
            "cpu_s": cpu,
            "clock_s": clock,
            "cpu_ratio": cpu / plain_cpu,
            "dice": scores(found),
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
    parser.add_argument("--bundle", default="lung_ct", choices=sorted(STRUCTURES))
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--body-above", type=float, default=-0.26, help="in the network's scale")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    volume, labels = ct(asked.slices, asked.seed)
    if asked.memory:
        figures = peak(asked.bundle, volume)
    else:
        variants: dict[str, dict[str, Any]] = {
            "whole slices, float32": {"body_above": None, "bfloat16": False},
            "body box, float32": {"body_above": asked.body_above, "bfloat16": False},
            "as shipped": {},
        }
        if asked.bundle != "lung_ct":
            variants = {"as shipped": {}}
        figures = compare(asked.bundle, volume, labels, variants)
    print(json.dumps(figures, indent=1))
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
