"""Which rules are in force is told, and so is a rule file that cannot be used."""

import structlog

from dicomnode.domain.matching import RuleText
from dicomnode.steps.node import Node
from dicomnode.store.rule_versions import tell_of_rules

log = structlog.get_logger()


class RuleTeller:
    """Looks at the rule file again and again; writes down whatever has changed."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._told: tuple[str, tuple[str, ...]] | None = None

    def look(self) -> bool:
        """Read the file again; tell of it if it, or what is wrong with it, is another."""
        rules = self._node.rules.refresh()
        faults = self._node.rules.faults
        if self._told == (rules.digest, faults):
            return False
        in_force = RuleText(digest=rules.digest, text=rules.text)
        tell_of_rules(self._node.database, in_force, faults, self._node.clock())
        self._told = (rules.digest, faults)
        if faults:
            log.error("rules.refused", faults=faults, in_force=rules.digest)
        else:
            log.info("rules.loaded", digest=rules.digest, rules=len(rules.rules))
        return False
