"""Rules are reloaded when their file changes; a faulty file never takes the good rules away."""

import re
from functools import partial
from pathlib import Path

import pytest

from dicomnode.domain.errors import RuleError
from dicomnode.rules.loading import load_rules
from dicomnode.rules.watching import WatchedRules

RULE = """[[rule]]
name = "{name}"
algorithm = "lung_ct"
[rule.series.image]
Modality = "CT"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text(RULE.format(name="first"))
    return path


def watched(file: Path) -> WatchedRules:
    return WatchedRules(file, partial(load_rules, file=str(file)))


def test_a_changed_file_is_loaded_and_an_unchanged_one_is_not(file: Path) -> None:
    rules = watched(file)
    first = rules.refresh()
    assert rules.refresh() is first

    file.write_text(RULE.format(name="other"))

    assert [rule.name for rule in rules.refresh().rules] == ["other"]
    assert not rules.faults


def test_a_faulty_file_keeps_the_last_good_rules_and_says_why(file: Path) -> None:
    rules = watched(file)
    first = rules.refresh()

    file.write_text(RULE.format(name="x").replace("Modality", "Modalty"))

    assert rules.refresh() is first
    assert rules.faults == (
        f"{file}:5: 'Modalty' is not a known DICOM keyword; did you mean 'Modality'?",
    )
    file.write_text(RULE.format(name="mended"))
    assert rules.refresh().rules[0].name == "mended"
    assert not rules.faults


def test_faults_go_when_the_old_text_comes_back(file: Path) -> None:
    rules = watched(file)
    before = file.read_text()
    file.write_text("")
    assert rules.refresh().rules
    assert rules.faults

    file.write_text(before)

    assert rules.refresh().rules[0].name == "first"
    assert not rules.faults


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_keeps_the_last_good_rules(
    file: Path, content: bytes | None
) -> None:
    rules = watched(file)
    first = rules.refresh()
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)

    assert rules.refresh() is first
    assert "cannot be read" in rules.faults[0]

    file.write_text(RULE.format(name="first"))
    assert rules.refresh() == first
    assert not rules.faults


def test_a_first_file_that_is_faulty_is_refused(file: Path) -> None:
    file.write_text("")

    with pytest.raises(RuleError):
        watched(file)


def test_a_file_that_was_spoilt_before_a_restart_leaves_the_rules_before_it_in_force(
    file: Path,
) -> None:
    good = file.read_text()
    file.write_text("nonsense")
    load = partial(load_rules, file=str(file))
    with pytest.raises(RuleError):
        WatchedRules(file, load)

    rules = WatchedRules(file, load, in_force=good)

    assert rules.refresh().rules[0].name == "first"
    assert rules.faults
    file.write_text(RULE.format(name="mended"))
    assert rules.refresh().rules[0].name == "mended"
    assert not rules.faults


def test_rules_that_held_before_a_restart_and_hold_no_more_are_no_way_out(file: Path) -> None:
    file.write_text("nonsense")
    with pytest.raises(RuleError, match=re.escape(f"{file}:1")):
        WatchedRules(file, partial(load_rules, file=str(file)), in_force="worse")
