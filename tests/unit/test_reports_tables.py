"""Sentences of our own, one expectation each."""

import csv
from pathlib import Path

import pytest

from dicomnode.reports.check import asserted
from tests.unit.reports_reading import mined

DATA = Path(__file__).parents[1] / "data"


def rows(name: str) -> list[tuple[str, str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return [
            (row["sentence"], row["finding"], row["expected"])
            for row in csv.DictReader(file, delimiter="|")
        ]


NEGATION = rows("reports_negation.csv")
HARD = rows("reports_hard.csv")


@pytest.mark.parametrize("graph", [True, False], ids=["with graph", "windows only"])
def test_at_least_98_percent_of_negations_are_read_right(graph: bool) -> None:
    wrong = [
        (sentence, finding)
        for sentence, finding, expected in NEGATION
        if asserted(mined(sentence, graph=graph), finding) != expected
    ]
    assert len(NEGATION) >= 300
    assert len(wrong) <= 0.02 * len(NEGATION), wrong


@pytest.mark.parametrize(("sentence", "finding", "expected"), HARD)
def test_hard_sentence(sentence: str, finding: str, expected: str) -> None:
    assert asserted(mined(sentence), finding) == expected


def test_the_tables_hold_enough_sentences_and_none_twice() -> None:
    both = [(sentence, finding) for sentence, finding, _ in NEGATION + HARD]
    assert len(HARD) >= 150
    assert len({sentence for sentence, *_ in NEGATION}) >= 290
    assert len(set(both)) >= len(both) - 6


@pytest.mark.parametrize(
    ("sentence", "finding", "expected"),
    [
        ("No pneumonia.", "pneumonia", "absent"),
        ("Without pneumonia.", "pneumonia", "absent"),
        ("Clear of pneumonia.", "pneumonia", "absent"),
        ("Free of pneumonia.", "pneumonia", "absent"),
        ("Disappearance of pneumothorax.", "pneumothorax", "absent"),
        ("The lungs are expanded without evidence of pneumonia.", "pneumonia", "absent"),
        ("There is no evidence of pneumothorax.", "pneumothorax", "absent"),
        ("Pneumonia cannot be excluded.", "pneumonia", "uncertain"),
        ("There is concern for pneumonia.", "pneumonia", "uncertain"),
        ("This could be pneumonia.", "pneumonia", "uncertain"),
        ("This may be pneumonia.", "pneumonia", "uncertain"),
        ("It is difficult to exclude pneumonia.", "pneumonia", "uncertain"),
        ("The density may represent pneumonia.", "pneumonia", "uncertain"),
        ("Findings suggesting pneumonia.", "pneumonia", "uncertain"),
        ("We suspect pneumonia.", "pneumonia", "uncertain"),
    ],
)
def test_every_rule_of_chestxray8_holds(sentence: str, finding: str, expected: str) -> None:
    assert asserted(mined(sentence), finding) == expected
