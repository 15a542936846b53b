"""The series of a study held against one input of a rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dicomnode.algorithm import InputSpec
from dicomnode.domain.identifiers import SeriesUid
from dicomnode.domain.matching import ConditionVerdict
from dicomnode.domain.studies import SeriesFacts
from dicomnode.rules.choosing import in_order
from dicomnode.rules.holding import held_by_series
from dicomnode.rules.model import InputRule
from dicomnode.rules.subjects import slices_of, spacing_of


@dataclass(frozen=True, slots=True, kw_only=True)
class InputVerdict:
    """How the series of a study stand to one input."""

    input: InputRule
    fitting: tuple[SeriesFacts, ...]
    """Best first."""
    by_series: Mapping[SeriesUid, tuple[ConditionVerdict, ...]]


def judge_input(
    rule: InputRule, series: Sequence[SeriesFacts], spec: InputSpec | None
) -> InputVerdict:
    """Every condition of `rule`, and what the algorithm itself needs, against every series."""
    prefix = f"{rule.name}: "
    by_series: dict[SeriesUid, tuple[ConditionVerdict, ...]] = {}
    for facts in series:
        own = [held_by_series(one, facts, prefix=prefix) for one in rule.conditions]
        by_series[facts.series_uid] = (*own, *_held_by_spec(spec, facts, prefix))
    fitting = [facts for facts in series if all(one.held for one in by_series[facts.series_uid])]
    return InputVerdict(input=rule, fitting=in_order(fitting, rule.prefer), by_series=by_series)


def _held_by_spec(
    spec: InputSpec | None, facts: SeriesFacts, prefix: str
) -> list[ConditionVerdict]:
    """What the algorithm's own description of its input says of a series."""
    if spec is None:
        return []
    slices, spacing = slices_of(facts), spacing_of(facts)
    modalities = " or ".join(sorted(spec.modalities))
    checks = [(f"modality {modalities}", facts.modality, facts.modality in spec.modalities)]
    least = max(2 if spec.dimensions == 3 else 1, spec.min_slices)
    if least > 1:
        checks.append((f"at least {least} slices", str(slices), slices >= least))
    if spec.max_spacing_mm is not None:
        # A header that does not state it is let through: the volume's geometry is checked later.
        checks.append(
            (
                f"at most {spec.max_spacing_mm:g} mm between slices",
                "not stated" if spacing is None else f"{spacing:g}",
                spacing is None or spacing <= spec.max_spacing_mm,
            )
        )
    return [
        ConditionVerdict(
            condition=f"{prefix}algorithm needs {what}",
            subject=facts.series_uid,
            actual=actual,
            held=held,
        )
        for what, actual, held in checks
    ]
