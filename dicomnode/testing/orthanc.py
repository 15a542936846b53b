"""A real Orthanc with a folder and ports of its own, where the program is installed."""

import json
import os
import socket
import subprocess
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Self, cast

ORTHANC = Path("/usr/sbin/Orthanc")
PYTHON_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancPython.so")
_STARTED = "Orthanc has started"
_LONGEST_START_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Modality:
    """A DICOM node that Orthanc knows by name."""

    name: str
    ae_title: str
    host: str
    port: int


class Orthanc:
    """Runs while in `with`; its index and files stay in `folder`.

    Takes C-STORE and C-FIND from anyone; storage commitment reports go to the modality whose AE
    title asked, on a new association.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ae_title: str = "ORTHANC",
        modalities: Sequence[Modality] = (),
        python_script: Path | None = None,
        stable_age_s: int = 60,
        more: dict[str, object] | None = None,
    ) -> None:
        self.ae_title = ae_title
        self.host = "127.0.0.1"
        self.dicom_port, self.http_port = _free_ports(2)
        self._folder = folder
        self._settings: dict[str, object] = {
            "Name": "dicomnode",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "index"),
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "DicomAet": ae_title,
            "DicomPort": self.dicom_port,
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": True,
            "DicomModalities": {
                known.name: [known.ae_title, known.host, known.port] for known in modalities
            },
            "StableAge": stable_age_s,
            "Plugins": [str(PYTHON_PLUGIN)] if python_script else [],
            **({"PythonScript": str(python_script)} if python_script else {}),
            **(more or {}),
        }

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        settings = self._folder / "orthanc.json"
        settings.write_text(json.dumps(self._settings, indent=2), encoding="utf-8")
        self._log: list[str] = []
        self._started = threading.Event()
        with ExitStack() as undo:
            self._process = undo.enter_context(
                subprocess.Popen(  # noqa: S603 - a fixed program with a file we wrote
                    [str(ORTHANC), str(settings)],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    # As installed it loses about 40 ms an image to Nagle's algorithm.
                    env={**os.environ, "TCP_NODELAY": "1"},
                )
            )
            reader = threading.Thread(target=self._read_log, daemon=True)
            reader.start()
            # In this order at the end: terminate, read what is left, close.
            undo.callback(reader.join)
            undo.callback(self._process.terminate)
            if not self._started.wait(_LONGEST_START_S) or self._process.poll() is not None:
                raise RuntimeError("Orthanc did not start:\n" + "\n".join(self._log[-20:]))
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._undo.close()

    @property
    def log(self) -> str:
        """What Orthanc printed so far."""
        return "\n".join(self._log)

    def _read_log(self) -> None:
        for line in self._process.stderr or ():
            self._log.append(line.rstrip())
            if _STARTED in line:
                self._started.set()
        self._started.set()

    def get(self, path: str) -> object:
        """The JSON answer of the REST API to GET `path`."""
        return self._ask("GET", path)

    def post(self, path: str, body: bytes = b"") -> object:
        """The JSON answer of the REST API to POST `path`."""
        return self._ask("POST", path, body)

    def instance_uids(self) -> set[str]:
        """SOPInstanceUID of everything it holds."""
        listed = cast("list[dict[str, dict[str, str]]]", self.get("/instances?expand"))
        return {known["MainDicomTags"]["SOPInstanceUID"] for known in listed}

    def _ask(self, method: str, path: str, body: bytes | None = None) -> object:
        connection = HTTPConnection(self.host, self.http_port, timeout=30)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise ConnectionError(f"Orthanc answered {answer.status} to {method} {path}")
        return json.loads(content)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in opened:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in opened]
