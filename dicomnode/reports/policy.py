"""What counts as a label: a table from (concept or label, assertion or hedge) to a value.

Gold standards differ in what they make of a hedged mention; sentences do not. So mentions keep
what was written, and a policy is applied last.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import product
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dicomnode.domain.errors import ConfigError
from dicomnode.domain.reports import Assertion, Hedge
from dicomnode.reports.lexicon import Finding, Lexicon

Value = Literal["present", "absent", "uncertain", "ignored"]
_VALUES: Mapping[Value, Assertion | None] = {
    "present": Assertion.PRESENT,
    "absent": Assertion.ABSENT,
    "uncertain": Assertion.UNCERTAIN,
    "ignored": None,
}
ANY = "*"


class _Row(BaseModel):
    """What to make of a mention; a hedge's own column goes before `uncertain`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    present: Value | None = None
    absent: Value | None = None
    uncertain: Value | None = None
    likely: Value | None = None
    possible: Value | None = None
    differential: Value | None = None
    not_excluded: Value | None = Field(default=None, alias="not-excluded")
    borderline: Value | None = None

    def value(self, assertion: Assertion, hedge: Hedge) -> Value | None:
        by_hedge = {
            Hedge.NONE: None,
            Hedge.LIKELY: self.likely,
            Hedge.POSSIBLE: self.possible,
            Hedge.DIFFERENTIAL: self.differential,
            Hedge.NOT_EXCLUDED: self.not_excluded,
            Hedge.BORDERLINE: self.borderline,
        }
        by_assertion = {
            Assertion.PRESENT: self.present,
            Assertion.ABSENT: self.absent,
            Assertion.UNCERTAIN: self.uncertain,
        }
        return by_hedge[hedge] or by_assertion[assertion]


class _Table(BaseModel):
    """`labels`: rows that make labels; `normal`: rows that decide what speaks against `normal`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: dict[str, _Row]
    normal: dict[str, _Row]
    no_text_is_normal: bool = False


_Key = tuple[str, Assertion, Hedge]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy for one lexicon, looked up by (concept, assertion, hedge)."""

    name: str
    labels: Mapping[_Key, Assertion | None]
    normal: Mapping[_Key, Assertion | None]
    no_text_is_normal: bool = False
    """A convention of one collection; the report stays flagged as empty."""

    def counted(self, finding: Finding, assertion: Assertion, hedge: Hedge) -> Assertion | None:
        """The assertion a mention counts with for its label; None: it does not count."""
        return self.labels[finding.id, assertion, hedge]

    def speaks_against_normal(self, finding: Finding, assertion: Assertion, hedge: Hedge) -> bool:
        """True if a report with such a mention is not normal."""
        return self.normal[finding.id, assertion, hedge] is Assertion.PRESENT


def load_policy(name: str, lexicon: Lexicon) -> Policy:
    """The shipped policy `name` (`strict`, `chestxray8`, `openi`).

    Raises:
        ConfigError: there is none, or its table cannot be used.
    """
    path = files("dicomnode.reports") / "lexicons" / "policies" / "policies.toml"
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    if name not in tables:
        raise ConfigError([f"no policy {name!r}; known: {', '.join(sorted(tables))}"])
    try:
        table = _Table.model_validate(tables[name])
    except ValidationError as exc:
        raise ConfigError(
            [f"{path}: {name}.{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in exc.errors()]
        ) from exc
    known = {ANY, *lexicon.findings, *lexicon.labels}
    if strangers := sorted({*table.labels, *table.normal} - known):
        raise ConfigError([f"{path}: {name}: no concept or label {row!r}" for row in strangers])
    return Policy(
        name=name,
        labels=_filled(table.labels, lexicon),
        normal={
            key: value if lexicon.findings[key[0]].abnormal else None
            for key, value in _filled(table.normal, lexicon).items()
        },
        no_text_is_normal=table.no_text_is_normal,
    )


def _filled(rows: Mapping[str, _Row], lexicon: Lexicon) -> dict[_Key, Assertion | None]:
    """Every cell: the concept's own row, else its label's, else `*`, else what was asserted."""
    return {
        (finding.id, assertion, hedge): _cell(rows, finding, assertion, hedge)
        for finding, assertion, hedge in product(lexicon.findings.values(), Assertion, Hedge)
    }


def _cell(
    rows: Mapping[str, _Row], finding: Finding, assertion: Assertion, hedge: Hedge
) -> Assertion | None:
    for row in (finding.id, finding.label, ANY):
        value = rows[row].value(assertion, hedge) if row is not None and row in rows else None
        if value is not None:
            return _VALUES[value]
    return assertion
