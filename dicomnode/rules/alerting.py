"""What an algorithm found, held against the alerts of the rule that called for it."""

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

from dicomnode.domain.errors import RuleError
from dicomnode.domain.outcomes import FindingRecord
from dicomnode.domain.triage import Flag
from dicomnode.rules.loading import load_rules
from dicomnode.rules.model import Alert, Rule, RuleSet

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


def idle_alerts(rules: RuleSet, flaggable: Mapping[str, Collection[str] | None]) -> list[str]:
    """Names in alerts that never hold, because the rule's algorithm reports nothing called so.

    `flaggable`: algorithm -> what alerts can ask it for; None: not known. Such a rule is loaded
    all the same: a class may be switched on by the model's next version.
    """
    said = []
    for rule in rules.rules:
        reported = flaggable.get(rule.algorithm)
        if reported is None:
            continue
        known = {name.lower() for name in reported}
        asked = (name for alert in rule.alerts for name in alert.findings)
        said += [
            f"rule '{rule.name}': the alert on '{name}' never holds; {rule.algorithm} reports "
            f"{', '.join(sorted(reported)) or 'nothing that alerts can ask for'}"
            for name in dict.fromkeys(asked)
            if name not in known
        ]
    return said
