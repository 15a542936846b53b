"""What holds for every report."""

from hypothesis import given, settings
from hypothesis import strategies as st

from dicomnode.domain.reports import Label, Report, ReportPart
from tests.unit.reports_reading import mined, miner

FINDINGS = st.sampled_from(
    ["effusion", "pneumothorax", "pneumonia", "pulmonary edema", "a nodule", "cardiomegaly"]
)
SENTENCES = st.sampled_from(
    [
        "No pleural effusion.",
        "Small left effusion.",
        "Possible nodule.",
        "The heart is enlarged.",
        "Heart size is normal.",
        "There is no pneumothorax, but atelectasis is present.",
        "Pneumonia cannot be excluded.",
        "Old rib fractures.",
        "Edema has resolved.",
        "The lungs are clear.",
    ]
)
WORDS = st.sampled_from(
    [
        *("no", "without", "not", "is", "cannot", "exclude", "may", "represent", "history", "of"),
        *("effusion", "pneumothorax", "nodule", "heart", "enlarged", "the", "left", "XXXX", "or"),
        *(",", ".", ":", ";", "and", "\n", "\u0130", "4.5", "cm", "\U0001fac1", "FINDINGS:"),
        "(series 3 image 4)",
    ]
)
QUICK = settings(max_examples=60, deadline=None, derandomize=True)


@QUICK
@given(st.lists(WORDS, max_size=40).map(" ".join))
def test_spans_always_slice_the_untouched_text(text: str) -> None:
    labels = mined(text, graph=False)
    for mention in labels.mentions:
        assert 0 <= mention.sentence.start <= mention.span.start
        assert mention.span.start < mention.span.end <= mention.sentence.end <= len(text)
        assert mention.span.of(text).strip() == mention.span.of(text) != ""
        trigger = mention.decision.trigger
        if trigger is not None:
            assert mention.sentence.start <= trigger.start < trigger.end <= mention.sentence.end


@QUICK
@given(st.text(max_size=300))
def test_any_text_gets_an_answer(text: str) -> None:
    labels = mined(text, graph=False)
    assert set(labels.labels) == set(miner().lexicon.labels)
    assert not (labels.normal and labels.flags)


@QUICK
@given(FINDINGS, st.sampled_from(["", ".", " is seen.", " on either side."]))
def test_no_evidence_of_a_lone_finding_is_never_positive(finding: str, tail: str) -> None:
    labels = mined(f"No evidence of {finding}{tail}").labels
    assert Label.POSITIVE not in {label.value for label in labels.values()}


@QUICK
@given(st.permutations(range(5)), st.lists(SENTENCES, min_size=5, max_size=5))
def test_order_of_unrelated_sentences_does_not_change_labels(
    order: list[int], sentences: list[str]
) -> None:
    values = [
        {name: label.value for name, label in mined(" ".join(text)).labels.items()}
        for text in (sentences, [sentences[place] for place in order])
    ]
    assert values[0] == values[1]


@QUICK
@given(SENTENCES, SENTENCES)
def test_splitting_a_report_into_parts_does_not_change_labels(one: str, other: str) -> None:
    parts = (ReportPart(name="findings", text=one), ReportPart(name="impression", text=other))
    (apart,) = miner().mine([Report(report_id="r", parts=parts)])
    together = mined(f"{one} {other}")
    assert apart.normal == together.normal
    assert {n: v.value for n, v in apart.labels.items()} == {
        n: v.value for n, v in together.labels.items()
    }


@QUICK
@given(st.lists(SENTENCES, min_size=1, max_size=6))
def test_a_batch_says_what_each_report_says_alone(sentences: list[str]) -> None:
    reports = [
        Report(report_id=str(place), parts=(ReportPart(name="text", text=text),))
        for place, text in enumerate(sentences)
    ]
    together = miner().mine(reports)
    assert together == [miner().mine([each])[0] for each in reports]
