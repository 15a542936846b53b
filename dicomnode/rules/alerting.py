"""What an algorithm found, held against the alerts of the rule that called for it."""

import re
from collections.abc import Sequence
from functools import lru_cache

from dicomnode.domain.errors import RuleError
from dicomnode.domain.outcomes import FindingRecord
from dicomnode.domain.triage import Flag
from dicomnode.rules.loading import load_rules
from dicomnode.rules.model import Alert, Rule

_NUMBER = re.compile(r"\s+\d+$")


@lru_cache(maxsize=8)
def rule_named(text: str, name: str) -> Rule | None:
    """A rule of one version of the rule file; None if it cannot be read or has none of the name."""
    try:
        rules = load_rules(text, file="rules")
    except RuleError:
        # It was sound when it was kept; a later version of the node may read it otherwise.
        return None
    return next((rule for rule in rules.rules if rule.name == name), None)


def flag_of(rule: Rule, findings: Sequence[FindingRecord]) -> Flag | None:
    """How urgent the findings make their study; None: no alert holds.

    The most urgent alert counts, and every finding that one of its urgency holds for is named.
    """
    held = [
        (alert.to, finding.name)
        for alert in rule.alerts
        for finding in findings
        if _holds(alert, finding)
    ]
    if not held:
        return None
    most_urgent = min((to for to, _ in held), key=lambda priority: priority.value)
    names = dict.fromkeys(name for to, name in held if to is most_urgent)
    return Flag(rule=rule.name, to=most_urgent, findings=tuple(names))


def _holds(alert: Alert, finding: FindingRecord) -> bool:
    """A class or a lesion of the name, positive or, where the alert says, of that score."""
    # Lesions are counted: `Nodule 1`, `Nodule 2`.
    name = _NUMBER.sub("", finding.name) if finding.kind == "lesion" else finding.name
    if finding.kind not in ("class", "lesion") or name.lower() not in alert.findings:
        return False
    if alert.at_least is not None:
        return finding.score is not None and finding.score >= alert.at_least
    return finding.kind == "lesion" or finding.text == "positive"
