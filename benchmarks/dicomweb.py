"""DICOMweb of the node and of Orthanc, one after the other in the same run.

`python benchmarks/dicomweb.py --repeats 3` prints images and answers a second, and their ratio;
`--frames 9` the processor time of single frames, in nine rounds.
The node is its whole web process, asked with a token, with its durable landing; Orthanc (Debian,
with its DICOMweb plug-in) is as installed.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path

import numpy as np
import psutil
from pydicom import dcmwrite
from pydicom.dataset import Dataset

from dicomnode.assembly.headers import read_header
from dicomnode.domain.access import Role
from dicomnode.settings import ReceiveSettings, Settings, WebSettings
from dicomnode.store.accounts import add_account
from dicomnode.store.database import Database
from dicomnode.store.indexing import Indexed, index_instances, landed_instances
from dicomnode.store.schema import upgrade
from dicomnode.store.sessions import add_token
from dicomnode.testing.orthanc import RunningOrthanc
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series
from dicomnode.web.passwords import new_token, token_hash
from dicomnode.web.serving import WebServer

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
AS_STORED = "multipart/related; type=application/octet-stream; transfer-syntax=*"
DECODED = "multipart/related; type=application/octet-stream"
FILES = 'multipart/related; type="application/dicom"; transfer-syntax=*'
JSON = "application/dicom+json"


@dataclass
class Server:
    """One DICOMweb service."""

    name: str
    port: int
    pid: int
    headers: dict[str, str] = field(default_factory=dict)
    settle: Callable[[], None] = lambda: None
    """Called after storing, before anything is retrieved."""

    def connection(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=300)

    def get(self, connection: HTTPConnection, path: str, accept: str) -> bytes:
        connection.request("GET", f"/dicom-web{path}", headers={**self.headers, "Accept": accept})
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, (self.name, path, answer.status, content[:300])
        return content

    def post(self, connection: HTTPConnection, body: bytes) -> None:
        kind = 'multipart/related; type="application/dicom"; boundary=b0und4ry'
        headers = {**self.headers, "Content-Type": kind, "Accept": JSON}
        connection.request("POST", "/dicom-web/studies", body=body, headers=headers)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, (self.name, answer.status, content[:300])


def serve(folder: Path) -> None:
    """The node's web process over an empty index; prints its port and a token."""
    settings = Settings(
        data_dir=folder, web=WebSettings(port=0), receive=ReceiveSettings(reserve_mb=0)
    )
    database = Database(settings.index_url, folder)
    upgrade(database)
    now = datetime.now(UTC)
    add_account(database, name="bench", role=Role.READER, password_hash="-", now=now)
    token = new_token("dn_")
    add_token(database, "bench", token_hash(token), "benchmark", now, lasts=None)
    server = WebServer(settings, database)
    server.start()
    print(server.port, token, flush=True)
    sys.stdin.read()
    server.stop()


@contextmanager
def node(folder: Path) -> Iterator[Server]:
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, __file__, "--serve", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        port, token = process.stdout.readline().split()
        database = Database(f"sqlite:///{folder / 'index.sqlite'}", folder)

        def index() -> None:
            while landed := landed_instances(database, 200):
                read = [Indexed(landed=one, header=read_header(one.path)) for one in landed]
                index_instances(database, read, [], datetime.now(UTC))

        yield Server(
            name="node",
            port=int(port),
            pid=process.pid,
            headers={"Authorization": f"Bearer {token}"},
            settle=index,
        )
        process.communicate()


@contextmanager
def orthanc(folder: Path) -> Iterator[Server]:
    environment = {**os.environ, "TCP_NODELAY": "1"}
    extra: dict[str, object] = {"Plugins": [str(PLUGIN)]}
    with RunningOrthanc(folder, extra=extra, environment=environment) as running:
        pid = next(one.pid for one in psutil.Process().children() if "Orthanc" in one.name())
        yield Server(name="Orthanc", port=running.http_port, pid=pid)


def slices(count: int, size: int, seed: str) -> list[Dataset]:
    geometry = SeriesGeometry(rows=size, columns=size, slices=count)
    noise = np.random.default_rng(1).integers(-1000, 1000, (count, size, size), dtype=np.int16)
    return ct_series(StudyIdentity(seed=seed), geometry, noise)


def body(datasets: Sequence[Dataset]) -> bytes:
    parts = []
    for ds in datasets:
        buffer = BytesIO()
        dcmwrite(buffer, ds, enforce_file_format=True)
        parts.append(b"--b0und4ry\r\nContent-Type: application/dicom\r\n\r\n" + buffer.getvalue())
    return b"\r\n".join(parts) + b"\r\n--b0und4ry--\r\n"


def shared_out(
    work: Sequence[Callable[[HTTPConnection], object]], server: Server, clients: int
) -> float:
    """Seconds that `clients` connections need for the work."""

    def run(mine: Sequence[Callable[[HTTPConnection], object]]) -> None:
        connection = server.connection()
        for one in mine:
            one(connection)
        connection.close()

    threads = [threading.Thread(target=run, args=(work[at::clients],)) for at in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def measure(server: Server, images: int, size: int) -> dict[str, float]:
    """Load -> images (or answers) a second."""
    rates: dict[str, float] = {}

    def stow(name: str, each: int, clients: int) -> list[Dataset]:
        datasets = slices(images, size, f"{name}")
        bodies = [body(datasets[at : at + each]) for at in range(0, images, each)]
        work = [lambda c, b=one: server.post(c, b) for one in bodies]
        rates[name] = images / shared_out(work, server, clients)
        return datasets

    stow("STOW, one image a request", 1, 1)
    stow("STOW, one image a request, 4 clients", 1, 4)
    datasets = stow("STOW, 50 images a request", 50, 1)
    server.settle()
    study, series = datasets[0].StudyInstanceUID, datasets[0].SeriesInstanceUID
    base = f"/studies/{study}/series/{series}"
    for name, accept in (("as stored", AS_STORED), ("decoded", DECODED)):
        work = [
            lambda c, u=ds.SOPInstanceUID, a=accept: server.get(
                c, f"{base}/instances/{u}/frames/1", a
            )
            for ds in datasets
        ]
        rates[f"frames {name}, 1 client"] = images / shared_out(work, server, 1)
        rates[f"frames {name}, 4 clients"] = images / shared_out(work, server, 4)
    once: dict[str, Callable[[HTTPConnection], object]] = {
        "metadata of the series": lambda c: server.get(c, f"{base}/metadata", JSON),
        "the same again": lambda c: server.get(c, f"{base}/metadata", JSON),
        "files of the series": lambda c: server.get(c, base, FILES),
    }
    for name, one in once.items():
        rates[name] = images / shared_out([one], server, 1)
    searches = [lambda c: server.get(c, "/studies?PatientName=Test*&limit=10", JSON)] * 50
    rates["searches for studies (a second)"] = 50 / shared_out(searches, server, 1)
    rates["peak memory, MB"] = psutil.Process(server.pid).memory_info().rss / 1e6
    return rates


def frame_costs(server: Server, images: int, size: int, rounds: int) -> list[float]:
    """Processor milliseconds of the server's process for one frame as stored, one a round."""
    datasets = slices(images, size, "frames")
    connection = server.connection()
    server.post(connection, body(datasets))
    server.settle()
    base = f"/studies/{datasets[0].StudyInstanceUID}/series/{datasets[0].SeriesInstanceUID}"
    process = psutil.Process(server.pid)
    costs = []
    # The first round opens files and connections, and is left out.
    for _ in range(rounds + 1):
        before = process.cpu_times()
        for ds in datasets:
            server.get(connection, f"{base}/instances/{ds.SOPInstanceUID}/frames/1", AS_STORED)
        after = process.cpu_times()
        spent = after.user + after.system - before.user - before.system
        costs.append(1000 * spent / images)
    connection.close()
    return costs[1:]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, help="only the processor time of single frames")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--serve", type=Path)
    chosen = parser.parse_args()
    if chosen.serve is not None:
        serve(chosen.serve)
        return
    if chosen.frames is not None:
        for kind in (node, orthanc):
            with tempfile.TemporaryDirectory() as scratch, kind(Path(scratch) / "store") as server:
                costs = sorted(frame_costs(server, chosen.images, chosen.size, chosen.frames))
                middle = statistics.median(costs)
                print(f"{server.name}: {middle:.1f} ms ({costs[0]:.1f} to {costs[-1]:.1f})")
        return
    found: dict[str, list[dict[str, float]]] = {"node": [], "Orthanc": []}
    for number in range(chosen.repeats):
        for kind in (node, orthanc):
            folder = Path(tempfile.mkdtemp(prefix="dicomweb-"))
            with kind(folder / "store") as server:
                found[server.name].append(measure(server, chosen.images, chosen.size))
            shutil.rmtree(folder)
        print(f"run {number + 1} of {chosen.repeats} done", file=sys.stderr, flush=True)
    load = f"load, {chosen.images} images of {chosen.size}x{chosen.size}"
    print(f"| {load} | node | Orthanc | ratio (range) |")
    print("|---|---|---|---|")
    for name in found["node"][0]:
        mine = [run[name] for run in found["node"]]
        theirs = [run[name] for run in found["Orthanc"]]
        ratios = sorted(a / b for a, b in zip(mine, theirs, strict=True))
        print(
            f"| {name} | {statistics.median(mine):.0f} | {statistics.median(theirs):.0f} "
            f"| {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |"
        )


if __name__ == "__main__":
    main()
