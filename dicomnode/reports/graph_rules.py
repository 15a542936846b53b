"""Rules on the dependency graph, written as a path from the finding.

    mention >det no                      `no` hangs on the finding by an edge `det`
    mention <pobj of <prep evidence      the finding hangs on `of`, which hangs on `evidence`
    mention <dobj exclude >neg|aux not   up to `exclude`, then down to a child of it
    mention << *                         any word above it; `>>` any word below

A node is a word, several (`a|b`), or `*`; an edge names its labels, or none for any.
"""

import re

from dicomnode.reports.schema import RuleTable

FINDING = "FINDING"
"""Entity type of the words that stand for findings."""
_EDGE = re.compile(r"(<<|>>|<|>)([a-z:|]*)")

Pattern = list[dict[str, object]]


def pattern_of(rule: RuleTable) -> Pattern:
    """The rule as spaCy's `DependencyMatcher` takes it (operators of Semgrex).

    Raises:
        ValueError: the path cannot be read.
    """
    words = rule.path.split()
    if not words or words[0] != "mention" or len(words) % 2 == 0 or len(words) < 3:
        raise ValueError(f"the path {rule.path!r} must be `mention edge node [edge node ...]`")
    attributes: list[dict[str, object]] = [{"ENT_TYPE": FINDING}]
    operators: list[str] = []
    for edge, node in zip(words[1::2], words[2::2], strict=True):
        match = _EDGE.fullmatch(edge)
        if match is None:
            raise ValueError(f"{edge!r} in the path {rule.path!r} is not an edge")
        operator, labels = match.groups()
        wanted: dict[str, object] = {} if node == "*" else {"LOWER": {"IN": node.split("|")}}
        if labels:
            # A label belongs to the lower end of its edge.
            lower = attributes[-1] if operator.startswith("<") else wanted
            lower["DEP"] = {"IN": labels.split("|")}
        operators.append(operator)
        attributes.append(wanted)
    pattern: Pattern = [{"RIGHT_ID": "0", "RIGHT_ATTRS": attributes[0]}]
    for number, operator in enumerate(operators):
        pattern.append(
            {
                "LEFT_ID": str(number),
                "REL_OP": operator,
                "RIGHT_ID": str(number + 1),
                "RIGHT_ATTRS": attributes[number + 1],
            }
        )
    return pattern


def nodes_of(rule: RuleTable) -> tuple[frozenset[str], ...]:
    """For each node of the path but the finding: the words it may be; `*` is left out."""
    nodes = rule.path.split()[2::2]
    return tuple(frozenset(node.split("|")) for node in nodes if node != "*")
