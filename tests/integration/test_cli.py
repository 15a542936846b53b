"""The commands: what they print, what they write, and their exit codes."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
import typer.main
from pydicom import dcmread

from dicomnode.cli.main import app, main
from dicomnode.domain.errors import BundleInvalid
from dicomnode.domain.jobs import JobState
from dicomnode.steps import quotas
from dicomnode.store.database import Database
from dicomnode.store.jobs import end_job_by_error
from dicomnode.store.memory_use import note_wait
from dicomnode.store.schema import current_and_head, upgrade
from dicomnode.testing.bundles import Behaviour, BundleRecipe, write_bundle
from dicomnode.testing.misbehaviour import Misbehaviour
from dicomnode.testing.pacs import EmbeddedPacs
from dicomnode.testing.studies import StudyIdentity, radiograph
from tests.acceptance.running_node import free_port
from tests.acceptance.studies_on_disk import ct_study, write
from tests.contract.store_scenes import NOON, STUDY, finished_job, queued_job
from tests.contract.test_store_quotas import delivered

HEAVY = ("torch", "monai", "highdicom", "dbos", "sqlalchemy", "pydicom", "pynetdicom", "spacy")

RULES = """\
[[rule]]
name = "air [every] CT"
algorithm = "test_air"
[rule.series.image]
Modality = "CT"
"""

DESTINATION = """
[[destinations]]
name = "pacs"
ae_title = "ARCHIVE"
host = "127.0.0.1"
port = {port}
timeout_s = 5.0
"""


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


class Terminal:
    """Runs commands in one folder, as `main` does for the console script."""

    def __init__(self, folder: Path, captured: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._captured = captured

    def run(self, *arguments: str | Path) -> Said:
        """Run a command to its end."""
        self._captured.readouterr()
        code = 0
        try:
            main([str(one) for one in arguments])
        except SystemExit as exc:
            code = int(exc.code or 0)
        printed = self._captured.readouterr()
        return Said(code=code, out=printed.out, err=printed.err)

    def write(self, name: str, text: str) -> Path:
        """Write a file into the folder."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    @property
    def database(self) -> Database:
        """The index in this folder, migrated."""
        data_dir = self.folder / "dicomnode-data"
        database = Database(f"sqlite:///{data_dir}/index.sqlite", data_dir)
        upgrade(database)
        return database


@pytest.fixture
def terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Terminal]:
    monkeypatch.chdir(tmp_path)
    # Wide enough that no line is folded; no colours.
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.delenv("DICOMNODE_SETTINGS", raising=False)
    yield Terminal(tmp_path, capsys)
    structlog.reset_defaults()


def rename_study(database: Database) -> str:
    """Give the only study a UID of the greatest length, and return that."""
    longest = "1.2.840." + "7" * 56
    with database.writing() as connection:
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        tables = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type='table'")
        for (table,) in tables.all():
            columns = connection.exec_driver_sql(f"PRAGMA table_info('{table}')").all()
            if any(column[1] == "study_uid" for column in columns):
                connection.exec_driver_sql(f"UPDATE {table} SET study_uid = ?", (longest,))
    return longest


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with its words."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), typer.main.get_command(app))]
    while waiting:
        words, command = waiting.pop()
        if hasattr(command, "commands"):
            waiting += [((*words, name), one) for name, one in command.commands.items()]
        if words:
            yield words, command


@pytest.mark.parametrize(
    ("words", "command"),
    list(commands()),
    ids=lambda one: " ".join(one) if type(one) is tuple else "",
)
def test_every_command_says_in_one_line_what_it_does(words: Sequence[str], command: Any) -> None:
    first, *rest = command.help.strip().split("\n\n")
    assert first.endswith(".")
    assert len(first.replace("\n", " ")) <= 120
    for parameter in command.params:
        assert getattr(parameter, "help", "") or parameter.name == "help", parameter.name
    if any(parameter.param_type_name == "argument" for parameter in command.params):
        assert any(f"dicomnode {' '.join(words)} " in part for part in rest), "no example"


def test_asking_for_help_loads_nothing_heavy() -> None:
    code = f"import sys, dicomnode.cli; print(*(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_asking_where_things_stand_loads_no_model_and_no_engine(terminal: Terminal) -> None:
    """At night this is typed again and again; it has to answer at once."""
    terminal.database.dispose()
    code = (
        "import sys; from dicomnode.cli import main\n"
        "try: main(['status', '--json'])\n"
        f"finally: print('', *(m for m in {HEAVY!r} if m in sys.modules))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split() == ["sqlalchemy"]


def test_a_node_that_starts_loads_neither_pages_nor_what_few_results_need() -> None:
    """Each would cost the start about a second; pages are another process's."""
    slow = ("torch", "monai", "fastapi", "dicomnode.web.pages", "scipy.signal", "scipy.stats")
    code = f"import sys, dicomnode.app; print(*(m for m in {slow!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


class TestExitCodes:
    def test_an_unknown_command_is_wrong_usage(self, terminal: Terminal) -> None:
        assert terminal.run("dance").code == 2

    def test_every_fault_of_the_settings_is_printed(self, terminal: Terminal) -> None:
        terminal.write("dicomnode.toml", "ae_title = ''\n[receive]\nport = 0\nprot = 1\n")
        said = terminal.run("status")
        assert said.code == 2
        assert [line.split(": ")[1] for line in said.err.splitlines()] == [
            "ae_title",
            "receive.port",
            "receive.prot",
        ]

    def test_where_no_node_is_nothing_is_made_up_of_one(self, terminal: Terminal) -> None:
        asked = (["status"], ["explain", "1.2.3"], ["queue"], ["keep", "plan"], ["pause"])
        for command in (*asked, ["db", "backup", "copy.sqlite"], ["sql", "SELECT 1"]):
            said = terminal.run(*command)
            assert said.code == 2, command
            assert f"no index at {terminal.folder}/dicomnode-data/index.sqlite" in said.err
        assert list(terminal.folder.iterdir()) == []

    def test_a_study_that_is_not_there(self, terminal: Terminal) -> None:
        terminal.database.dispose()
        said = terminal.run("explain", "1.2.3")
        assert said.code == 3
        assert "1.2.3" in said.err

    @pytest.mark.parametrize("command", ["rerun", "cancel", "dismiss"])
    def test_a_job_that_is_not_there(self, command: str, terminal: Terminal) -> None:
        terminal.database.dispose()
        assert terminal.run(command, "none").code == 3

    def test_an_algorithm_that_is_not_there(self, terminal: Terminal) -> None:
        said = terminal.run("run", "none", terminal.folder, "--out", terminal.folder / "out")
        assert said.code == 3
        assert "dicomnode algorithms" in said.err

    def test_a_folder_that_may_not_be_made_is_told_without_a_traceback(
        self, terminal: Terminal
    ) -> None:
        in_the_way = terminal.write("file", "")
        terminal.write("dicomnode.toml", f"data_dir = '{in_the_way}/data'")
        said = terminal.run("db", "upgrade")
        assert said.code == 1
        assert str(in_the_way) in said.err
        assert "Traceback" not in said.err

    def test_a_node_whose_port_is_taken_says_so_and_ends(self, terminal: Terminal) -> None:
        with EmbeddedPacs(terminal.folder / "pacs") as other:
            terminal.write("dicomnode.toml", f"[receive]\nport = {other.port}\n")
            command = [sys.executable, "-m", "dicomnode", "serve"]
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, cwd=terminal.folder
            )
        assert done.returncode == 1
        assert "StoreError: the receiver could not start" in done.stderr
        assert "cannot join thread" not in done.stderr


class TestRules:
    def test_faulty_rules_are_told_with_file_and_line(self, terminal: Terminal) -> None:
        rules = terminal.write("rules.toml", RULES.replace("Modality", "Modalty"))
        write_bundle(terminal.folder / "bundles")
        terminal.write("dicomnode.toml", "[algorithms]\nroots = ['bundles']\n")
        said = terminal.run("rules", "check", rules)
        assert said.code == 2
        assert f"{rules}:5: 'Modalty'" in said.err

    def test_good_rules_are_counted(self, terminal: Terminal) -> None:
        rules = terminal.write("rules.toml", RULES + RULES.replace("air [", "again ["))
        write_bundle(terminal.folder / "bundles")
        terminal.write("dicomnode.toml", "[algorithms]\nroots = ['bundles']\n")
        said = terminal.run("rules", "check", rules)
        assert said.code == 0
        assert "2 rules, 2 enabled; no fault" in said.out

    @pytest.mark.parametrize("what", ["folder", "missing", "not text"])
    def test_a_rule_file_that_cannot_be_read_is_no_traceback(
        self, what: str, terminal: Terminal
    ) -> None:
        path = terminal.folder / "rules.toml"
        if what == "folder":
            path.mkdir()
        elif what == "not text":
            path.write_bytes(b"\xff\xfe")
        said = terminal.run("rules", "check", path)
        assert said.code == 2
        assert str(path) in said.err

    def test_each_study_of_a_folder_is_explained_per_condition(self, terminal: Terminal) -> None:
        rules = terminal.write("rules.toml", RULES)
        write_bundle(terminal.folder / "bundles")
        terminal.write("dicomnode.toml", "[algorithms]\nroots = ['bundles']\n")
        ct, _ = ct_study("explained", terminal.folder / "study")
        dx = StudyIdentity(seed="a radiograph")
        write([radiograph(dx)], terminal.folder / "study" / "dx")
        terminal.write("study/notes.txt", "no DICOM")
        said = terminal.run("rules", "explain", rules, terminal.folder / "study")
        assert said.code == 0
        assert f"study {ct.study_uid}" in said.out
        assert f"study {dx.study_uid}" in said.out
        assert "left out" in said.out
        # Brackets in a rule's name are printed, not taken for markup.
        assert "air [every] CT" in said.out
        assert "Modality" in said.out


class TestRun:
    def test_every_result_is_written_without_a_database(self, terminal: Terminal) -> None:
        write_bundle(terminal.folder / "bundles")
        terminal.write("dicomnode.toml", "[algorithms]\nroots = ['bundles']\n")
        identity, _ = ct_study("offline", terminal.folder / "study")
        write([radiograph(StudyIdentity(seed="other"))], terminal.folder / "study" / "dx")
        forms = ("--form", "SC", "--form", "KOS")
        said = terminal.run("run", "test_air", "study", "--out", "results", *forms)
        assert said.code == 0, said.err
        assert "test_air reads CT" in said.out
        (folder,) = (terminal.folder / "results").iterdir()
        names = sorted(path.name for path in folder.iterdir())
        assert [name for name in names if name.endswith((".json", ".png"))] == [
            "findings.json",
            "overlay.png",
        ]
        objects = [dcmread(path) for path in folder.glob("*.dcm")]
        assert sorted(ds.Modality for ds in objects) == ["KO", "OT", "SEG", "SR"]
        assert {ds.StudyInstanceUID for ds in objects} == {identity.study_uid}
        found = json.loads((folder / "findings.json").read_text())
        assert [finding["name"] for finding in found["findings"]] == ["air"]
        assert not list(terminal.folder.rglob("*.sqlite"))
        assert not (terminal.folder / "dicomnode-data").exists()

    def test_a_series_that_is_refused_is_told_with_the_reason(self, terminal: Terminal) -> None:
        write_bundle(terminal.folder / "bundles")
        terminal.write("dicomnode.toml", "[algorithms]\nroots = ['bundles']\n")
        _, paths = ct_study("gap", terminal.folder / "study")
        paths[5].unlink()
        said = terminal.run("run", "test_air", "study", "--out", "results")
        assert said.code == 1
        assert "MissingSlices" in said.out


class TestSend:
    def test_files_arrive_at_an_address_and_at_a_named_destination(
        self, terminal: Terminal
    ) -> None:
        _, paths = ct_study("sent", terminal.folder)
        with EmbeddedPacs(terminal.folder / "pacs") as pacs:
            terminal.write("dicomnode.toml", DESTINATION.format(port=pacs.port))
            named = terminal.run("send", terminal.folder / "sent", "pacs")
            address = terminal.run("send", paths[0], f"ARCHIVE@127.0.0.1:{pacs.port}")
            assert len(pacs.stored) == len(paths)
        assert (named.code, address.code) == (0, 0)
        assert f"{len(paths)} of {len(paths)} sent to ARCHIVE" in named.out

    def test_what_a_pacs_refuses_is_told_by_its_status(self, terminal: Terminal) -> None:
        _, paths = ct_study("refused", terminal.folder)
        refusing = Misbehaviour(store_status=0xA900, store_comment="[/red] no", only_first=1)
        with EmbeddedPacs(terminal.folder / "pacs", misbehaviour=refusing) as pacs:
            said = terminal.run(
                "send", terminal.folder / "refused", f"ARCHIVE@127.0.0.1:{pacs.port}"
            )
        assert said.code == 1
        assert "0xA900" in said.out
        assert "[/red] no" in said.out
        assert f"{len(paths) - 1} of {len(paths)} sent" in said.out

    def test_a_warning_is_told_and_counts_as_sent(self, terminal: Terminal) -> None:
        _, paths = ct_study("warned", terminal.folder)
        warning = Misbehaviour(store_status=0xB000)
        with EmbeddedPacs(terminal.folder / "pacs", misbehaviour=warning) as pacs:
            said = terminal.run("send", paths[0], f"ARCHIVE@127.0.0.1:{pacs.port}")
        assert said.code == 0
        assert "kept with warning 0xB000" in said.out

    def test_a_dead_destination_is_a_failure(self, terminal: Terminal) -> None:
        _, paths = ct_study("dead", terminal.folder)
        said = terminal.run("send", paths[0], f"ARCHIVE@127.0.0.1:{free_port()}")
        assert said.code == 1
        assert "0 of 1 sent" in said.out

    @pytest.mark.parametrize(
        "name", ["nobody", "AE@host", "AE@host:99999", "A TITLE THAT IS TOO LONG@host:104", "@h:1"]
    )
    def test_a_destination_that_is_none_is_wrong_usage(self, name: str, terminal: Terminal) -> None:
        _, paths = ct_study("none", terminal.folder)
        said = terminal.run("send", paths[0], name)
        assert said.code == 2
        assert name in said.err


class TestTelling:
    def test_status_and_explain_as_json_are_json(self, terminal: Terminal) -> None:
        job = finished_job(terminal.database)
        status = json.loads(terminal.run("status", "--json").out)
        story = json.loads(terminal.run("explain", STUDY, "--json").out)
        assert status["jobs"] == {"succeeded": 1}
        assert status["latest"][0]["study_uid"] == STUDY
        assert story["jobs"][0]["id"] == job.id

    def test_status_and_explain_tell_people_the_same(self, terminal: Terminal) -> None:
        job = finished_job(terminal.database)
        assert "1 succeeded" in terminal.run("status").out
        said = terminal.run("explain", STUDY, "--events").out
        for words in (f"study {STUDY}", job.id, "succeeded", "pacs", "job.succeeded"):
            assert words in said

    def test_a_study_is_found_by_its_accession_number(self, terminal: Terminal) -> None:
        """What is called in at night is an accession number, hardly ever a UID."""
        finished_job(terminal.database)
        with terminal.database.writing() as connection:
            connection.exec_driver_sql("UPDATE study SET accession_number = 'ACC 1'")
        assert "ACC 1" in terminal.run("status").out
        assert terminal.run("explain", "ACC 1").out == terminal.run("explain", STUDY).out
        said = terminal.run("explain", "ACC 2")
        assert said.code == 3
        assert "neither StudyInstanceUID nor accession number" in said.err

    def test_what_a_model_said_is_told_with_its_probability(self, terminal: Terminal) -> None:
        finished_job(terminal.database)
        with terminal.database.writing() as connection:
            connection.exec_driver_sql(
                "UPDATE finding SET kind = 'class', name = 'Effusion', code_meaning = NULL, "
                "laterality = NULL, text = 'negative', score = 0.254"
            )
            connection.exec_driver_sql("DELETE FROM measurement")
        assert "class Effusion: negative, 0.25" in terminal.run("explain", STUDY).out

    def test_what_needs_a_person_is_named_by_its_accession_number(self, terminal: Terminal) -> None:
        job = queued_job(terminal.database)
        end_job_by_error(terminal.database, job, JobState.FAILED, BundleInvalid("no weights"), NOON)
        with terminal.database.writing() as connection:
            connection.exec_driver_sql("UPDATE study SET accession_number = 'ACC-7'")
        told = json.loads(terminal.run("status", "--json").out)
        assert [one["accession_number"] for one in told["trouble"]] == ["ACC-7"]

    def test_status_breaks_nothing_that_is_copied_on_a_narrow_terminal(
        self, terminal: Terminal
    ) -> None:
        """A dumb terminal has 80 columns, whatever it says; a UID has up to 64 characters."""
        job = queued_job(terminal.database)
        end_job_by_error(terminal.database, job, JobState.FAILED, BundleInvalid("no weights"), NOON)
        longest = rename_study(terminal.database)
        with terminal.database.writing() as connection:
            connection.exec_driver_sql("UPDATE study SET accession_number = 'ACC-7'")
        lines = terminal.run("status").out.splitlines()
        assert f"  {longest}" in lines
        assert f"  dicomnode explain {longest}" in lines
        (named,) = (line for line in lines if line.startswith(f"job {job[:12]}, "))
        assert "accession ACC-7, since 20" in named
        after = lines[lines.index(named) + 1]
        assert after == "  lung_ct failed: BundleInvalid: no weights"
        assert terminal.run("explain", longest).code == 0

    def test_what_headers_say_is_printed_as_it_is(self, terminal: Terminal) -> None:
        """Brackets in a description are no markup: they must neither vanish nor be an error."""
        database = terminal.database
        finished_job(database)
        said = "[bold]CE[/red] :smile: [1]"
        with database.writing() as connection:
            connection.exec_driver_sql("UPDATE study SET description = ?", (said,))
            header = json.dumps({"SeriesDescription": [said]})
            connection.exec_driver_sql("UPDATE series SET header = ?", (header,))
            connection.exec_driver_sql("UPDATE job SET reason = ?, error = 'X'", (said,))
        status = terminal.run("status").out
        # A narrow terminal breaks the line between words.
        assert said in " ".join(status.split())
        assert terminal.run("explain", STUDY).out.count(said) == 2

    def test_the_queue_says_what_waits_and_why(self, terminal: Terminal) -> None:
        database = terminal.database
        assert "nothing waits" in terminal.run("queue").out
        job = queued_job(database)
        assert note_wait(database, job, "waits for memory: needs 6.0 GB [cuda:0]")
        said = " ".join(terminal.run("queue").out.split())
        assert job[:12] in said
        assert "queued" in said
        # Word by word, without backslashes before brackets.
        for word in ("memory:", "needs", "6.0", "[cuda:0]"):
            assert word in said.split()

    def test_the_queue_names_what_a_command_takes_and_how_urgent_it_is(
        self, terminal: Terminal
    ) -> None:
        job = queued_job(terminal.database)
        with terminal.database.writing() as connection:
            connection.exec_driver_sql("UPDATE study SET accession_number = 'ACC 1'")
            connection.exec_driver_sql("UPDATE job SET priority = 1")
        words = terminal.run("queue").out.split()
        assert "stat" in words
        assert "ACC" in words
        shown = next(word for word in words if word.isdigit() and job.startswith(word))
        assert len(shown) < len(job)
        assert f"job {job} is cancelled" in terminal.run("cancel", shown).out

    def test_the_queue_breaks_no_job_on_a_narrow_terminal(
        self, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        job = queued_job(terminal.database)
        assert note_wait(terminal.database, job, "waits for memory: needs 6.0 GB; cuda:0 has 2.0")
        with terminal.database.writing() as connection:
            connection.exec_driver_sql("UPDATE study SET accession_number = 'ACC-2026-0017'")
            connection.exec_driver_sql("UPDATE job SET algorithm = 'cxr_heart_lung'")
        assert job[:12] in terminal.run("queue").out.split()

    def test_what_would_go_is_named_whole_on_a_narrow_terminal(
        self, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`keep pin` takes the UID that `keep plan` prints."""
        monkeypatch.setenv("COLUMNS", "80")
        delivered(terminal.database)
        longest = rename_study(terminal.database)
        terminal.write("dicomnode.toml", "[keep]\nimages_days = 1\n")
        lines = terminal.run("keep", "plan").out.splitlines()
        assert f"  {longest}" in lines
        assert any(line.endswith("images: 3, 0 MB: older than 1 days") for line in lines)
        assert terminal.run("keep", "pin", longest).code == 0
        assert terminal.run("keep", "plan").out == "nothing would go\n"

    def test_studies_beyond_those_that_go_at_once_are_not_kept_quiet(
        self, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        delivered(terminal.database)
        terminal.write("dicomnode.toml", "[keep]\nimages_days = 1\n")
        assert "There may be more" not in terminal.run("keep", "plan").out
        monkeypatch.setattr(quotas, "STUDIES", 1)
        assert "There may be more" in terminal.run("keep", "plan").out
        assert "There may be more" in terminal.run("keep", "run").out

    def test_a_beginning_that_fits_several_jobs_is_refused(self, terminal: Terminal) -> None:
        job = queued_job(terminal.database)
        with terminal.database.writing() as connection:
            told = connection.exec_driver_sql("SELECT * FROM job").mappings().one()
            other = {**told, "id": job[:8] + "0" * (len(job) - 8), "rule_name": "another"}
            names, holes = ", ".join(other), ", ".join("?" * len(other))
            insert = f"INSERT INTO job ({names}) VALUES ({holes})"
            connection.exec_driver_sql(insert, tuple(other.values()))
        said = terminal.run("cancel", job[:8])
        assert said.code == 3
        assert "several jobs" in said.err
        assert terminal.run("cancel", job).code == 0

    def test_a_job_is_steered_by_its_id(self, terminal: Terminal) -> None:
        job = queued_job(terminal.database)
        assert terminal.run("cancel", job).code == 0
        assert terminal.run("cancel", job).code == 3
        assert terminal.run("rerun", job).code == 0
        assert terminal.run("dismiss", job).code == 3
        assert json.loads(terminal.run("status", "--json").out)["jobs"] == {"queued": 1}

    def test_what_failed_in_a_night_is_run_and_sent_again_by_one_command_each(
        self, terminal: Terminal
    ) -> None:
        database = terminal.database
        job = queued_job(database)
        end_job_by_error(database, job, JobState.FAILED, BundleInvalid("no model"), NOON)
        assert terminal.run("rerun-failed", "--algorithm", "other").out.startswith("0 jobs")
        assert terminal.run("rerun-failed").out == "1 job is queued\n"
        assert json.loads(terminal.run("status", "--json").out)["jobs"] == {"queued": 1}
        assert terminal.run("rerun-failed").out.startswith("0 jobs")
        assert terminal.run("resend-refused", "pacs").code == 3
        terminal.write("dicomnode.toml", DESTINATION.format(port=104))
        assert terminal.run("resend-refused", "pacs").out.startswith("0 objects")

    def test_results_are_sent_again_to_a_destination_that_is_known(
        self, terminal: Terminal
    ) -> None:
        job = finished_job(terminal.database)
        assert terminal.run("resend", job.id, "pacs").code == 3
        terminal.write("dicomnode.toml", DESTINATION.format(port=104).replace("pacs", "new"))
        assert "has no results for 'new'" in terminal.run("resend", job.id, "new").err
        terminal.write("dicomnode.toml", DESTINATION.format(port=104))
        said = terminal.run("resend", job.id, "pacs")
        assert (said.code, said.out.split()[0]) == (0, "2")


class TestLookingAfter:
    def test_every_fault_is_found_in_one_go(self, terminal: Terminal) -> None:
        recipe = BundleRecipe(behaviour=Behaviour.WRONG_DIGEST)
        write_bundle(terminal.folder / "bundles", recipe)
        dead = free_port()
        settings = "rules = 'missing.toml'\n[algorithms]\nroots = ['bundles', 'nowhere']\n"
        terminal.write("dicomnode.toml", settings + DESTINATION.format(port=dead))
        said = terminal.run("check")
        assert said.code == 1
        faulty = [line for line in said.out.splitlines() if line.strip().startswith("FAULT")]
        what = [re.split(r"\s{2,}", line.strip())[1] for line in faulty]
        # A long path or address goes on in the next line.
        begins = ["rules", "algorithm root", "algorithm test_air", "destination pacs: C-ECHO to"]
        assert len(what) == len(begins)
        for words, begin in zip(what, begins, strict=True):
            assert words.startswith(begin)
        assert str(dead) in said.out
        assert "4 faults" in said.out

    def test_a_check_that_finds_no_fault_changes_nothing(self, terminal: Terminal) -> None:
        with EmbeddedPacs(terminal.folder / "pacs") as pacs:
            settings = f"[receive]\nport = {free_port()}\nreserve_mb = 1\n"
            terminal.write("dicomnode.toml", settings + DESTINATION.format(port=pacs.port))
            said = terminal.run("check")
        assert said.code == 0, said.out
        assert "no fault" in said.out
        assert "answers" in said.out
        assert not (terminal.folder / "dicomnode-data" / "rules.toml").exists()

    def test_the_doctor_looks_at_packages_and_decoders(self, terminal: Terminal) -> None:
        said = terminal.run("doctor")
        for words in ("Python", "highdicom", "decoder JPEG 2000", "devices", "cxr_heart_lung"):
            assert words in said.out

    def test_a_broken_bundle_is_listed_with_its_fault(self, terminal: Terminal) -> None:
        root = write_bundle(terminal.folder / "bundles")
        (root / "configs" / "dicom.json").write_text("{}", encoding="utf-8")
        terminal.write("dicomnode.toml", "[algorithms]\nroots = ['bundles']\n")
        said = terminal.run("algorithms")
        assert said.code == 0
        assert re.search(r"test_air\s+cannot be used: ", said.out)
        assert "lung_ct" in said.out

    def test_a_database_is_brought_to_the_schema_of_this_version(self, terminal: Terminal) -> None:
        said = terminal.run("db", "upgrade")
        current, head = current_and_head(terminal.database)
        assert said.code == 0
        assert current == head
        assert f"schema {head}" in said.out


class TestDemo:
    def test_a_folder_that_holds_something_else_is_not_emptied(self, terminal: Terminal) -> None:
        kept = terminal.write("thesis.txt", "years of work")
        said = terminal.run("demo", "--out", terminal.folder)
        assert said.code == 1
        assert "name another folder" in said.err
        assert kept.read_text() == "years of work"

    def test_an_unknown_pacs_is_wrong_usage(self, terminal: Terminal) -> None:
        assert terminal.run("demo", "--pacs", "other", "--out", "x").code == 2
