"""Several processes share the work on PostgreSQL: some die, some stop and wake up.

Real processes, a real database and a real peer; the models alone are stand-ins.
"""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dicomnode.receiving import now
from dicomnode.store.database import Database
from dicomnode.store.schema import upgrade
from dicomnode.testing.misbehaviour import Misbehaviour
from dicomnode.testing.pacs import EmbeddedPacs
from tests.acceptance.running_node import eventually
from tests.contract.store_scenes import lung_match, match_lungs, received_revision

pytestmark = pytest.mark.timeout(900)
pytest_plugins = ["tests.contract.postgresql"]

ROOT = Path(__file__).parents[2]
# As in sharing_process, which is not imported: it would put a flow into this process's registry.
ALGORITHMS = [f"model-{number:02}" for number in range(12)]
SLOTS = 2


class Sharing:
    """The database and files that processes share."""

    def __init__(self, folder: Path, url: str, pacs: EmbeddedPacs) -> None:
        self.folder = folder
        self.pacs = pacs
        self.database = Database(url, folder)
        self._url = url
        self._processes: list[subprocess.Popen[str]] = []
        upgrade(self.database)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Ends whatever was started."""
        try:
            yield
        finally:
            for process in self._processes:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.communicate()
            self.database.dispose()

    def start(self, name: str) -> "subprocess.Popen[str]":
        """One more process; returns when it takes work."""
        arguments = [name, str(self.folder), self._url, str(self.pacs.port)]
        with (self.folder / f"{name}.log").open("a", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.sharing_process", *arguments],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n", (self.folder / f"{name}.log").read_text()
        return process

    def make_jobs(self, algorithms: list[str]) -> None:
        """Jobs of one study; whoever reconciles first starts them."""
        revision = received_revision(self.database)
        for algorithm in algorithms:
            with self.database.writing() as connection:
                connection.exec_driver_sql("UPDATE revision SET matched_at = NULL")
            found = lung_match(algorithm=algorithm, destinations=("pacs",))
            match_lungs(self.database, revision, found, now())

    def hold(self) -> None:
        """Models begin, but do not end."""
        (self.folder / "hold").touch()

    def let_go(self) -> None:
        """They end."""
        (self.folder / "hold").unlink()

    def runs(self) -> list[list[str]]:
        """[job, process] of each model that began."""
        path = self.folder / "runs"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def names(self, event: str) -> int:
        """How often an event was written."""
        return self._count("event", "name", event)

    def delivered(self) -> int:
        """Objects that the destination took, as the index tells."""
        return self._count("delivery", "state", "sent-unconfirmed")

    def _count(self, table: str, column: str, value: str) -> int:
        with self.database.reading() as connection:
            query = f"SELECT count(*) FROM {table} WHERE {column} = '{value}'"
            return int(connection.exec_driver_sql(query).scalar_one())

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Fails with what the processes said."""
        try:
            eventually(holds, what=what, timeout_s=200)
        except AssertionError as exc:
            said = [path.read_text()[-3000:] for path in self.folder.glob("*.log")]
            raise AssertionError(f"{exc}: {said}") from exc


@pytest.fixture
def sharing(tmp_path: Path, postgresql_url: str) -> Iterator[Sharing]:
    (tmp_path / "data").mkdir()
    with EmbeddedPacs(tmp_path / "pacs") as pacs:
        shared = Sharing(tmp_path / "data", postgresql_url, pacs)
        with shared.running():
            yield shared


def test_work_of_a_killed_process_and_of_a_stopped_one_is_done_once_by_the_others(
    sharing: Sharing,
) -> None:
    sharing.hold()
    sharing.make_jobs(ALGORITHMS)
    killed, stopped = sharing.start("killed"), sharing.start("stopped")
    sharing.until(lambda: len(sharing.runs()) == 2 * SLOTS, "both are busy")
    assert Counter(name for _, name in sharing.runs()) == {"killed": SLOTS, "stopped": SLOTS}, (
        "each process runs as many as it has devices"
    )
    killed.send_signal(signal.SIGKILL)
    stopped.send_signal(signal.SIGSTOP)
    sharing.start("third")
    sharing.until(lambda: sharing.names("worker.lost") == 2, "both are missed")
    sharing.let_go()
    sharing.until(lambda: sharing.delivered() == 2 * len(ALGORITHMS), "all is delivered")
    stopped.send_signal(signal.SIGCONT)
    sharing.until(lambda: sharing.names("worker.back") == 1, "the stopped one begins anew")
    ran = Counter(job for job, _ in sharing.runs())
    assert len(ran) == len(ALGORITHMS)
    twice = [job for job, times in ran.items() if times > 1]
    assert len(twice) == sharing.names("job.taken-over") == 2 * SLOTS, "only what was in hand"
    assert sharing.names("job.succeeded") == len(ALGORITHMS)
    sent = Counter(answer.sop_instance_uid for answer in sharing.pacs.answers)
    assert set(sent.values()) == {1}, "the PACS was given each object once"
    assert len(sent) == 2 * len(ALGORITHMS)
    # The woken one is as good as new.
    os.kill(sharing._processes[-1].pid, signal.SIGKILL)
    sharing.pacs.misbehaviour = Misbehaviour()
    revision_of_more(sharing)
    sharing.until(
        lambda: sharing.names("job.succeeded") == len(ALGORITHMS) + 1, "the woken one works"
    )
    assert sharing.runs()[-1][1] == "stopped"


def revision_of_more(sharing: Sharing) -> None:
    """One more job on the same study, asked for by a second rule."""
    with sharing.database.writing() as connection:
        connection.exec_driver_sql("UPDATE revision SET matched_at = NULL")
        revision = int(connection.exec_driver_sql("SELECT id FROM revision").scalar_one())
    found = lung_match(rule_name="another", algorithm=ALGORITHMS[0], destinations=("pacs",))
    match_lungs(sharing.database, revision, found, now())


def test_a_process_stopped_while_it_sends_sends_no_further_and_records_nothing(
    sharing: Sharing,
) -> None:
    sharing.make_jobs(ALGORITHMS[:1])
    sharing.pacs.misbehaviour = Misbehaviour(answer_after_s=30.0)
    stopped = sharing.start("stopped")
    sharing.until(lambda: attempts(sharing) == [0, 1], "the first object is on its way")
    stopped.send_signal(signal.SIGSTOP)
    sharing.pacs.misbehaviour = Misbehaviour()
    sharing.start("other")
    sharing.until(lambda: sharing.delivered() == 2, "the other one delivers both")
    stopped.send_signal(signal.SIGCONT)
    sharing.until(lambda: sharing.names("worker.back") == 1, "the stopped one begins anew")
    sharing.until(lambda: len(sharing.pacs.answers) == 3, "the slow answer is given at last")
    sent = Counter(answer.sop_instance_uid for answer in sharing.pacs.answers)
    # What was on the line when the process stopped cannot be called back: the same object, the
    # same UID. It goes no further than that, and counts once.
    assert sorted(sent.values()) == [1, 2]
    assert sharing.names("result.sent") == 2
    assert len(sharing.pacs.stored) == 2


def attempts(sharing: Sharing) -> list[int]:
    with sharing.database.reading() as connection:
        return sorted(connection.exec_driver_sql("SELECT attempt FROM delivery").scalars())
