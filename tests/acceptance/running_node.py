"""A node as a process of its own, with a test bundle, for acceptance tests."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import psutil

from dicomnode.domain.errors import StudyError
from dicomnode.settings import Settings, load_settings
from dicomnode.store.database import Database
from dicomnode.store.story import JobTold, Story, story
from dicomnode.testing.bundles import BundleRecipe, write_bundle
from dicomnode.testing.pacs import EmbeddedPacs

T = TypeVar("T")

AE_TITLE = "DICOMNODE"

TRAINING_ONLY = ("SimpleITK", "ignite", "matplotlib", "nibabel", "nrrd", "pandas")
"""Of the extra `train`: a node at a site has none of it, and MONAI loads what it finds (4 s)."""

RULES = """\
[[rule]]
name = "air"
algorithm = "{algorithm}"
priority = "{priority}"
[rule.series.image]
Modality = "CT"
"""

SETTINGS = """\
ae_title = "DICOMNODE"
data_dir = "data"
rules = "rules.toml"

[receive]
port = {port}
reserve_mb = 10

[assembly]
quiet_s = {quiet_s}
released_s = {released_s}
hard_limit_s = 60.0

[flow]
devices = ["cpu"]
retry_s = 0.5

[algorithms]
roots = ["bundles"]

[web]
enabled = {web}
{web_lines}
"""

DESTINATION = """
[[destinations]]
name = "{name}"
ae_title = "{ae_title}"
host = "127.0.0.1"
port = {port}
confirm = "{confirm}"
timeout_s = 5.0
first_retry_s = 0.5
longest_retry_s = 1.0
commitment_wait_s = 1.0
"""


def as_installed_at_a_site(folder: Path) -> str:
    """PYTHONPATH under which a node finds no more than the package's own dependencies."""
    absent = folder / "absent"
    absent.mkdir(parents=True, exist_ok=True)
    for name in TRAINING_ONLY:
        text = f'raise ModuleNotFoundError("No module named {name!r}", name={name!r})\n'
        (absent / f"{name}.py").write_text(text, encoding="ascii")
    return os.pathsep.join([str(absent), *filter(None, [os.environ.get("PYTHONPATH")])])


# Below the ports the system gives to connections (32768 and up), and for each of the runs beside
# each other a range of its own: what is free now must be so when the node opens it.
_RUN = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_PORTS = itertools.cycle(range(20_000 + 500 * (_RUN % 24), 20_500 + 500 * (_RUN % 24)))


def free_port() -> int:
    """A loopback port that nobody listens on."""
    for port in itertools.islice(_PORTS, 500):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def eventually(
    look: Callable[[], T | None], *, what: str | Callable[[], str], timeout_s: float = 180.0
) -> T:
    """The first truthy answer of `look`; fails the test if there is none in time.

    `what` may be a function: it then tells how things stood at the end.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        seen = look()
        if seen:
            return seen
        time.sleep(0.05)
    told = what if isinstance(what, str) else what()
    raise AssertionError(f"not in {timeout_s:.0f} s: {told}")


@dataclass(kw_only=True)
class NodeUnderTest:
    """Settings, rules and bundles below `folder`; the process may be killed and started again."""

    folder: Path
    recipe: BundleRecipe = field(default_factory=lambda: BundleRecipe(time_limit_s=300.0))
    quiet_s: float = 1.0
    released_s: float = 0.3
    priority: str = "routine"
    port: int = field(default_factory=free_port)
    environment: dict[str, str] = field(default_factory=dict)
    serve_options: tuple[str, ...] = ()
    web: bool = False
    web_lines: str = "port = 0"
    process: "subprocess.Popen[bytes] | None" = None

    def prepare(self, destinations: Sequence[str] = ()) -> Self:
        """Write everything the node reads."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_bundle(self.folder / "bundles", self.recipe)
        rules = RULES.format(algorithm=self.recipe.name, priority=self.priority)
        (self.folder / "rules.toml").write_text(rules, encoding="utf-8")
        text = SETTINGS.format(
            port=self.port,
            quiet_s=self.quiet_s,
            released_s=self.released_s,
            web=str(self.web).lower(),
            web_lines=self.web_lines,
        ) + "".join(destinations)
        self.settings_path.write_text(text, encoding="utf-8")
        return self

    @property
    def settings_path(self) -> Path:
        """Of the settings file."""
        return self.folder / "dicomnode.toml"

    @property
    def settings(self) -> Settings:
        """As the node reads them."""
        return load_settings(self.settings_path, self.environment)

    @property
    def database(self) -> Database:
        """The node's index."""
        return Database(self.settings.index_url, self.settings.data_dir)

    @property
    def log(self) -> str:
        """What the node printed so far."""
        return (self.folder / "node.log").read_text(encoding="utf-8")

    def start(self) -> Self:
        """Start the process and wait for its port."""
        self.process = self.run("serve", *self.serve_options)
        what = f"the node opens its port; {self.folder / 'node.log'}"
        # Its start loads torch, which takes a minute on a machine that has other work.
        try:
            eventually(self._listens, what=what, timeout_s=300.0)
        except AssertionError:
            self.kill()
            raise
        return self

    def run(self, command: str, *options: str) -> "subprocess.Popen[bytes]":
        """Start a command with the node's settings and environment, in a group of its own."""
        arguments = [sys.executable, "-m", "dicomnode", *command.split(), *options]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": as_installed_at_a_site(self.folder),
            **self.environment,
        }
        with (self.folder / "node.log").open("ab") as log:
            return subprocess.Popen(
                [*arguments, "-s", str(self.settings_path)],
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """kill -9 of the node and everything it started, as a power failure would."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def children(self) -> list[psutil.Process]:
        """Processes the node has started."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self) -> None:
        """SIGTERM, as a service manager does."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                self.kill()
                raise

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def story(self, study_uid: str) -> Story | None:
        """What the node knows of a study, None if nothing."""
        database = self.database
        try:
            return story(database, study_uid)
        except StudyError:
            return None
        finally:
            database.dispose()

    def job_of(
        self, study_uid: str, *states: str, timeout_s: float = 300.0, count: int = 1
    ) -> JobTold:
        """The study's last job, once there are `count` and it stands in one of `states`."""

        def look() -> JobTold | None:
            told = self.story(study_uid)
            jobs = told.jobs if told else ()
            done = len(jobs) >= count and jobs[-1].state in states
            return jobs[-1] if done else None

        return eventually(
            look,
            what=lambda: f"{count} jobs of {study_uid} in {states}: {self.story(study_uid)}",
            timeout_s=timeout_s,
        )

    def delivered(
        self, study_uid: str, state: str = "confirmed", *, timeout_s: float = 300.0, count: int = 1
    ) -> JobTold:
        """The study's last job, once all its objects stand in `state` at every destination."""

        def look() -> JobTold | None:
            told = self.story(study_uid)
            jobs = told.jobs if told else ()
            if len(jobs) < count or not jobs[-1].deliveries:
                return None
            return jobs[-1] if all(d.state == state for d in jobs[-1].deliveries) else None

        return eventually(look, what=f"results of {study_uid} {state}", timeout_s=timeout_s)


def destination(pacs: EmbeddedPacs, *, name: str = "archive", confirm: str = "read-back") -> str:
    """Settings for a destination at `pacs`."""
    return DESTINATION.format(name=name, ae_title=pacs.ae_title, port=pacs.port, confirm=confirm)
