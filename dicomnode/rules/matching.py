"""Rules held against a closed study: what runs, and why everything else does not."""

from collections.abc import Collection, Mapping, Sequence

from dicomnode.algorithm import InputSpec
from dicomnode.domain.identifiers import SeriesUid
from dicomnode.domain.matching import ConditionVerdict, Match, Priority, RuleVerdict, Scope
from dicomnode.domain.studies import SeriesFacts, StudySnapshot
from dicomnode.rules.choosing import assignments
from dicomnode.rules.holding import held_by_study
from dicomnode.rules.judging import InputVerdict, judge_input
from dicomnode.rules.model import Rule, RuleSet

_MOST_SAID = 3
"""Conditions named in a reason; the verdict has all."""

Needs = Mapping[str, Mapping[str, InputSpec]]
"""Algorithm -> input name -> what it can read."""


def match(
    ruleset: RuleSet, snapshot: StudySnapshot, *, needs: Needs | None = None
) -> tuple[RuleVerdict, ...]:
    """One verdict for every rule, in the order of the file; the same for the same arguments.

    Rules of scope SERIES apply to snapshots of one series and see that series alone; the others
    apply to whole studies. What the algorithm itself needs of a series (`needs`) is held against
    it like the rule's own conditions. A disabled rule is judged but never matches.
    """
    return tuple(
        _verdict(ruleset, rule, snapshot, (needs or {}).get(rule.algorithm))
        for rule in ruleset.rules
    )


def _verdict(
    ruleset: RuleSet,
    rule: Rule,
    snapshot: StudySnapshot,
    needs: Mapping[str, InputSpec] | None,
) -> RuleVerdict:
    if (rule.scope is Scope.SERIES) != (snapshot.series_uid is not None):
        closed = "one series" if rule.scope is Scope.SERIES else "the whole study"
        return RuleVerdict(
            rule_name=rule.name,
            matches=(),
            reason=f"is tried when {closed} closes",
            conditions=(),
        )
    series = _series_looked_at(snapshot)
    study = [held_by_study(one, series, snapshot.calling_aes) for one in rule.study]
    study += _input_names(rule, needs)
    inputs = [judge_input(one, series, (needs or {}).get(one.name)) for one in rule.inputs]
    runs = assignments(rule.inputs, {one.input.name: one.fitting for one in inputs})
    priority, raising = _priority(rule, series, snapshot.calling_aes)
    met = bool(runs) and all(one.held for one in study)
    matches = tuple(
        Match(
            rule_name=rule.name,
            ruleset_digest=ruleset.digest,
            algorithm=rule.algorithm,
            priority=priority,
            destinations=rule.destinations,
            inputs=_in_order_of_needs(run, needs),
        )
        for run in runs
    )
    on_series = [one for judged in inputs for held in judged.by_series.values() for one in held]
    return RuleVerdict(
        rule_name=rule.name,
        matches=matches if met and rule.enabled else (),
        reason=_reason(rule, study, inputs, runs),
        conditions=(*study, *on_series, *raising),
    )


def requirements_met(
    ruleset: RuleSet,
    series: Collection[SeriesFacts],
    *,
    calling_aes: frozenset[str],
    scope: Scope = Scope.STUDY,
    needs: Needs | None = None,
) -> bool | None:
    """True if every series is there that the rules this study has begun to fit require.

    A rule has begun to fit if its study conditions hold and at least one of its inputs has a
    series; another modality's rule never holds a study up. False if a begun rule lacks an input or
    none has begun (then only quiet or the sender's count can close it); None if no enabled rule of
    `scope` exists.
    """
    rules = [rule for rule in ruleset.rules if rule.enabled and rule.scope is scope]
    if not rules:
        return None
    begun: list[bool] = []
    for rule in rules:
        spec = (needs or {}).get(rule.algorithm, {})
        held = [held_by_study(one, tuple(series), calling_aes) for one in rule.study]
        fitting = {
            one.name: judge_input(one, tuple(series), spec.get(one.name)).fitting
            for one in rule.inputs
        }
        if all(one.held for one in held) and any(fitting.values()):
            begun.append(bool(assignments(rule.inputs, fitting)))
    return bool(begun) and all(begun)


def _series_looked_at(snapshot: StudySnapshot) -> tuple[SeriesFacts, ...]:
    return tuple(
        facts
        for uid, facts in sorted(snapshot.series.items())
        if snapshot.series_uid in (None, uid)
    )


def _in_order_of_needs(
    run: Mapping[str, SeriesUid], needs: Mapping[str, InputSpec] | None
) -> Mapping[str, SeriesUid]:
    """The algorithm's first input comes first: findings lie on it."""
    order = {name: place for place, name in enumerate(needs or {})}
    return dict(sorted(run.items(), key=lambda one: order.get(one[0], len(order))))


def _input_names(rule: Rule, needs: Mapping[str, InputSpec] | None) -> list[ConditionVerdict]:
    """Whether the rule fills exactly the inputs the algorithm has."""
    if needs is None:
        return []
    filled = ", ".join(one.name for one in rule.inputs)
    return [
        ConditionVerdict(
            condition=f"algorithm {rule.algorithm} needs series for {', '.join(needs)}",
            subject="study",
            actual=filled,
            held={one.name for one in rule.inputs} == needs.keys(),
        )
    ]


def _priority(
    rule: Rule, series: Sequence[SeriesFacts], calling_aes: frozenset[str]
) -> tuple[Priority, list[ConditionVerdict]]:
    """The most urgent priority that applies, and the verdicts that raised it or did not."""
    urgent = rule.priority
    verdicts: list[ConditionVerdict] = []
    for one in rule.raises:
        prefix = f"priority {one.to.name.lower()}: "
        held = [
            held_by_study(condition, series, calling_aes, prefix=prefix)
            for condition in one.conditions
        ]
        verdicts += held
        if all(verdict.held for verdict in held) and one.to.value < urgent.value:
            urgent = one.to
    return urgent, verdicts


def _reason(
    rule: Rule,
    study: Sequence[ConditionVerdict],
    inputs: Sequence[InputVerdict],
    runs: Sequence[Mapping[str, SeriesUid]],
) -> str:
    """One sentence; names conditions and series, never a value of the header."""
    failed = [one.condition for one in study if not one.held]
    if failed:
        return f"does not match: the study fails {'; '.join(failed)}"
    for judged in inputs:
        if not judged.fitting:
            return f"does not match: {_nearest_miss(judged)}"
    if not runs:
        return "does not match: one series fits several inputs, and each needs its own"
    chosen = " | ".join(
        ", ".join(f"{name} = series {uid} ({_fits(inputs, name)})" for name, uid in run.items())
        for run in runs
    )
    return f"matches: {chosen}" if rule.enabled else f"is disabled; it would match: {chosen}"


def _fits(inputs: Sequence[InputVerdict], name: str) -> str:
    count = next(len(one.fitting) for one in inputs if one.input.name == name)
    return "the only one that fits" if count == 1 else f"of {count} that fit"


def _nearest_miss(judged: InputVerdict) -> str:
    failed = {
        uid: [one.condition for one in held if not one.held]
        for uid, held in judged.by_series.items()
    }
    if not failed:
        return f"no series for {judged.input.name}, the study has none"
    uid = min(failed, key=lambda uid: (len(failed[uid]), uid))
    said = "; ".join(failed[uid][:_MOST_SAID])
    more = len(failed[uid]) - _MOST_SAID
    rest = f" and {more} more" if more > 0 else ""
    return f"no series fits {judged.input.name}; nearest is {uid}, which fails {said}{rest}"
