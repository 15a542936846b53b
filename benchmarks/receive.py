"""Receiving speed: the node beside DCMTK storescp and Orthanc, interleaved in one run.

    python benchmarks/receive.py [--quick] [--repeats N] [--json FILE] [--postgresql URL]

Sender is DCMTK storescu with its defaults, on this machine. Each run starts its receiver with an
empty store. The node flushes each file, commits its row (SQLite, WAL, synchronous=FULL) and hashes
the bytes before it answers; storescp and Orthanc do none of these by default. As installed, both
lose about 40 ms an image to Nagle's algorithm, so they are also run with TCP_NODELAY=1 in their
environment: that is the harder reference. Peers that are not installed are named and skipped.

On a machine that is busy with other work, `chrt -r 1 python benchmarks/receive.py` gives all
receivers and senders the same precedence over it.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import MultiFrameGrayscaleWordSecondaryCaptureImageStorage

from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series

STORESCU, STORESCP, ORTHANC = "/usr/bin/storescu", "/usr/bin/storescp", "/usr/sbin/Orthanc"


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is sent: one storescu for each folder, all at once."""

    name: str
    folders: tuple[Path, ...]
    images: int


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A receiver: how to start it on a port with an empty folder, and in which environment."""

    name: str
    command: Callable[[int, Path, Load], Sequence[str]]
    environment: Mapping[str, str]
    needs: str | None = None


def node_command(port: int, folder: Path, _load: Load) -> Sequence[str]:
    return [sys.executable, __file__, "--serve", str(port), "--folder", str(folder)]


def storescp_command(port: int, folder: Path, load: Load) -> Sequence[str]:
    fork = ["--fork"] if len(load.folders) > 1 else []
    return [STORESCP, "+xa", *fork, "-od", str(folder), str(port)]


def orthanc_command(port: int, folder: Path, _load: Load) -> Sequence[str]:
    config = folder / "orthanc.json"
    config.write_text(
        json.dumps(
            {
                "StorageDirectory": str(folder / "db"),
                "IndexDirectory": str(folder / "db"),
                "DicomPort": port,
                "HttpServerEnabled": False,
                "DicomCheckCalledAet": False,
                "Plugins": [],
            }
        )
    )
    return [ORTHANC, str(config)]


NODELAY = {"TCP_NODELAY": "1"}
PEERS = (
    Peer(name="node", command=node_command, environment={}),
    Peer(name="storescp", command=storescp_command, environment=NODELAY, needs=STORESCP),
    Peer(name="Orthanc", command=orthanc_command, environment=NODELAY, needs=ORTHANC),
)
AS_INSTALLED = (
    Peer(name="storescp as installed", command=storescp_command, environment={}, needs=STORESCP),
    Peer(name="Orthanc as installed", command=orthanc_command, environment={}, needs=ORTHANC),
)


def write_slices(folder: Path, count: int, side: int = 512) -> list[Path]:
    """CT slices of `side` x `side`, 16 bits, noise: about 525 KB each for 512."""
    folder.mkdir()
    noise = np.random.default_rng(1)
    paths = []
    for start in range(0, count, 50):
        geometry = SeriesGeometry(rows=side, columns=side, slices=min(50, count - start))
        pixels = noise.integers(-1000, 2000, (geometry.slices, side, side), dtype=np.int16)
        for ds in ct_series(StudyIdentity(seed=f"benchmark {start}"), geometry, pixels):
            paths.append(folder / f"{start:03}-{ds.InstanceNumber:03}.dcm")
            ds.save_as(paths[-1], enforce_file_format=True)
    return paths


def write_multi_frame(folder: Path, frames: int = 400) -> Path:
    """One object of `frames` x 512 x 512 x 16 bits: 210 MB for 400."""
    folder.mkdir()
    geometry = SeriesGeometry(rows=512, columns=512, slices=1)
    ds: Dataset = ct_series(StudyIdentity(seed="multi-frame"), geometry)[0]
    ds.SOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.NumberOfFrames = frames
    ds.PixelData = np.random.default_rng(2).bytes(frames * 512 * 512 * 2)
    ds.save_as(folder / "frames.dcm", enforce_file_format=True)
    return folder


def share_out(paths: Sequence[Path], folder: Path, associations: int) -> tuple[Path, ...]:
    """Folders of links, one for each association."""
    folders = tuple(folder / f"{associations}-{number}" for number in range(associations))
    for number, part in enumerate(folders):
        part.mkdir(parents=True)
        for path in paths[number::associations]:
            os.link(path, part / path.name)
    return folders


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_once(peer: Peer, load: Load, scratch: Path) -> tuple[float, int]:
    """Seconds until every sender ended, and the receiver's peak resident memory in MB."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    port = free_port()
    environment = {key: value for key, value in os.environ.items() if key != "TCP_NODELAY"}
    receiver = subprocess.Popen(
        peer.command(port, folder, load),
        env={**environment, **peer.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_port(port, receiver)
        os.sync()
        began = time.perf_counter()
        senders = [
            subprocess.Popen(
                [STORESCU, "+sd", "127.0.0.1", str(port), str(part)],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for part in load.folders
        ]
        if any(sender.wait(timeout=300) for sender in senders):
            raise RuntimeError(f"{peer.name}: a sender failed")
        seconds = time.perf_counter() - began
        return seconds, peak_mb(receiver.pid)
    finally:
        receiver.send_signal(signal.SIGTERM)
        try:
            receiver.wait(timeout=20)
        except subprocess.TimeoutExpired:
            receiver.kill()
            receiver.wait()
        shutil.rmtree(folder, ignore_errors=True)


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError("the receiver ended before it listened")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError("the receiver never listened")


def peak_mb(pid: int) -> int:
    """VmHWM of the process itself (children of storescp --fork are not in it)."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


def measure(
    loads: Sequence[tuple[Load, Sequence[Peer]]], repeats: int, scratch: Path
) -> list[dict[str, object]]:
    """One row for each load and peer; the peers of a load take turns, in an order that rotates."""
    rows: list[dict[str, object]] = []
    for load, peers in loads:
        seconds: dict[str, list[float]] = {peer.name: [] for peer in peers}
        memory = dict.fromkeys(seconds, 0)
        for turn in range(repeats):
            for peer in (*peers[turn % len(peers) :], *peers[: turn % len(peers)]):
                took, peak = run_once(peer, load, scratch)
                seconds[peer.name].append(took)
                memory[peer.name] = max(memory[peer.name], peak)
        rows += [row(load, peer.name, seconds, memory[peer.name]) for peer in peers]
        for line in rows[-len(peers) :]:
            print(format_row(line), flush=True)
    return rows


def row(
    load: Load, name: str, seconds: Mapping[str, Sequence[float]], peak: int
) -> dict[str, object]:
    node = seconds["node"]
    ratios = [theirs / ours for ours, theirs in zip(node, seconds[name], strict=True)]
    return {
        "load": load.name,
        "receiver": name,
        "images": load.images,
        "seconds": [round(value, 4) for value in seconds[name]],
        "images_per_s": round(load.images / statistics.median(seconds[name]), 1),
        "node_over_this": round(statistics.median(seconds[name]) / statistics.median(node), 2),
        "node_over_this_range": [round(min(ratios), 2), round(max(ratios), 2)],
        "peak_rss_mb": peak,
    }


HEADER = (
    f"{'load':22} {'receiver':22} {'img/s':>8} {'median s':>9} {'min-max s':>15} "
    f"{'node/this':>9} {'range':>13} {'RSS MB':>7}"
)


def format_row(line: Mapping[str, object]) -> str:
    seconds = line["seconds"]
    low, high = line["node_over_this_range"]  # type: ignore[misc]
    assert isinstance(seconds, list)
    return (
        f"{line['load']:22} {line['receiver']:22} {line['images_per_s']:>8} "
        f"{statistics.median(seconds):>9.3f} {min(seconds):>7.3f}-{max(seconds):<7.3f} "
        f"{line['node_over_this']:>9} {low:>6}-{high:<6} {line['peak_rss_mb']:>7}"
    )


def serve(port: int, folder: Path, database_url: str) -> None:
    """The node's receiver as `dicomnode serve` runs it: its own process, SQL index."""
    from dicomnode.receive.receiver import start_receiver
    from dicomnode.receive.tuning.process import tune_process
    from dicomnode.settings import ReceiveSettings
    from dicomnode.store.database import Database
    from dicomnode.store.landing import SqlInstanceIndex
    from dicomnode.store.tables import Base

    tune_process()
    database = Database(database_url or f"sqlite:///{folder}/index.sqlite", folder)
    if database_url:
        Base.metadata.drop_all(database.engine)
    Base.metadata.create_all(database.engine)
    with start_receiver(
        ReceiveSettings(),
        ae_title="DICOMNODE",
        data_dir=folder,
        index=SqlInstanceIndex(database, receiver="benchmark"),
        clock=lambda: datetime.now(UTC),
        on_event=lambda _event: None,
        port=port,
    ):
        signal.sigwait({signal.SIGTERM})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="60 images, 2 repeats, no 200 MB")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--postgresql", default="", help="keep the node's index at this URL")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        serve(given.serve, given.folder, os.environ.get("BENCHMARK_DATABASE_URL", ""))
        return
    os.environ["BENCHMARK_DATABASE_URL"] = given.postgresql
    if not Path(STORESCU).exists():
        sys.exit(f"{STORESCU} is not installed: nothing can be sent")
    with tempfile.TemporaryDirectory(prefix="receive-benchmark-") as scratch_name:
        rows = benchmark(Path(scratch_name), quick=given.quick, repeats=given.repeats)
    if given.json:
        given.json.write_text(
            json.dumps({"machine": platform.platform(), "cpus": os.cpu_count(), "rows": rows})
        )


def benchmark(scratch: Path, *, quick: bool, repeats: int) -> list[dict[str, object]]:
    for missing in sorted({peer.needs for peer in PEERS if peer.needs} - existing()):
        print(f"skipped: {missing} is not installed")
    images = 60 if quick else 300
    slices = write_slices(scratch / "slices", images)
    everyone = available((*PEERS, *AS_INSTALLED))
    loads = [
        (slices_load(slices, scratch / "all", 1), everyone),
        (slices_load(slices, scratch / "all", 8), everyone),
    ]
    if not quick:
        small = write_slices(scratch / "small", 32, side=64)
        loads.append((slices_load(slices, scratch / "all", 32), everyone))
        loads.append((slices_load(small, scratch / "all small", 32), everyone))
        frames = write_multi_frame(scratch / "frames")
        loads.append((Load(name="one of 210 MB", folders=(frames,), images=1), available(PEERS)))
    print(HEADER)
    return measure(loads, 2 if quick else repeats, scratch)


def slices_load(paths: Sequence[Path], folder: Path, associations: int) -> Load:
    return Load(
        name=f"{len(paths)} CT, {associations} assoc",
        folders=share_out(paths, folder, associations),
        images=len(paths),
    )


def existing() -> set[str]:
    return {path for path in (STORESCP, ORTHANC) if Path(path).exists()}


def available(peers: Sequence[Peer]) -> tuple[Peer, ...]:
    return tuple(peer for peer in peers if peer.needs is None or peer.needs in existing())


if __name__ == "__main__":
    main()
