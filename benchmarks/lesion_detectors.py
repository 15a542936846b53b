"""A bundle of lesions on a whole CT: seconds a slice, and how much is more than its networks.

    python benchmarks/lesion_detectors.py [--bundle universal_lesion] [--slices 300] [--files]

The CT is that of `ct_inference.py`: a phantom of chest and abdomen, interpolated to 512 x 512
pixels and so many slices, with noise. Measured is the whole of `Algorithm.run`, from the volume in
memory to findings with outlines, and within it the calls of the three networks alone; their ratio
is what resampling, cutting of views and placing cost. With `--files` the CT is written as DICOM
first and read from there, and the lesions are written as SEG and SR: a second ratio counts both.
Seconds are of processor time of one thread, in a process that keeps the memory it frees and
multiplies matrices in one thread, as the node's children do (`pipeline.heap`, `pipeline.devices`).
FLOPs are those of the networks (two for a multiplication with its addition), for estimates of other
hardware.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from ct_inference import ct
from threadpoolctl import threadpool_limits
from torch.utils.flop_counter import FlopCounterMode

from dicomnode.algorithm import AlgorithmIdentity, RunContext
from dicomnode.domain.findings import Finding
from dicomnode.domain.volumes import Volume
from dicomnode.encode.derivation import Derivation
from dicomnode.encode.results import encode_results
from dicomnode.networks.lesion_finder import LesionFinder
from dicomnode.pipeline.bundle import load_bundle
from dicomnode.pipeline.heap import keep_freed_memory
from dicomnode.pipeline.inference import make_ready
from dicomnode.pipeline.volume import read_series
from dicomnode.settings import OutputSettings
from dicomnode.shipped import shipped
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series


class Clock:
    """Processor seconds within the networks."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, counted."""

        def counted(*args: Any) -> Any:
            begun = time.process_time()
            result = call(*args)
            spent = time.process_time() - begun
            self.seconds[name] = self.seconds.get(name, 0.0) + spent
            return result

        return counted


def through_files(image: Volume, folder: Path) -> tuple[Volume, float]:
    """The CT as read from DICOM files, and processor seconds of reading."""
    slices, rows, columns = image.grid.shape
    geometry = SeriesGeometry(
        slices=slices, rows=rows, columns=columns, spacing_mm=image.grid.spacing_mm
    )
    values = np.rint(image.array).clip(-1024, 3071).astype(np.int16)
    paths = []
    for number, ds in enumerate(ct_series(StudyIdentity(seed="benchmark"), geometry, values)):
        paths.append(folder / f"{number:04d}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    begun = time.process_time()
    read = read_series(paths)
    return read, time.process_time() - begun


def encoding_s(
    findings: Sequence[Finding], image: Volume, identity: AlgorithmIdentity, out: Path
) -> float:
    """Processor seconds of SEG and SR, checks included."""
    derivation = Derivation(
        job_key="benchmark",
        revision=1,
        made_at=datetime.now(UTC),
        software_versions=("dicomnode benchmark",),
    )
    begun = time.process_time()
    encode_results(
        findings,
        image,
        identity=identity,
        derivation=derivation,
        out=out,
        settings=OutputSettings(),
    )
    return time.process_time() - begun


def measured(
    bundle: str, slices: int, seed: int, scratch: Path, *, files: bool
) -> dict[str, float | int | str]:
    """One run on one CT, after another that warms everything up and counts operations.

    Counting takes time itself, within the networks, and is kept out of the run that is measured.
    """
    algorithm = load_bundle(shipped("algorithms") / bundle)
    image, _ = ct(slices, seed)
    reading = 0.0
    if files:
        image, reading = through_files(image, scratch)
    ready = make_ready(shipped("algorithms") / bundle, algorithm.manifest, "cpu")
    if not isinstance(ready.network, LesionFinder):
        raise SystemExit(f"{bundle} is no bundle of lesions of this kind")
    algorithm._ready["cpu"] = ready
    context = RunContext(device="cpu", scratch=scratch)
    with FlopCounterMode(display=False) as counter:
        algorithm.run({"image": image}, context)
    clock = Clock()
    for name, part in ready.network.named_children():
        part.forward = clock.timed(name, part.forward)  # type: ignore[method-assign]
    begun = time.process_time()
    findings = algorithm.run({"image": image}, context)
    whole = time.process_time() - begun
    networks = sum(clock.seconds.values())
    told: dict[str, float | int | str] = {
        "bundle": bundle,
        "slices": slices,
        "marks": len(findings),
        "seconds": round(whole, 2),
        "seconds a slice": round(whole / slices, 4),
        **{f"seconds of {name}": round(spent, 2) for name, spent in clock.seconds.items()},
        "ratio to the networks": round(whole / networks, 3),
        "tera-FLOPs": round(counter.get_total_flops() / 1e12, 3),
    }
    if files:
        encoding = encoding_s(findings, image, algorithm.identity, scratch)
        told["seconds of reading"] = round(reading, 2)
        told["seconds of SEG and SR"] = round(encoding, 2)
        told["ratio from files to objects"] = round((reading + whole + encoding) / networks, 3)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--bundle", default="universal_lesion")
    parser.add_argument("--slices", type=int, default=300, help="at least 100")
    parser.add_argument("--files", action="store_true", help="read and write DICOM as well")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1, user_api="blas")
    keep_freed_memory()
    with TemporaryDirectory() as made:
        told = measured(
            asked.bundle, asked.slices, asked.seed, scratch=Path(made), files=asked.files
        )
    for name, value in told.items():
        print(f"{name}: {value}")
    if asked.json:
        asked.json.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
