"""Opening a CT series as a `Volume`, beside plain pydicom reading in a loop.

    python benchmarks/volume.py [--slices N] [--repeats N] [--json FILE]

Plain pydicom: dcmread and pixel_array of every file, rescaled to float32 and put into one array,
sorted by position: no check of anything. Both read the same files, generated here with a header
of a scanner's size, in turns, from a warm file cache. Quoted is the ratio of the best times of
each, by the clock and by processor time (which other work on the machine disturbs less). Memory
is the peak of Python's and numpy's allocations beyond the array itself.
"""

import argparse
import json
import platform
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from dicomnode.pipeline.volume import read_volume
from dicomnode.testing.multiframe import enhanced
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Figure:
    name: str
    files: int
    node_s: float
    pydicom_s: float
    ratio: float
    cpu_ratio: float
    node_extra_mb: float
    pydicom_extra_mb: float


def add_usual_attributes(ds: Dataset) -> None:
    """About as many elements, some private, as scanners write."""
    block = ds.private_block(0x0009, "DICOMNODE BENCHMARK", create=True)
    for element in range(60):
        block.add_new(element, "LO", f"value {element}")
    for keyword in ("ProtocolName", "StationName", "ConvolutionKernel", "SoftwareVersions"):
        setattr(ds, keyword, "CHEST")
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99X", "Chest"
    ds.ProcedureCodeSequence = [code]


def write_series(folder: Path, datasets: Sequence[Dataset], uid: str) -> list[Path]:
    paths = []
    for number, ds in enumerate(datasets):
        if uid == RLELossless:
            ds.compress(RLELossless, generate_instance_uid=False)
        ds.file_meta.TransferSyntaxUID = UID(uid)
        # Peers name files by UID: their order says nothing of positions.
        paths.append(folder / f"{number * 7919 % len(datasets):05}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return sorted(paths)


def plain_pydicom(paths: Sequence[Path]) -> Array:
    slices = []
    for path in paths:
        ds = dcmread(path)
        pixels = ds.pixel_array.astype(np.float32)
        pixels *= float(ds.RescaleSlope)
        pixels += float(ds.RescaleIntercept)
        slices.append((float(ds.ImagePositionPatient[2]), pixels))
    slices.sort(key=lambda one: one[0])
    return np.stack([pixels for _, pixels in slices])


def plain_pydicom_multiframe(paths: Sequence[Path]) -> Array:
    ds = dcmread(paths[0])
    shared = ds.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0]
    array = ds.pixel_array.astype(np.float32)
    array *= float(shared.RescaleSlope)
    array += float(shared.RescaleIntercept)
    return array


def node(paths: Sequence[Path]) -> Array:
    return read_volume(paths).array


def seconds(read: Callable[[Sequence[Path]], Array], paths: Sequence[Path]) -> tuple[float, float]:
    """By the clock, and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    read(paths)
    return time.perf_counter() - clock, time.process_time() - processor


def extra_mb(read: Callable[[Sequence[Path]], Array], paths: Sequence[Path]) -> float:
    tracemalloc.start()
    array = read(paths)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return (peak - array.nbytes) / 1e6


def compare(
    name: str,
    paths: Sequence[Path],
    plain: Callable[[Sequence[Path]], Array],
    repeats: int,
    advance: Callable[[], None],
) -> Figure:
    np.testing.assert_array_equal(node(paths), plain(paths))
    ours, theirs = [], []
    for _ in range(repeats):
        theirs.append(seconds(plain, paths))
        ours.append(seconds(node, paths))
        advance()
    (node_s, node_cpu), (pydicom_s, pydicom_cpu) = (
        (min(clock for clock, _ in times), min(cpu for _, cpu in times)) for times in (ours, theirs)
    )
    return Figure(
        name=name,
        files=len(paths),
        node_s=node_s,
        pydicom_s=pydicom_s,
        ratio=node_s / pydicom_s,
        cpu_ratio=node_cpu / pydicom_cpu,
        node_extra_mb=extra_mb(node, paths),
        pydicom_extra_mb=extra_mb(plain, paths),
    )


def measure(slices: int, repeats: int, progress: Progress) -> list[Figure]:
    geometry = SeriesGeometry(rows=512, columns=512, slices=slices, spacing_mm=(1.0, 0.7, 0.7))
    datasets = ct_series(StudyIdentity(seed="benchmark"), geometry)
    for ds in datasets:
        add_usual_attributes(ds)
    task = progress.add_task("volume", total=4 * repeats)
    figures = []
    with tempfile.TemporaryDirectory() as temporary:
        for uid in (ExplicitVRLittleEndian, ImplicitVRLittleEndian, "multi-frame", RLELossless):
            folder = Path(temporary, uid)
            folder.mkdir()
            multi = uid == "multi-frame"
            progress.update(task, description=uid if multi else UID(uid).name)
            written = [enhanced(datasets)] if multi else datasets
            paths = write_series(folder, written, ExplicitVRLittleEndian if multi else uid)
            figures.append(
                compare(
                    "Enhanced multi-frame" if multi else UID(uid).name,
                    paths,
                    plain_pydicom_multiframe if multi else plain_pydicom,
                    repeats,
                    lambda: progress.advance(task),
                )
            )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    console = Console()
    with Progress(console=console) as progress:
        figures = measure(arguments.slices, arguments.repeats, progress)
    table = Table(
        "series", "node s", "pydicom s", "ratio", "CPU ratio", "node + MB", "pydicom + MB"
    )
    for figure in figures:
        table.add_row(
            figure.name,
            f"{figure.node_s:.3f}",
            f"{figure.pydicom_s:.3f}",
            f"{figure.ratio:.2f}",
            f"{figure.cpu_ratio:.2f}",
            f"{figure.node_extra_mb:.1f}",
            f"{figure.pydicom_extra_mb:.1f}",
        )
    console.print(table)
    if arguments.json:
        report = {"machine": platform.platform(), "figures": [asdict(one) for one in figures]}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
