"""A rule file is taken whole or refused with every fault, its line and what was meant."""

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.domain.errors import RuleError
from dicomnode.domain.matching import Priority, Scope
from dicomnode.rules.loading import default_rules, load_rules
from dicomnode.rules.model import Operator, Preference, Take
from dicomnode.rules.toml_source import Path as TomlPath
from dicomnode.rules.toml_source import line_index

DOCUMENT = Path(__file__).parents[2] / "docs" / "rules.md"

SMALL = """
[[rule]]
name = "a"
algorithm = "lung_ct"
[rule.series.image]
Modality = "CT"
"""


def faults_of(text: str) -> tuple[str, ...]:
    with pytest.raises(RuleError) as caught:
        load_rules(text, file="r.toml", known_algorithms={"lung_ct"}, known_destinations={"pacs"})
    return caught.value.faults


def test_the_shipped_rules_load_and_name_the_shipped_algorithms() -> None:
    ruleset = load_rules(
        default_rules(),
        file="default.toml",
        known_algorithms={"cxr_heart_lung", "cxr_thorax", "body_ct", "lung_ct"},
    )

    assert [rule.algorithm for rule in ruleset.rules] == [
        "cxr_heart_lung",
        "cxr_thorax",
        "body_ct",
        "lung_ct",
    ]
    assert all(rule.enabled and not rule.destinations for rule in ruleset.rules)


@pytest.mark.parametrize(
    "example", re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
)
def test_every_example_of_the_document_loads(example: str) -> None:
    assert load_rules(example, file="docs/rules.md").rules


@pytest.mark.parametrize(
    "condition",
    [
        cell.replace("\\|", "|")
        for cell in re.findall(
            r"^\| `([^`]+)` \| .*$",
            DOCUMENT.read_text(encoding="utf-8").split("## Conditions")[1].split("### ")[0],
            re.MULTILINE,
        )
    ],
)
def test_every_condition_in_the_table_of_the_document_loads(condition: str) -> None:
    assert load_rules(SMALL.replace('Modality = "CT"', condition), file="docs/rules.md").rules


def test_the_document_names_every_word_a_file_may_have() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")

    words = [*(one.value for one in (*Operator, *Preference, *Take, *Scope))]
    words += [one.name.lower() for one in Priority]
    assert [word for word in words if word not in text] == []


def test_a_rule_has_the_documented_defaults() -> None:
    (rule,) = load_rules(SMALL, file="r.toml").rules

    assert (rule.enabled, rule.scope, rule.priority) == (True, Scope.STUDY, Priority.ROUTINE)
    assert (rule.destinations, rule.study, rule.raises) == ((), (), ())
    assert (rule.inputs[0].prefer, rule.inputs[0].take) == ((), Take.BEST)


def test_all_faults_are_reported_at_once_in_the_order_of_lines() -> None:
    faults = faults_of(
        """\
[[rule]]
name = "a"
algoritm = "lung_ct"
destinations = ["pasc"]
priority = "urgent"

[rule.study]
caling_ae = "CT1"
slices.at_least = 3

[rule.series.image]
Modalty = "CT"
SliceThickness.atmost = 3
KVP = "120"
StudyDescription = 3
SeriesDescription.matches = "(?=a)"
PixelData.present = true
prefer = ["thinest"]
"""
    )

    assert [fault.split(": ", 1)[0] for fault in faults] == [
        f"r.toml:{line}" for line in (1, 3, 4, 5, 8, 9, 12, 13, 14, 15, 16, 17, 18)
    ]
    text = "\n".join(faults)
    for meant in ("algorithm", "pacs", "calling_ae", "Modality", "at_most", "thinnest"):
        assert f"did you mean '{meant}'?" in text
    assert "slices' cannot stand here" in text


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('Modality = "CT"', "Modality = []", "one or more of one kind"),
        ('Modality = "CT"', 'Modality = ["CT", 3]', "one or more of one kind"),
        ('Modality = "CT"', "Modality = true", "a text in quotes or a number"),
        ('Modality = "CT"', "KVP.between = [140, 80]", "smaller number first"),
        ('Modality = "CT"', "KVP.between = [140]", "two numbers"),
        ('Modality = "CT"', "KVP.at_most = [140]", "one number"),
        ('Modality = "CT"', 'KVP.at_most = "3"', "one number"),
        ('Modality = "CT"', "KVP.present = 1", "true or false"),
        ('Modality = "CT"', "SeriesDescription.below = 3", "is text"),
        ('Modality = "CT"', "SeriesDescription.matches = 3", "regular expression"),
        ('Modality = "CT"', "SeriesDescription.matches = '(a{11}){1,10}'", "more than 100"),
        ('Modality = "CT"', "SeriesDescription.matches = 'a('", "unclosed group"),
        ('Modality = "CT"', f"SeriesDescription.matches = '{'a' * 251}'", "longer than 250"),
        ('Modality = "CT"', 'ImageType.all_of = ["A", ""]', "all_of cannot contain"),
        ('Modality = "CT"', 'orientation = "transversal"', "orientation is one of"),
        ('Modality = "CT"', 'view = "PA"', "view is one of"),
        ('Modality = "CT"', 'calling_ae = "A"', "belongs in [rule.study]"),
        ('Modality = "CT"', "MediaStorageSOPClassUID.present = true", "not part of the image"),
        ('Modality = "CT"', "CTExposureSequence.present = true", "a sequence"),
        ('Modality = "CT"', '"0008,0060" = "CT"', "not a known DICOM keyword"),
        ('Modality = "CT"', 'prefer = ["thinnest"]', "at least one condition"),
        ('Modality = "CT"', 'take = "all"\nModality = "CT"', "take is one of"),
        ("[rule.series.image]", "[rule.series]", "a table of conditions"),
        ('name = "a"', "", 'a rule needs name = "..."'),
        ('name = "a"', f'name = "{"a" * 65}"', "at most 64"),
        ('name = "a"', 'name = "a"\nenabled = "no"', "enabled is true or false"),
        ('name = "a"', 'name = "a"\ndestinations = "pacs"', "list of texts"),
        ('"lung_ct"', '"lung"', "no algorithm is called 'lung'"),
        ("[[rule]]", "[rule]", "written as [[rule]]"),
        ("[[rule]]", "[[rules]]", "unknown key 'rules'"),
    ],
)
def test_what_cannot_be_meant_is_refused(old: str, new: str, said: str) -> None:
    assert said in "\n".join(faults_of(SMALL.replace(old, new)))


def test_two_rules_of_one_name_are_refused() -> None:
    assert "a second rule is called 'a'" in faults_of(SMALL * 2)[0]


def test_a_file_without_a_rule_is_refused_so_that_a_half_saved_one_never_counts() -> None:
    assert faults_of("# nothing here\n") == (
        "r.toml:1: no [[rule]] in the file; to switch a rule off write enabled = false",
    )


def test_text_that_is_not_toml_is_refused_with_its_line() -> None:
    assert faults_of('[[rule]]\nname = "a\n')[0].startswith("r.toml:2: not valid TOML")
    assert faults_of('[[rule]]\nname = ["a"')[0].startswith("r.toml:2: not valid TOML")


def test_a_raise_must_be_more_urgent_and_conditional() -> None:
    text = SMALL + '[[rule.raise]]\nto = "low"\n'
    said = "\n".join(faults_of(text))

    assert "must be more urgent than routine" in said
    assert "at least one condition" in said


def test_a_series_rule_with_two_inputs_is_refused() -> None:
    text = SMALL.replace('name = "a"', 'name = "a"\nscope = "series"')
    text += '[rule.series.second]\nModality = "CT"\n'

    assert "has one [rule.series" in faults_of(text)[0]


def test_the_digest_does_not_depend_on_line_ends_or_a_byte_order_mark() -> None:
    plain = load_rules(SMALL, file="a.toml")
    windows = load_rules("\ufeff" + SMALL.replace("\n", "\r\n"), file="b.toml")

    assert plain == windows
    assert plain.digest != load_rules(SMALL + "#", file="a.toml").digest
    assert load_rules(plain.text, file="c.toml") == plain


KEYS = st.sampled_from(["a", "b-c", "Modality", '"x or y"', "'q.r'", '"#"'])
VALUES = st.sampled_from(
    [
        *("1", '"[a] # ="', "'=['", '"""\n[x]\n"quoted" y = 2\n"""', "'''\n'''"),
        *("[\n 1, # ]\n 2,\n]", "{ k = 1, l = '}' }", "true", "1979-05-27"),
    ]
)


@given(st.lists(st.tuples(KEYS, VALUES, st.sampled_from(["", "\n", "# a = 1\n", " \t"]))))
def test_every_key_is_found_on_the_line_it_stands_on(rows: list[tuple[str, str, str]]) -> None:
    text, expected = "", {}
    for index, (key, value, before) in enumerate(rows):
        text += f"{before}[[rule]]\n[rule.series.{key}] # [x]\n"
        (name,) = tomllib.loads(f"{key} = 0")
        path: TomlPath = ("rule", index, "series", name, "k", "z")
        expected[path] = text.count("\n") + 1
        text += f"k.z = {value}\n"
    tomllib.loads(text)

    lines = line_index(text)

    assert {path: lines.get(path) for path in expected} == expected
