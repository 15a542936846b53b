"""Findings that make a study urgent, by rule."""

import pytest

from dicomnode.domain.errors import RuleError
from dicomnode.domain.matching import Priority
from dicomnode.domain.outcomes import FindingRecord
from dicomnode.rules.alerting import flag_of, idle_alerts
from dicomnode.rules.loading import load_rules
from dicomnode.rules.model import Rule

RULE = """
[[rule]]
name = "chest"
algorithm = "cxr_thorax"

[rule.series.image]
Modality = "CR"

[[rule.alert]]
finding = "Pneumothorax"
to = "stat"

[[rule.alert]]
finding = ["Effusion", "nodule"]
at_least = 0.6
to = "high"
"""


def rule(text: str = RULE) -> Rule:
    return load_rules(text, file="rules.toml").rules[0]


def found(name: str, *, score: float = 0.9, said: str = "positive") -> FindingRecord:
    return FindingRecord(kind="class", name=name, score=score, text=said)


def test_a_positive_class_flags_and_the_most_urgent_alert_counts() -> None:
    flag = flag_of(rule(), [found("Effusion"), found("Pneumothorax"), found("Cardiomegaly")])
    assert flag is not None
    assert (flag.rule, flag.to, flag.findings) == ("chest", Priority.STAT, ("Pneumothorax",))


def test_a_negative_class_or_one_below_the_alerts_score_flags_nothing() -> None:
    assert flag_of(rule(), [found("Pneumothorax", said="negative")]) is None
    assert flag_of(rule(), [found("Effusion", score=0.5)]) is None
    assert flag_of(rule(), []) is None


def test_a_score_is_asked_for_whatever_the_operating_point_and_lesions_count_by_their_type() -> (
    None
):
    flag = flag_of(rule(), [found("Effusion", score=0.7, said="negative")])
    assert flag is not None
    assert flag.to is Priority.HIGH
    lesion = FindingRecord(kind="lesion", name="Nodule 2", score=0.8)
    assert flag_of(rule(), [lesion]) is not None
    caption = FindingRecord(kind="caption", name="Effusion", text="positive")
    assert flag_of(rule(), [caption]) is None


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('finding = ""\nto = "stat"', "finding names what the algorithm reports"),
        ('finding = "Effusion"\nto = "low"', "to must be more urgent than routine"),
        ('finding = "Effusion"\nat_least = 2', "at_least is a number above 0 and below 1"),
        ('finding = "Effusion"\nwhen = 2', "when"),
        ('to = "stat"', "finding names what the algorithm reports"),
    ],
)
def test_an_alert_that_cannot_be_is_a_fault_with_its_line(line: str, fault: str) -> None:
    text = RULE.split("[[rule.alert]]", maxsplit=1)[0] + f"[[rule.alert]]\n{line}\n"
    with pytest.raises(RuleError, match=fault):
        load_rules(text, file="rules.toml")


def test_an_alert_on_what_the_algorithm_never_reports_is_named() -> None:
    rules = load_rules(RULE, file="rules.toml")
    (said,) = idle_alerts(rules, {"cxr_thorax": {"Effusion", "Nodule", "Cardiomegaly"}})
    assert "'pneumothorax' never holds" in said
    assert "Cardiomegaly, Effusion, Nodule" in said
    assert idle_alerts(rules, {"cxr_thorax": {"Effusion", "Nodule", "Pneumothorax"}}) == []
    assert idle_alerts(rules, {"cxr_thorax": None}) == idle_alerts(rules, {}) == []
    assert len(idle_alerts(rules, {"cxr_thorax": ()})) == 3
