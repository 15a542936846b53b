"""From mentions to labels: windows and graph, conflicts, policies."""

from itertools import chain, combinations

import pytest

from dicomnode.domain.errors import ConfigError
from dicomnode.domain.reports import (
    Assertion,
    Circumstance,
    Hedge,
    Label,
    Method,
    Reason,
    Report,
    ReportPart,
)
from dicomnode.reports import explain
from dicomnode.reports.aggregate import CASES
from dicomnode.reports.policy import load_policy
from tests.unit.reports_reading import mined, miner, report


def test_every_combination_of_assertions_is_a_case() -> None:
    every = chain.from_iterable(combinations(Assertion, size) for size in range(4))
    assert set(CASES) == {frozenset(each) for each in every}


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Clear.", Label.NOT_MENTIONED),
        ("No effusion.", Label.NEGATIVE),
        ("Possible effusion.", Label.UNCERTAIN),
        ("Effusion.", Label.POSITIVE),
        ("No large effusion. Small effusion.", Label.POSITIVE),
        ("No effusion. Possible effusion.", Label.UNCERTAIN),
        ("History of effusion.", Label.NOT_MENTIONED),
    ],
)
def test_conflicts_are_decided_as_the_table_says(text: str, label: Label) -> None:
    assert mined(text).labels["effusion"].value is label


def test_a_label_shows_the_mention_that_decided_it() -> None:
    text = "No large effusion. Small left effusion."
    deciding = mined(text).labels["effusion"].deciding
    assert deciding is not None
    assert deciding.sentence.of(text) == "Small left effusion."


def test_a_mention_shows_the_words_and_the_rule_that_decided_it() -> None:
    text = "There is no evidence of pneumothorax."
    (mention,) = mined(text).mentions
    assert mention.span.of(text) == "pneumothorax"
    assert mention.decision.rule == "no"
    assert mention.decision.trigger is not None
    assert "no" in mention.decision.trigger.of(text)


def test_places_count_from_the_start_of_the_part() -> None:
    parts = (
        ReportPart(name="findings", text="COMPARISON: none.\nFINDINGS: Clear. Small effusion."),
        ReportPart(name="impression", text="Effusion."),
    )
    (labels,) = miner().mine([Report(report_id="r", parts=parts)])
    words = [
        (mention.part, mention.span.of(parts[mention.part].text))
        for mention in labels.mentions
        if mention.label == "effusion"
    ]
    assert words == [(0, "effusion"), (1, "Effusion")]


def test_where_windows_and_graph_differ_both_opinions_are_kept() -> None:
    text = "Mild cephalization, no effusion seen on the left side, dense nodule in the apex."
    for mention in mined(text).mentions:
        if mention.decision.graph is not None:
            agree = mention.decision.graph is mention.decision.window
            assert mention.decision.disagrees is not agree


def test_sentences_the_windows_are_sure_of_are_not_parsed() -> None:
    reader = miner().graph
    assert reader is not None
    mined("Small effusion.")
    before = reader.parsed
    mined("No zebra effusion.")
    assert reader.parsed == before


@pytest.mark.parametrize(
    ("policy", "text", "expected"),
    [
        ("strict", "Possible pneumonia.", Label.UNCERTAIN),
        ("chestxray8", "Possible pneumonia.", Label.NEGATIVE),
        ("openi", "Possible pneumonia.", Label.NEGATIVE),
        ("strict", "Probable pneumonia.", Label.UNCERTAIN),
        ("chestxray8", "Probable pneumonia.", Label.NEGATIVE),
        ("openi", "Probable pneumonia.", Label.POSITIVE),
        ("strict", "Pneumonia.", Label.POSITIVE),
        ("openi", "Pneumonia.", Label.POSITIVE),
    ],
)
def test_a_policy_decides_what_a_hedge_counts(policy: str, text: str, expected: Label) -> None:
    assert mined(text, policy).labels["pneumonia"].value is expected


def test_a_policy_changes_labels_and_never_mentions() -> None:
    text = "Possible pneumonia, likely atelectasis, no effusion."
    mentions = {policy: mined(text, policy).mentions for policy in ("strict", "openi")}
    assert mentions["strict"] == mentions["openi"]


def test_only_the_policy_of_openi_calls_a_report_without_text_normal() -> None:
    mined_by = {name: mined("", name) for name in ("strict", "chestxray8", "openi")}
    assert {name: labels.normal for name, labels in mined_by.items()} == {
        "strict": False,
        "chestxray8": False,
        "openi": True,
    }
    assert {labels.flags for labels in mined_by.values()} == {(Reason.EMPTY,)}


def test_a_limb_examined_on_the_same_occasion_says_nothing_of_the_chest() -> None:
    text = "Chest. No active disease. Left knee. Large effusion. Chest 2. Small nodule."
    assert [(m.label, m.span.of(text)) for m in mined(text).mentions if m.label] == [
        ("nodule", "nodule")
    ]
    alone = mined("Left knee. Severe degenerative disease.", "openi")
    assert (alone.flags, alone.normal) == ((Reason.EMPTY,), False)


def test_a_sentence_that_takes_back_the_one_before_is_read_with_it() -> None:
    text = "Small left nodule. It has resolved. Effusion. This is small."
    (nodule, effusion) = mined(text).mentions
    assert nodule.sentence.of(text) == "Small left nodule. It has resolved."
    assert (nodule.assertion, effusion.assertion) == (Assertion.ABSENT, Assertion.PRESENT)


def test_an_unknown_policy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="chestxray8, openi, strict"):
        load_policy("lenient", miner().lexicon)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The heart is normal in size. The lungs are clear.", True),
        ("No acute disease.", True),
        ("Calcified granuloma in the left lung. No acute disease.", False),
        ("Degenerative changes of the spine.", False),
        ("History of pneumonia. Clear lungs.", True),
        ("Possible nodule.", False),
        ("", False),
        ("INDICATION: chest pain.", False),
    ],
)
def test_normal_means_no_abnormal_finding_in_a_text(text: str, normal: bool) -> None:
    assert mined(text).normal is normal


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", Reason.EMPTY),
        (" \n ... ", Reason.EMPTY),
        ("INDICATION: cough.", Reason.EMPTY),
        ("\x00\x01\x02 effusion", Reason.NOT_TEXT),
        ("effusion " * 20_000, Reason.TOO_LONG),
        (
            "Herzschatten mittelst\u00e4ndig, nicht verbreitert, Zwerchfelle glatt und gut frei.",
            Reason.OTHER_LANGUAGE,
        ),
    ],
)
def test_what_cannot_be_read_is_flagged_and_labelled_nothing(text: str, reason: Reason) -> None:
    labels = mined(text)
    assert labels.flags == (reason,)
    assert not labels.normal
    assert {label.value for label in labels.labels.values()} == {Label.NOT_MENTIONED}


def test_bare_values_are_those_of_the_full_answer() -> None:
    texts = ["No effusion.", "Possible nodule. Cardiomegaly.", "", "Old rib fracture."]
    reports = [report(text) for text in texts]
    for full, bare in zip(miner().mine(reports), miner().values(reports), strict=True):
        assert bare.normal is full.normal
        assert bare.flags == full.flags
        for name, label in full.labels.items():
            assert bare.values.get(name, Label.NOT_MENTIONED) is label.value


def test_the_same_words_mean_the_same_with_windows_alone() -> None:
    text = "No effusion or pneumothorax. Cardiomegaly."
    assert {n: v.value for n, v in mined(text).labels.items()} == {
        n: v.value for n, v in mined(text, graph=False).labels.items()
    }


def test_hedges_and_circumstances_are_kept_apart() -> None:
    hedges = {m.concept: m.hedge for m in mined("Likely atelectasis. Possible nodule.").mentions}
    assert hedges == {"atelectasis": Hedge.LIKELY, "nodule": Hedge.POSSIBLE}
    (past,) = mined("Family history of fibrosis.").mentions
    assert past.circumstance is Circumstance.FAMILY


def test_an_explanation_shows_words_rules_and_graph() -> None:
    text = "No evidence of pneumothorax, but a small effusion in the left base is not excluded."
    shown = str(explain(text, miner()))
    assert "'pneumothorax' is pneumothorax: absent" in shown
    assert "not-excluded-after at 'is not excluded'" in shown
    assert "\u2514\u2500 " in shown
    assert "effusion: uncertain" in shown
    assert "normal: no" in shown


def test_the_graph_overrules_the_windows_only_as_written() -> None:
    labels = mined("Upper lobe airspace disease is not in any way excluded.")
    for mention in labels.mentions:
        if mention.decision.method is Method.GRAPH:
            assert mention.assertion is mention.decision.graph
