"""Why a text gets the labels it gets, down to the words, rules and edges."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicomnode.domain.reports import Label, Mention, Report, ReportLabels, ReportPart
from dicomnode.reports.mining import Miner
from dicomnode.reports.statements import read_sentence

if TYPE_CHECKING:
    from spacy.tokens import Token


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceExplanation:
    """One sentence of an asserting section."""

    sentence: str
    mentions: tuple[Mention, ...]
    drawing: str
    """The dependency graph as text; empty where the windows were sure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A text with everything that was made of it."""

    text: str
    labels: ReportLabels
    sentences: tuple[SentenceExplanation, ...]

    def __str__(self) -> str:
        """The whole story, for a terminal."""
        return "\n".join(_lines(self))


def explain(text: str, miner: Miner) -> Explanation:
    """Mine one free text and tell how each label came about."""
    report = Report(report_id="", parts=(ReportPart(name="text", text=text),))
    (labels,) = miner.mine([report])
    by_sentence: dict[tuple[int, int], list[Mention]] = {}
    for mention in labels.mentions:
        by_sentence.setdefault((mention.sentence.start, mention.sentence.end), []).append(mention)
    return Explanation(
        text=text,
        labels=labels,
        sentences=tuple(
            SentenceExplanation(
                sentence=text[start:end],
                mentions=tuple(mentions),
                drawing=_drawing(text[start:end], miner),
            )
            for (start, end), mentions in by_sentence.items()
        ),
    )


def _drawing(sentence: str, miner: Miner) -> str:
    skeleton = read_sentence(sentence, miner.lexicon, ask_graph=True).skeleton
    if miner.graph is None or skeleton is None:
        return ""
    doc = miner.graph.parse(skeleton)
    return "\n".join(line for root in doc if root.head.i == root.i for line in _tree(root, "", ""))


def _tree(token: "Token", lead: str, below: str) -> Iterator[str]:
    """The token and all that hangs on it, one line each: word, edge label."""
    mark = "  [finding]" if token.ent_type_ else ""
    yield f"{lead}{token.text} ({token.dep_}){mark}"
    children = list(token.children)
    for child in children:
        last = child.i == children[-1].i
        branch, rest = ("\u2514\u2500 ", "   ") if last else ("\u251c\u2500 ", "\u2502  ")
        yield from _tree(child, below + branch, below + rest)


def _lines(explanation: Explanation) -> Iterator[str]:
    for part in explanation.sentences:
        yield part.sentence
        for mention in part.mentions:
            yield f"  {_mention(mention, explanation.text)}"
        yield from (f"      {line}" for line in part.drawing.splitlines())
    for name, label in explanation.labels.labels.items():
        if label.value is not Label.NOT_MENTIONED:
            yield f"{name}: {label.value.name.lower()} ({label.case})"
    for flag in explanation.labels.flags:
        yield f"flagged: {flag.value}"
    yield f"normal: {'yes' if explanation.labels.normal else 'no'}"


def _mention(mention: Mention, text: str) -> str:
    decision = mention.decision
    words = f"{mention.span.of(text)!r} is {mention.concept}: {mention.assertion.value}"
    if mention.hedge.value != "none":
        words += f" ({mention.hedge.value})"
    if mention.circumstance.value != "current":
        words += f", {mention.circumstance.value}"
    words += f"; by {decision.method.value}"
    if decision.rule:
        words += f", rule {decision.rule}"
    if decision.trigger is not None:
        words += f" at {decision.trigger.of(text)!r}"
    if decision.disagrees and decision.graph is not None:
        words += f"; windows say {decision.window.value}, graph says {decision.graph.value}"
    return words
