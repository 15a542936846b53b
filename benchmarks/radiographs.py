"""Reading radiographs one after the other in one process, as a worker's child does.

    python benchmarks/radiographs.py [--images N] [--algorithm NAME] [--json FILE]

Each image is the node's sample radiograph, framed and windowed a little differently, as a DICOM
file of its own: read, inferred, encoded to SR, drawn. Told are processor seconds an image of each
stage (which other work on the machine disturbs less than the clock), the same for the bare network,
which runs in turn with them on the same images, what the node adds to that, and resident memory as
images go by. Strictly, bare is the main network alone; told second is the share over it and the
gate's own small network, which the bundle has to run as well.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import numpy as np
import psutil
import torch
from pydicom import dcmread
from rich.console import Console
from rich.table import Table

from dicomnode.algorithm import RunContext
from dicomnode.domain.volumes import Volume
from dicomnode.encode.derivation import Derivation
from dicomnode.encode.preview import draw_overlay
from dicomnode.encode.results import encode_results
from dicomnode.logs import silence_readers
from dicomnode.networks.upright import gate_input
from dicomnode.pipeline.bundle import load_bundle
from dicomnode.pipeline.gate import load_gate
from dicomnode.pipeline.inference import _autocast, _prepared, make_ready
from dicomnode.pipeline.volume import read_series
from dicomnode.settings import OutputSettings
from dicomnode.shipped import shipped

STAGES = ("read", "infer", "encode", "draw")


class Processor:
    """Adds up processor seconds by stage."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self._last = time.process_time()

    def start(self) -> None:
        self._last = time.process_time()

    def ended(self, stage: str) -> None:
        now = time.process_time()
        self.seconds[stage] += now - self._last
        self._last = now


class Radiographs:
    """Files made one at a time: ever new UIDs, the picture shifted a little."""

    def __init__(self, folder: Path) -> None:
        samples = Path(str(files("dicomnode.testing"))) / "samples" / "chest_radiograph"
        self._ds = dcmread(next(samples.glob("*.dcm")))
        self._pixels = self._ds.pixel_array
        self._rng = np.random.default_rng(0)
        self._path = folder / "radiograph.dcm"

    def next(self, number: int) -> Path:
        shift = self._rng.integers(-20, 20, 2)
        self._ds.PixelData = np.roll(self._pixels, shift, (0, 1)).tobytes()
        self._ds.SOPInstanceUID = f"2.25.{10**20 + number}"
        self._ds.file_meta.MediaStorageSOPInstanceUID = self._ds.SOPInstanceUID
        self._ds.save_as(self._path)
        return self._path


class Bare:
    """The networks alone, on what preprocessing makes of an image."""

    def __init__(self, name: str, folder: Path) -> None:
        root = shipped("algorithms") / name
        self._manifest = load_bundle(root).manifest
        self._ready = make_ready(root, self._manifest, "cpu")
        self._first = next(iter(self._manifest.inputs))
        self._context = RunContext(device="cpu", scratch=folder)
        gate = self._manifest.gate
        self._gate = load_gate(root, self._manifest, gate) if gate else None

    def seconds(self, volume: Volume) -> tuple[float, float]:
        """Processor seconds of one forward pass of the network, and of the gate's."""
        data, _ = _prepared(self._ready, self._manifest, {self._first: volume}, self._context)
        batch = data[self._first].as_tensor()[None]
        with torch.inference_mode(), _autocast(self._ready):
            started = time.process_time()
            self._ready.network(batch)
            network = time.process_time() - started
        if self._gate is None:
            return network, 0.0
        with torch.inference_mode():
            small = gate_input(torch.tensor(volume.array)[None])
            started = time.process_time()
            self._gate(small)
            return network, time.process_time() - started


def read_all(
    name: str, count: int, folder: Path
) -> tuple[tuple[float, float], Mapping[str, float], dict[int, float]]:
    """Processor seconds of bare networks and of each stage; megabytes after some images."""
    bundle = load_bundle(shipped("algorithms") / name)
    first, me, clock = next(iter(bundle.needs)), psutil.Process(), Processor()
    radiographs, bare = Radiographs(folder), Bare(name, folder)
    network, gate = 0.0, 0.0
    memory = {}
    for number in range(count):
        path = radiographs.next(number)
        out = folder / "out"
        out.mkdir()
        clock.start()
        volume = read_series((path,))
        clock.ended("read")
        findings = bundle.run({first: volume}, RunContext(device="cpu", scratch=out))
        clock.ended("infer")
        derivation = Derivation(
            job_key=f"{number:064x}",
            revision=1,
            made_at=datetime.now(UTC),
            software_versions=("dicomnode benchmark",),
        )
        encode_results(
            findings,
            volume,
            identity=bundle.identity,
            derivation=derivation,
            out=out,
            settings=OutputSettings(),
        )
        clock.ended("encode")
        draw_overlay(volume, findings, out / "overlay.png")
        clock.ended("draw")
        shutil.rmtree(out)
        forward, small = bare.seconds(volume)
        network, gate = network + forward, gate + small
        if number == 0:
            clock.seconds, network, gate = dict.fromkeys(STAGES, 0.0), 0.0, 0.0
        if number + 1 in (10, 50, 100, 200, 400, 600, 800, count):
            memory[number + 1] = me.memory_info().rss / 1e6
            print(number + 1, f"{memory[number + 1]:.0f} MB", flush=True)
    counted = max(1, count - 1)
    stages = {stage: spent / counted for stage, spent in clock.seconds.items()}
    return (network / counted, gate / counted), stages, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--algorithm", default="cxr_thorax")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    silence_readers()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (network, gate), stages, memory = read_all(asked.algorithm, asked.images, folder)
    to_sr = sum(spent for stage, spent in stages.items() if stage != "draw")
    table = Table("stage", "processor seconds an image")
    told = {"network alone": network, "gate's network": gate, **stages, "from file to SR": to_sr}
    for stage, spent in {**told, "and overlay": to_sr + stages["draw"]}.items():
        table.add_row(stage, f"{spent:.4f}")
    console = Console()
    console.print(table)
    console.print(f"file to SR over the bare network: {100 * (to_sr / network - 1):.1f} %")
    both = 100 * (to_sr / (network + gate) - 1)
    console.print(f"file to SR over the bare network and the gate's: {both:.1f} %")
    console.print(f"resident memory, MB: { ({n: round(mb) for n, mb in memory.items()}) }")
    if asked.json is not None:
        figures = {"network_s": network, "gate_s": gate, "stages_s": stages, "memory_mb": memory}
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
