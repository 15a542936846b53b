"""What people bring in by command, and what commands say of it, names nobody; nor does a bug.

By the wire: `test_no_phi_by_web.py`; by C-STORE: `tests/acceptance/test_no_phi.py`.
"""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.uid import UID
from sqlalchemy import text

from dicomnode.cli.main import main
from dicomnode.logs import WithoutWords, told_without_words
from dicomnode.steps.intake import index_landed
from dicomnode.steps.reporting import Reporting
from dicomnode.store.database import Database
from tests.acceptance.test_no_phi import invalid_allowed, invalid_values
from tests.unit.steps_node import open_test_node
from tests.unit.test_receive_sr import sr
from tests.unit.test_receive_sr import text as words_of
from tests.unit.test_steps_intake import land

NAME, GIVEN, PATIENT_ID, WORDS = "QUEBECNAME", "QUEBECGIVEN", "QUEBECID77", "QUEBECWORDS"
BIRTH_DATE = "19430217"
MARKERS = (NAME, GIVEN, PATIENT_ID, WORDS, BIRTH_DATE)

SAID = ("SELECT name, facts FROM event", "SELECT reason FROM refused_report")
"""What is meant to be read by who runs the node; reports themselves of course name people."""

HEADER = "uid,patient_id,patient_birth_date,status,issued_at,findings,impression"
ROW = f"1,{PATIENT_ID},{BIRTH_DATE},final,2026-01-01,{NAME} {GIVEN} has {WORDS}.,No effusion."
TABLES = {
    "whole": (HEADER, ROW),
    "no header": (ROW, ROW),
    "cells moved": (HEADER, f"1,,,{NAME} {GIVEN},{WORDS},{NAME},{WORDS}"),
    "odd moment": (HEADER, f"1,{PATIENT_ID},{NAME},final,{WORDS} {BIRTH_DATE},{NAME},{WORDS}"),
    "too few cells": (HEADER, f"1,{NAME},{WORDS}"),
    "open quote": (HEADER, f'1,"{NAME} {WORDS}'),
    "endless cell": (HEADER, f"1,{NAME},,,,{WORDS * 400_000},"),
    "null": (HEADER, f"1,{NAME}\0,,,,{WORDS},"),
    "other columns": (f"{NAME},{WORDS}", f"{NAME},{WORDS}"),
}
LINES = {
    "whole": json.dumps({"uid": "1", "findings": f"{NAME} has {WORDS}.", "patient_id": PATIENT_ID}),
    "cut": f'{{"uid": "1", "findings": "{NAME} has {WORDS}',
    "a list": f'["{NAME}", "{WORDS}"]',
    "names as keys": json.dumps({NAME: WORDS, "uid": PATIENT_ID}),
    "odd types": json.dumps({"uid": 1, "findings": [NAME], "status": {NAME: WORDS}}),
}


def found_in(said: str) -> list[str]:
    return [marker for marker in MARKERS if marker in said]


def said_by(capfd: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command prints, whichever way it ends."""
    capfd.readouterr()
    try:
        main([str(one) for one in arguments])
    except SystemExit:
        pass
    finally:
        out, err = capfd.readouterr()
    return out + err


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    file = tmp_path / "dicomnode.toml"
    data = json.dumps(str(tmp_path / "data"))
    file.write_text(f'data_dir = {data}\nlog_level = "debug"\n[reports]\ngraph = false\n')
    return file


def kept(settings: Path) -> Database:
    data = settings.parent / "data"
    return Database(f"sqlite:///{data}/index.sqlite", data)


def assert_nothing_was_noted(settings: Path) -> None:
    database = kept(settings)
    with database.reading() as connection:
        noted = str([connection.execute(text(query)).all() for query in SAID])
    database.dispose()
    assert found_in(noted) == []


@pytest.mark.parametrize("name", list(TABLES))
def test_a_table_of_reports_is_not_repeated(
    name: str, settings: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = settings.parent / "reports.csv"
    source.write_text("\n".join(TABLES[name]) + "\n", encoding="utf-8")
    said = said_by(capfd, "reports", "import", source, "-s", settings)
    assert said.strip()
    assert found_in(said) == []
    assert_nothing_was_noted(settings)


@pytest.mark.parametrize("name", list(LINES))
def test_lines_of_json_are_not_repeated(
    name: str, settings: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = settings.parent / "reports.jsonl"
    source.write_text(LINES[name] + "\n", encoding="utf-8")
    said = said_by(capfd, "reports", "import", source, "-s", settings)
    assert said.strip()
    assert found_in(said) == []
    assert_nothing_was_noted(settings)


def test_a_folder_of_texts_is_not_repeated(
    settings: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = settings.parent / "texts"
    folder.mkdir()
    (folder / "1.txt").write_text(f"{NAME} {GIVEN} has {WORDS}.", encoding="utf-8")
    said = said_by(capfd, "reports", "import", folder, "--text-columns", "", "-s", settings)
    assert "1 new" in said
    assert found_in(said) == []
    (folder / "2.txt").write_bytes(f"{NAME} \xff {WORDS}".encode("latin-1"))
    said = said_by(capfd, "reports", "import", folder, "--text-columns", "", "-s", settings)
    # A console breaks lines where it likes.
    assert "is not utf-8" in " ".join(said.split())
    assert found_in(said) == []
    assert_nothing_was_noted(settings)


@pytest.mark.parametrize("name", ["no header", "too few cells", "open quote", "null"])
def test_a_table_that_is_labelled_is_not_repeated(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "reports.csv"
    source.write_text("\n".join(TABLES[name]) + "\n", encoding="utf-8")
    said = said_by(capfd, "label", source, "--out", tmp_path / "labels.csv")
    assert found_in(said) == []


def test_files_that_a_command_cannot_use_are_not_repeated(
    settings: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = settings.parent / "images"
    paths = invalid_values(folder)
    whole = paths[0].read_bytes()
    paths[0].write_bytes(whole[: whole.index(NAME.encode()) + 5])
    paths[1].write_bytes(f"{NAME} {WORDS}".encode() * 40)
    out = settings.parent / "out"
    for command in (
        ("run", "cxr_thorax", folder, "--out", out),
        ("run", "nothing", folder, "--out", out),
        ("match", folder, "-s", settings),
        ("db", "upgrade", "-s", settings),
        ("explain", "1.2.3", "-s", settings),
        ("status", "-s", settings),
        ("sql", "SELECT nothing FROM study", "-s", settings),
        ("check", "-s", settings),
    ):
        assert found_in(said_by(capfd, *command)) == [], command


def test_srs_that_are_kept_or_refused_are_not_repeated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    node = open_test_node(tmp_path)
    srs = []
    for number in range(3):
        ds = sr([words_of("Findings", f"{NAME} {GIVEN} has {WORDS}.")])
        ds.PatientName, ds.PatientID = f"{NAME}^{GIVEN}", PATIENT_ID
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.{number + 5}")
        srs.append(ds)
    with invalid_allowed():
        srs[1].ContentDate = srs[1].PatientBirthDate = f"{NAME}7"
        paths = land(node, srs)
    index_landed(node)
    paths[2].write_bytes(f"{NAME} {WORDS}".encode() * 40)
    Reporting(node).take()
    with node.database.reading() as connection:
        noted = str([connection.execute(text(query)).all() for query in SAID])
        states = connection.execute(text("SELECT report_state FROM instance")).scalars().all()
    node.database.dispose()
    assert set(states) == {"kept", "unreadable"}
    out, err = capfd.readouterr()
    # The node keeps libraries that read data sets from logging (`logs.silence_readers`).
    ours = [one.getMessage() for one in caplog.records if not one.name.startswith("pydicom")]
    assert found_in(noted + out + err + str(ours)) == []


def test_a_bug_is_told_by_its_place_alone(
    settings: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DICOMNODE_TRACEBACK", raising=False)
    (settings.parent / "reports.csv").write_text(f"{HEADER}\n{ROW}\n")

    def fails(*_arguments: object, **_more: object) -> None:
        raise ValueError(f"could not convert {NAME}")

    # The one patch of ours: a bug cannot be ordered otherwise.
    monkeypatch.setattr("dicomnode.steps.report_archive.import_reports", fails)
    arguments = ("reports", "import", settings.parent / "reports.csv", "-s", settings)
    said = said_by(capfd, *arguments)
    assert "ValueError; at" in " ".join(said.split())
    assert found_in(said) == []
    monkeypatch.setenv("DICOMNODE_TRACEBACK", "1")
    with pytest.raises(ValueError, match=NAME):
        main([str(one) for one in arguments])


def test_a_library_s_traceback_is_logged_without_its_words() -> None:
    nothing: dict[str, int] = {}
    try:
        nothing[f"{NAME} {WORDS}"]
    except KeyError:
        record = logging.LogRecord("lib", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())
    said = WithoutWords().format(record)
    assert "KeyError; at" in " ".join(said.split())
    assert found_in(said) == []
    assert found_in(told_without_words(ValueError(NAME))) == []


@pytest.mark.parametrize("where", ["thread", "process"])
def test_what_ends_a_thread_or_process_is_told_without_its_words(where: str) -> None:
    begin = "from dicomnode.logs import configure_process; configure_process('debug')\n"
    fail = f"def fail(): raise ValueError('{NAME}')\n"
    thread = "import threading; t = threading.Thread(target=fail); t.start(); t.join()\n"
    program = begin + fail + (thread if where == "thread" else "fail()\n")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "process.failed" in done.stderr
    assert found_in(done.stdout + done.stderr) == []


def test_the_searches_above_would_find_a_leak(capfd: pytest.CaptureFixture[str]) -> None:
    sys.stderr.write(NAME)
    assert found_in(capfd.readouterr().err) == [NAME]
