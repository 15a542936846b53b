"""Lexicon files: what is refused, what is shipped, what an admin adds."""

from pathlib import Path

import pytest

from dicomnode.domain.errors import ConfigError
from dicomnode.domain.reports import Label
from dicomnode.reports import MinerSetup, check_lexicon, open_miner
from dicomnode.reports.evaluation import FOURTEEN
from dicomnode.reports.graph_rules import pattern_of
from dicomnode.reports.lexicon_files import load_lexicon, shipped_lexicons
from dicomnode.reports.schema import Effect, RuleTable, is_sctid
from tests.unit.reports_reading import miner, report

GOITER = """
[[finding]]
id = "goiter"
name = "Goiter"
label = "goiter"
column = true
codes = { umls = "C0018021" }
terms = ["retrosternal [thyroid] (goitre|struma)"]

[[test]]
text = "No retrosternal struma."
expect = { goiter = "absent" }
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "site.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_shipped_lexicons_pass_their_own_tests() -> None:
    assert check_lexicon(miner()) == []


def test_columns_come_in_the_order_of_chestxray14() -> None:
    assert miner().lexicon.columns == FOURTEEN


def test_every_shipped_file_is_read() -> None:
    stems = [path.stem for path in shipped_lexicons()]
    assert stems[0] == "headings"
    assert {"cues", "graph", "chest_radiograph", "chest_other", "ct", "devices"} <= set(stems)


def test_an_added_file_adds_a_finding_a_column_and_its_tests(tmp_path: Path) -> None:
    path = written(tmp_path, GOITER)
    mine = open_miner(MinerSetup(lexicons=(path,)))
    assert mine.lexicon.columns == (*FOURTEEN, "goiter")
    assert check_lexicon(mine) == []
    (labels,) = mine.mine([report("Retrosternal thyroid goitre, unchanged.")])
    assert labels.labels["goiter"].value is Label.POSITIVE
    assert labels.versions.lexicon != miner().lexicon.digest


def test_a_wrong_expectation_is_reported(tmp_path: Path) -> None:
    path = written(tmp_path, GOITER.replace('"absent"', '"present"'))
    (fault,) = check_lexicon(open_miner(MinerSetup(lexicons=(path,))))
    assert "goiter is absent, expected present" in fault


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('[[finding]]\nid = "a"\nname = "A"\ntrems = ["x"]\n', 4, "did you mean 'terms'"),
        ('[[finding]]\nid = "A b"\nname = "A"\n', 2, "pattern"),
        ('\n[[fnding]]\nid = "a"\n', 2, "did you mean 'finding'"),
        ('[[finding]]\nid = "a"\nname = "A"\n[[finding]]\nid = "b"\n', 4, "required"),
        ('[[cue]]\nid = "c"\neffect = "absnt"\nterms = ["x"]\n', 3, "absent"),
        ('[[cue]]\nid = "c"\neffect = "absent"\nreach = 0\nterms = ["x"]\n', 4, "greater"),
        ('[[finding]]\nid = "a"\nname = "A"\ncodes = { umsl = "C0000001" }\n', 4, "'umls'"),
        ('[[finding]]\nid = "a"\nname = "A"\ncodes = { sct = "46621008" }\n', 4, "check digit"),
        ('[[finding]]\nid = "a"\nname = "A"\ncodes = { umls = "C12" }\n', 4, "pattern"),
        ('[[finding]]\nid = "a"\nname = "A"\ncodes = { radlex = "28493" }\n', 4, "pattern"),
        ('[[finding]]\nid = "a"\nname = "A"\nterms = ["(b|c"]\n', 4, "cannot read"),
        ('[[finding]]\nid = "a"\nname = "A"\nterms = ["@nobody"]\n', 4, "no group"),
        ('[[finding]]\nid = "nodule"\nname = "A"\nterms = ["b"]\n', 2, "defined twice"),
        ('[[rule]]\nid = "r"\neffect = "absent"\npath = "no >det mention"\n', 4, "path"),
    ],
)
def test_a_fault_is_named_by_file_line_and_suggestion(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as refused:
        load_lexicon([path])
    (fault,) = refused.value.faults
    assert fault.startswith(f"{path}:{line}:"), fault
    assert words in fault


@pytest.mark.parametrize("identifier", ["46621007", "8186001", "404684003", "138875005"])
def test_a_snomed_id_with_one_digit_changed_or_two_swapped_is_refused(identifier: str) -> None:
    assert is_sctid(identifier)
    for place, digit in enumerate(identifier):
        changed = identifier[:place] + str((int(digit) + 1) % 10) + identifier[place + 1 :]
        assert not is_sctid(changed)
        swapped = identifier[:place] + identifier[place:][:2][::-1] + identifier[place + 2 :]
        assert swapped == identifier or not is_sctid(swapped)


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, '[[finding]]\nid = "A"\nname = "A"\nx = 1\n[[cue]]\nid = "c"\n')
    with pytest.raises(ConfigError) as refused:
        load_lexicon([path, tmp_path / "missing.toml"])
    assert len(refused.value.faults) >= 4


def test_a_path_becomes_a_pattern_whose_labels_sit_at_the_lower_end() -> None:
    rule = RuleTable(
        id="r", effect=Effect.ABSENT, path="mention <pobj of <prep evidence|sign >det no"
    )
    assert pattern_of(rule) == [
        {"RIGHT_ID": "0", "RIGHT_ATTRS": {"ENT_TYPE": "FINDING", "DEP": {"IN": ["pobj"]}}},
        {
            "LEFT_ID": "0",
            "REL_OP": "<",
            "RIGHT_ID": "1",
            "RIGHT_ATTRS": {"LOWER": {"IN": ["of"]}, "DEP": {"IN": ["prep"]}},
        },
        {
            "LEFT_ID": "1",
            "REL_OP": "<",
            "RIGHT_ID": "2",
            "RIGHT_ATTRS": {"LOWER": {"IN": ["evidence", "sign"]}},
        },
        {
            "LEFT_ID": "2",
            "REL_OP": ">",
            "RIGHT_ID": "3",
            "RIGHT_ATTRS": {"LOWER": {"IN": ["no"]}, "DEP": {"IN": ["det"]}},
        },
    ]


@pytest.mark.parametrize("path", ["", "mention", "mention >det", "mention =det no", "x >det no"])
def test_a_path_that_cannot_be_read_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        pattern_of(RuleTable(id="r", effect=Effect.ABSENT, path=path))
