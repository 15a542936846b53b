"""A new user mines a file, asks a saved question and explains one report back to its words."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dicomnode.cli.main import app, main

RUNNER = CliRunner()
TEXTS = """uid,findings,impression
a,Small left pleural effusion.,Effusion.
b,No effusion. Heart size is normal.,Normal chest.
c,,
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    Path("reports.csv").write_text(TEXTS)
    Path("dicomnode.toml").write_text("[reports]\ngraph = false\n")
    return tmp_path


def run(*arguments: str) -> str:
    done = RUNNER.invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.stdout


def rows(*arguments: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in run("sql", *arguments, "--format", "json").splitlines()]


@pytest.mark.usefixtures("site")
def test_three_commands_lead_from_a_file_to_the_words() -> None:
    assert "3 rows: 3 new" in run("reports", "import", "reports.csv")
    assert rows("label_counts")[0] == {
        "label": "effusion",
        "positive": 1,
        "negative": 1,
        "uncertain": 0,
    }
    shown = run("reports", "show", "1")
    assert "Small left pleural effusion." in shown
    assert "effusion" in shown
    assert "positive" in shown


@pytest.mark.usefixtures("site")
def test_what_could_not_be_read_is_listed() -> None:
    run("reports", "import", "reports.csv")
    (row,) = rows("reports_not_read")
    assert "empty" in str(row["flags"])


@pytest.mark.usefixtures("site")
def test_an_answer_comes_as_csv_too() -> None:
    run("reports", "import", "reports.csv")
    query = "SELECT report_id, words FROM positive_sentence WHERE label = 'effusion'"
    lines = run("sql", query, "--format", "csv").splitlines()
    assert lines == ["report_id,words", "1,pleural effusion"]


@pytest.mark.usefixtures("site")
def test_a_second_policy_is_kept_beside_the_first() -> None:
    run("reports", "import", "reports.csv")
    run("reports", "remine", "--policy", "chestxray8")
    assert "no label differs" in run("reports", "differences", "1", "2")
    assert [row["reports_in_force"] for row in rows("miner_versions")] == [0, 3]


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["sql", "DELETE FROM event"], 1, "may only read"),
        (["sql", "label_count"], 2, "did you mean 'label_counts'"),
        (["sql", "positives", "--param", "label"], 2, "NAME=VALUE"),
        (["sql", "search_reports"], 1, "words is needed"),
        (["reports", "show", "9"], 3, "no report 9"),
        (["reports", "import", "none.csv"], 1, "cannot read none.csv"),
        (["reports", "import", "reports.csv", "--column", "age=uid"], 2, "--column age"),
    ],
)
def test_what_cannot_be_done_says_what_to_do(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run("db", "upgrade")
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == code
    assert words in capsys.readouterr().err
