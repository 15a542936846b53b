"""A rule file becomes a `RuleSet`, or every fault in it is reported at once."""

import hashlib
from collections.abc import Collection, Mapping
from enum import Enum
from importlib.resources import files
from typing import TypeVar

from dicomnode.domain.matching import Priority, RuleText, Scope
from dicomnode.rules.conditions import read_conditions
from dicomnode.rules.model import Alert, InputRule, Preference, Raise, Rule, RuleSet, Take
from dicomnode.rules.subjects import SERIES_WORDS, STUDY_WORDS
from dicomnode.rules.toml_source import Path, TomlSource, refuse_unknown_keys, suggestion

RULE_KEYS = frozenset(
    {"name", "algorithm", "note", "enabled", "scope", "priority", "destinations"}
    | {"study", "series", "raise", "alert"}
)
SERIES_SETTINGS = frozenset({"prefer", "take"})
RAISE_SETTINGS = frozenset({"to"})
ALERT_KEYS = frozenset({"finding", "at_least", "to"})
LONGEST_NAME = 64

_Choice = TypeVar("_Choice", bound=Enum)
_PRIORITIES = {priority.name.lower(): priority for priority in Priority}


def default_rules() -> str:
    """The text of the rules shipped with the package."""
    return (files("dicomnode.rules") / "default.toml").read_text(encoding="utf-8")


def kept_text(text: str) -> RuleText:
    """A rule file as it is kept and named: `\\n` line ends, no byte order mark."""
    canonical = text.removeprefix("\ufeff").replace("\r\n", "\n")
    return RuleText(digest=hashlib.sha256(canonical.encode()).hexdigest(), text=canonical)


def load_rules(
    text: str,
    *,
    file: str,
    known_algorithms: Collection[str] | None = None,
    known_destinations: Collection[str] | None = None,
) -> RuleSet:
    """The rules in `text`; `file` is only named in faults.

    With None for the algorithms or destinations, any name is taken.

    Raises:
        RuleError: every fault of the file, each as `file:line: what; did you mean ...`.
    """
    kept = kept_text(text)
    source = TomlSource(kept.text, file=file)
    refuse_unknown_keys(source, (), source.table, {"rule"})
    reader = _RuleReader(source, known_algorithms, known_destinations)
    entries = source.table.get("rule", [])
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        source.fault(("rule",), "rules are written as [[rule]]")
        entries = []
    elif not entries:
        source.fault((), "no [[rule]] in the file; to switch a rule off write enabled = false")
    rules = [reader.read(("rule", index), table) for index, table in enumerate(entries)]
    source.raise_faults()
    return RuleSet(
        digest=kept.digest,
        rules=tuple(rule for rule in rules if rule is not None),
        text=kept.text,
    )


class _RuleReader:
    """Reads `[[rule]]` tables, noting faults in the source."""

    def __init__(
        self,
        source: TomlSource,
        algorithms: Collection[str] | None,
        destinations: Collection[str] | None,
    ) -> None:
        self._source = source
        self._algorithms = algorithms
        self._destinations = destinations
        self._names: set[str] = set()

    def read(self, path: Path, table: Mapping[str, object]) -> Rule | None:
        """The rule at `path`; None only if a fault was noted."""
        refuse_unknown_keys(self._source, path, table, RULE_KEYS)
        name = self._name(path, table)
        algorithm = self._text(path, table, "algorithm")
        if algorithm:
            self._check_known((*path, "algorithm"), "algorithm", algorithm, self._algorithms)
        scope = self._choice(path, table, "scope", {s.value: s for s in Scope}, Scope.STUDY)
        priority = self._choice(path, table, "priority", _PRIORITIES, Priority.ROUTINE)
        study = read_conditions(
            self._source, (*path, "study"), self._table(path, table, "study"), words=STUDY_WORDS
        )
        rule = Rule(
            name=name,
            algorithm=algorithm,
            enabled=self._enabled(path, table),
            scope=scope,
            priority=priority,
            destinations=self._destination_names(path, table),
            study=study,
            inputs=self._inputs(path, table, scope),
            raises=self._raises(path, table, priority),
            alerts=self._alerts(path, table, priority),
        )
        return rule if name and algorithm and rule.inputs else None

    def _name(self, path: Path, table: Mapping[str, object]) -> str:
        name = self._text(path, table, "name")
        if len(name) > LONGEST_NAME or not name.isprintable():
            self._source.fault(
                (*path, "name"), f"a name has at most {LONGEST_NAME} printable characters"
            )
        if name in self._names:
            self._source.fault((*path, "name"), f"a second rule is called '{name}'")
        self._names.add(name)
        return name

    def _inputs(
        self, path: Path, table: Mapping[str, object], scope: Scope
    ) -> tuple[InputRule, ...]:
        here = (*path, "series")
        named = self._table(path, table, "series")
        inputs = [
            self._input((*here, name), name, self._table(here, named, name)) for name in named
        ]
        if not inputs:
            self._source.fault(
                here, "a rule names its series: add [rule.series.image] with conditions"
            )
        if scope is Scope.SERIES and len(inputs) > 1:
            self._source.fault(here, 'a rule with scope = "series" has one [rule.series.…] table')
        if sum(one.take is Take.EACH for one in inputs) > 1:
            self._source.fault(here, 'only one series table of a rule may have take = "each"')
        return tuple(inputs)

    def _input(self, path: Path, name: str, table: Mapping[str, object]) -> InputRule:
        conditions = read_conditions(
            self._source, path, table, words=SERIES_WORDS, settings=SERIES_SETTINGS
        )
        if not table.keys() - SERIES_SETTINGS:
            self._source.fault(path, "at least one condition is needed, e.g. Modality")
        preferences = {one.value: one for one in Preference}
        prefer: list[Preference] = []
        for word in self._texts(path, table, "prefer"):
            if word in preferences:
                prefer.append(preferences[word])
            else:
                self._refuse_word((*path, "prefer"), "prefer", word, preferences)
        take = self._choice(path, table, "take", {t.value: t for t in Take}, Take.BEST)
        return InputRule(name=name, conditions=conditions, prefer=tuple(prefer), take=take)

    def _raises(
        self, path: Path, table: Mapping[str, object], priority: Priority
    ) -> tuple[Raise, ...]:
        raises: list[Raise] = []
        for here, entry in self._entries(path, table, "raise"):
            to = self._more_urgent(here, entry, priority)
            conditions = read_conditions(
                self._source, here, entry, words=STUDY_WORDS, settings=RAISE_SETTINGS
            )
            if not entry.keys() - RAISE_SETTINGS:
                self._source.fault(here, "at least one condition is needed; else set priority")
            raises.append(Raise(to=to, conditions=conditions))
        return tuple(raises)

    def _alerts(
        self, path: Path, table: Mapping[str, object], priority: Priority
    ) -> tuple[Alert, ...]:
        alerts: list[Alert] = []
        for here, entry in self._entries(path, table, "alert"):
            refuse_unknown_keys(self._source, here, entry, ALERT_KEYS)
            to = self._more_urgent(here, entry, priority)
            named = entry.get("finding", [])
            listed = {**entry, "finding": [named]} if isinstance(named, str) else entry
            findings = [one.strip().lower() for one in self._texts(here, listed, "finding")]
            if not findings or not all(findings):
                self._source.fault((*here, "finding"), "finding names what the algorithm reports")
            score = entry.get("at_least")
            is_share = isinstance(score, int | float) and not isinstance(score, bool)
            if score is not None and not (is_share and 0 < float(str(score)) < 1):
                self._source.fault((*here, "at_least"), "at_least is a number above 0 and below 1")
                score = None
            at_least = None if score is None else float(str(score))
            alerts.append(Alert(findings=tuple(findings), to=to, at_least=at_least))
        return tuple(alerts)

    def _entries(
        self, path: Path, table: Mapping[str, object], key: str
    ) -> list[tuple[Path, Mapping[str, object]]]:
        """Tables written as [[rule.KEY]], each with its place."""
        entries = table.get(key, [])
        if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
            self._source.fault((*path, key), f"written as [[rule.{key}]]")
            return []
        return [((*path, key, index), entry) for index, entry in enumerate(entries)]

    def _more_urgent(self, path: Path, table: Mapping[str, object], priority: Priority) -> Priority:
        to = self._choice(path, table, "to", _PRIORITIES, Priority.STAT)
        if to.value >= priority.value:
            self._source.fault(
                (*path, "to"), f"to must be more urgent than {priority.name.lower()}"
            )
        return to

    def _destination_names(self, path: Path, table: Mapping[str, object]) -> tuple[str, ...]:
        names = self._texts(path, table, "destinations")
        for name in names:
            self._check_known((*path, "destinations"), "destination", name, self._destinations)
        return tuple(dict.fromkeys(names))

    def _enabled(self, path: Path, table: Mapping[str, object]) -> bool:
        enabled = table.get("enabled", True)
        if not isinstance(enabled, bool):
            self._source.fault((*path, "enabled"), "enabled is true or false, without quotes")
        return enabled is True

    def _check_known(self, path: Path, what: str, name: str, known: Collection[str] | None) -> None:
        if known is not None and name not in known:
            hint = suggestion(name, known)
            listed = hint or f"; known are {', '.join(sorted(known)) or 'none'}"
            self._source.fault(path, f"no {what} is called '{name}'{listed}")

    def _choice(
        self,
        path: Path,
        table: Mapping[str, object],
        key: str,
        choices: Mapping[str, _Choice],
        default: _Choice,
    ) -> _Choice:
        if key not in table:
            return default
        word = table[key]
        if isinstance(word, str) and word in choices:
            return choices[word]
        self._refuse_word((*path, key), key, str(word), choices)
        return default

    def _refuse_word(self, path: Path, key: str, word: str, choices: Collection[str]) -> None:
        hint = suggestion(word, choices)
        self._source.fault(path, f"{key} is one of {', '.join(choices)}, not '{word}'{hint}")

    def _text(self, path: Path, table: Mapping[str, object], key: str) -> str:
        text = table.get(key)
        if isinstance(text, str) and text.strip():
            return text.strip()
        self._source.fault((*path, key), f'a rule needs {key} = "..."')
        return ""

    def _texts(self, path: Path, table: Mapping[str, object], key: str) -> tuple[str, ...]:
        entries = table.get(key, [])
        if isinstance(entries, list) and all(isinstance(one, str) for one in entries):
            return tuple(entries)
        self._source.fault((*path, key), f'{key} is a list of texts: ["...", "..."]')
        return ()

    def _table(self, path: Path, table: Mapping[str, object], key: str) -> Mapping[str, object]:
        inner = table.get(key, {})
        if isinstance(inner, dict):
            return inner
        self._source.fault((*path, key), f"{key} is a table of conditions")
        return {}
