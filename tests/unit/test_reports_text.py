"""Words, sentences, sections, and the notation of terms."""

from itertools import pairwise

import pytest

from dicomnode.domain.reports import Report, ReportPart, SectionKind
from dicomnode.reports.sections import split_sections
from dicomnode.reports.sentences import LONGEST, split_sentences
from dicomnode.reports.terms import TermIndex, expand
from dicomnode.reports.text import Words, folded
from tests.unit.reports_reading import miner


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in split_sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two.", ["One.", "Two."]),
        ("Left apex.There is more.", ["Left apex.", "There is more."]),
        ("A 3.5 cm mass. Stable.", ["A 3.5 cm mass.", "Stable."]),
        ("1. First. 2. Second.", ["First.", "Second."]),
        ("1) First\n2) Second", ["First", "Second"]),
        ("- First\n- Second", ["First", "Second"]),
        ("Seen by Dr. Smith. Stable.", ["Seen by Dr. Smith.", "Stable."]),
        ("No. effusion.", ["No. effusion."]),
        ("wrapped\nline. Next", ["wrapped\nline.", "Next"]),
        ("One\n\nTwo", ["One", "Two"]),
        (" . . ", []),
        ("", []),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@pytest.mark.parametrize("text", ["no effusion " * 4_000, "x" * 9_000])
def test_a_text_without_an_end_is_cut(text: str) -> None:
    pieces = list(split_sentences(text))
    assert max(end - start for start, end in pieces) <= LONGEST
    assert pieces[0][0] == 0
    assert pieces[-1][1] == len(text.rstrip())
    assert all(one[1] == other[0] for one, other in pairwise(pieces))


def test_folding_keeps_every_place() -> None:
    text = "\u0130stanbul EFFUSION\u2019s"
    assert len(folded(text)) == len(text)
    assert "effusion's" in folded(text)


def test_hyphens_part_words_like_spaces() -> None:
    assert Words("Mass-like").words == Words("mass like").words


def test_words_know_their_place() -> None:
    sentence = "No  left-sided effusion."
    words = Words(sentence)
    assert words.span(1, 3).of(sentence) == "left-sided"


def kinds(*parts: tuple[str, str]) -> list[tuple[SectionKind, str]]:
    report = Report(report_id="", parts=tuple(ReportPart(name=n, text=t) for n, t in parts))
    return [
        (section.kind, section.span.of(report.parts[section.part].text).strip())
        for section in split_sections(report, miner().lexicon.headings)
    ]


def test_headings_open_sections() -> None:
    text = "INDICATION: Cough.\nFINDINGS:\nClear.\nIMPRESSION\nNormal."
    assert kinds(("text", text)) == [
        (SectionKind.INDICATION, "Cough."),
        (SectionKind.FINDINGS, "Clear."),
        (SectionKind.IMPRESSION, "Normal."),
    ]


def test_text_before_any_heading_is_named_by_its_part() -> None:
    assert kinds(("indication", "Cough."), ("note", "Clear."), ("FINDINGS", "Clear.")) == [
        (SectionKind.INDICATION, "Cough."),
        (SectionKind.BODY, "Clear."),
        (SectionKind.FINDINGS, "Clear."),
    ]


def test_an_unknown_heading_opens_nothing() -> None:
    assert kinds(("text", "Wingdings: clear.")) == [(SectionKind.BODY, "Wingdings: clear.")]


def test_only_findings_impression_and_body_assert() -> None:
    asserting = {kind for kind in SectionKind if kind.asserts}
    assert asserting == {SectionKind.FINDINGS, SectionKind.IMPRESSION, SectionKind.BODY}


@pytest.mark.parametrize(
    ("term", "phrases"),
    [
        ("effusion", {"effusion"}),
        ("(a|b) c", {"a c", "b c"}),
        ("[small] c", {"c", "small c"}),
        ("@size c", {"big c", "huge c"}),
        ("[@size|new] c", {"c", "big c", "huge c", "new c"}),
    ],
)
def test_terms_stand_for_their_phrases(term: str, phrases: set[str]) -> None:
    groups = {"size": ("big", "huge")}
    assert {" ".join(phrase) for phrase in expand(term, groups)} == phrases


@pytest.mark.parametrize("term", ["(a|b", "[a", "@nobody x", "(a [b]|c)", "[a]", ""])
def test_terms_that_cannot_be_read_are_refused(term: str) -> None:
    with pytest.raises(ValueError, match=r"cannot read|no group|nothing"):
        expand(term, {})


def test_the_longest_phrase_wins_and_phrases_do_not_overlap() -> None:
    index: TermIndex[str] = TermIndex(lambda one, other: f"{one}+{other}")
    for phrase in ("a b", "a b c d", "b", "d"):
        index.add(tuple(phrase.split()), phrase)
    index.add(("d",), "again")
    found = [(hit.first, hit.last, hit.value) for hit in index.search(list("abcabcdd"))]
    assert found == [(0, 2, "a b"), (3, 7, "a b c d"), (7, 8, "d+again")]
