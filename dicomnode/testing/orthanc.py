"""A real Orthanc as PACS, where it is installed (Debian: `apt-get install orthanc`)."""

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from dicomnode.testing.pacs_commitment import ReportTo

PYTHON_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancPython.so")
MODALITY_NAME = "node"
_STARTED = "] Orthanc has started"
_LONGEST_START_S = 60.0
_LONGEST_END_S = 20.0


def orthanc_program() -> str | None:
    """Where the server program is, None if it is not installed."""
    return shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")


class RunningOrthanc:
    """An Orthanc with its store below `folder`, on free loopback ports; a context manager.

    Entered again, it starts again on the same store and ports. It takes C-STORE and C-FIND from
    anyone; `modality` is known to it as "node", which gets the storage commitment reports it asked
    for on a new association. `extra` adds to Orthanc's configuration, `environment` replaces ours
    (`TCP_NODELAY=1` in it spares about 40 ms an image).
    """

    def __init__(
        self,
        folder: Path,
        *,
        ae_title: str = "ORTHANC",
        modality: ReportTo | None = None,
        extra: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.ae_title = ae_title
        self.host = "127.0.0.1"
        self.dicom_port, self.http_port = _free_ports(2)
        self._folder = folder
        self._environment = environment
        self._settings: dict[str, object] = {
            "Name": ae_title,
            "DicomAet": ae_title,
            "DicomPort": self.dicom_port,
            "HttpPort": self.http_port,
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowEcho": True,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": True,
            "UnknownSopClassAccepted": False,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomModalities": {MODALITY_NAME: [modality.ae_title, modality.host, modality.port]}
            if modality
            else {},
            **(extra or {}),
        }
        self._printed = threading.Condition()
        self._lines: list[str] = []
        self._ended = True

    @property
    def url(self) -> str:
        """Of the REST interface."""
        return f"http://{self.host}:{self.http_port}"

    @property
    def log(self) -> str:
        """What Orthanc printed since it was started last; also in `orthanc.log` in its folder."""
        with self._printed:
            return "\n".join(self._lines)

    def __enter__(self) -> Self:
        program = orthanc_program()
        if program is None:
            raise FileNotFoundError("Orthanc is not installed (Debian: apt-get install orthanc)")
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "orthanc.json"
        config.write_text(json.dumps(self._settings, indent=1), encoding="utf-8")
        self._lines, self._ended = [], False
        with ExitStack() as undo:
            self._process = subprocess.Popen(  # noqa: S603 (found above, our own configuration)
                [program, str(config)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env=self._environment,
            )
            reader = threading.Thread(target=self._read_log, daemon=True)
            reader.start()
            # In this order at the end: end the process, then read what it left.
            undo.callback(reader.join)
            undo.callback(self._end_process)
            if not self.wait_for_log(_STARTED, _LONGEST_START_S):
                raise RuntimeError(f"Orthanc did not start; see {self._folder}/orthanc.log")
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._undo.close()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._process.kill()
        self._undo.close()

    def wait_for_log(self, words: str, timeout_s: float) -> bool:
        """Wait until Orthanc has printed `words`; False after `timeout_s`, or when it ended."""
        with self._printed:
            return self._printed.wait_for(
                lambda: self._ended or self._has_printed(words), timeout_s
            ) and self._has_printed(words)

    def instance_uids(self) -> set[str]:
        """SOPInstanceUID of everything it holds."""
        listed = cast("list[dict[str, dict[str, str]]]", self.get("/instances?expand"))
        return {known["MainDicomTags"]["SOPInstanceUID"] for known in listed}

    def get(self, path: str) -> object:
        """The JSON answer of the REST interface to GET `path`.

        Raises:
            ConnectionError: it answered anything but 200.
        """
        connection = HTTPConnection(self.host, self.http_port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise ConnectionError(f"Orthanc answered {answer.status} to GET {path}")
        return json.loads(content)

    def _has_printed(self, words: str) -> bool:
        return any(words in line for line in self._lines)

    def _read_log(self) -> None:
        with (self._folder / "orthanc.log").open("a", encoding="utf-8") as kept:
            for line in self._process.stderr or ():
                kept.write(line)
                with self._printed:
                    self._lines.append(line.rstrip())
                    self._printed.notify_all()
        with self._printed:
            self._ended = True
            self._printed.notify_all()

    def _end_process(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_LONGEST_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
