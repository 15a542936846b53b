"""New rules tried on studies of the past, before they are put to work."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from dicomnode.domain.identifiers import SeriesUid, StudyUid
from dicomnode.domain.matching import Match
from dicomnode.domain.studies import StudySnapshot
from dicomnode.rules.matching import Needs, match
from dicomnode.rules.model import RuleSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One snapshot for which the new rules would do something else."""

    study_uid: StudyUid
    revision: int
    series_uid: SeriesUid | None
    rule_name: str
    before: tuple[Match, ...]
    after: tuple[Match, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What new rules would have changed."""

    snapshots: int
    """How many were looked at."""
    matched_before: int
    """Runs under the old rules."""
    matched_after: int
    """Runs under the new rules."""
    changes: tuple[Change, ...]
    """In the order of the snapshots, then of the rules' names."""


def dry_run(
    old: RuleSet, new: RuleSet, snapshots: Iterable[StudySnapshot], *, needs: Needs | None = None
) -> DryRun:
    """Match each snapshot under both rule sets; rules are the same if they have one name."""
    looked_at = before_count = after_count = 0
    changes: list[Change] = []
    for snapshot in snapshots:
        before = _matches(old, snapshot, needs)
        after = _matches(new, snapshot, needs)
        looked_at += 1
        before_count += sum(map(len, before.values()))
        after_count += sum(map(len, after.values()))
        changes += [
            Change(
                study_uid=snapshot.study_uid,
                revision=snapshot.revision,
                series_uid=snapshot.series_uid,
                rule_name=name,
                before=before.get(name, ()),
                after=after.get(name, ()),
            )
            for name in sorted(before.keys() | after.keys())
            if _effect(before.get(name, ())) != _effect(after.get(name, ()))
        ]
    return DryRun(
        snapshots=looked_at,
        matched_before=before_count,
        matched_after=after_count,
        changes=tuple(changes),
    )


def series_snapshots(snapshot: StudySnapshot) -> tuple[StudySnapshot, ...]:
    """A whole study as if each of its series had closed by itself, for rules of scope SERIES."""
    return tuple(
        replace(snapshot, series_uid=uid, series={uid: facts})
        for uid, facts in sorted(snapshot.series.items())
    )


def _matches(
    ruleset: RuleSet, snapshot: StudySnapshot, needs: Needs | None
) -> dict[str, tuple[Match, ...]]:
    return {verdict.rule_name: verdict.matches for verdict in match(ruleset, snapshot, needs=needs)}


def _effect(matches: tuple[Match, ...]) -> tuple[Match, ...]:
    # The digest always differs between two files and is no difference in what runs.
    return tuple(replace(one, ruleset_digest="") for one in matches)
