"""Facts of series, gathered from the headers of their instances."""

from collections.abc import Iterable
from dataclasses import replace

from dicomnode.domain.identifiers import SeriesUid
from dicomnode.domain.instances import InstanceHeader
from dicomnode.domain.studies import SeriesFacts

_VIEW = "ViewPosition"


def facts_of(header: InstanceHeader) -> SeriesFacts:
    """The facts of a series of which `header` is the first instance."""
    return SeriesFacts(
        series_uid=header.series_uid,
        study_uid=header.study_uid,
        modality=header.modality,
        instance_count=1,
        values={**header.study_values, **header.series_values},
    )


def merged(facts: SeriesFacts, further: SeriesFacts) -> SeriesFacts:
    """One series from two parts that share no instance: counts add, the first's values stay.

    Only of ViewPosition every value is kept: a frontal and a lateral radiograph often come as one
    series, and a rule for frontal ones must not depend on which came first.
    """
    values = dict(facts.values)
    views = (*values.get(_VIEW, ()), *further.values.get(_VIEW, ()))
    if views:
        values[_VIEW] = tuple(dict.fromkeys(views))
    count = facts.instance_count + further.instance_count
    return replace(facts, instance_count=count, values=values)


def facts_by_series(headers: Iterable[InstanceHeader]) -> dict[SeriesUid, SeriesFacts]:
    """Every series in `headers`, each instance counted once, values by `merged`."""
    seen: set[str] = set()
    series: dict[SeriesUid, SeriesFacts] = {}
    for header in headers:
        if header.sop_instance_uid in seen:
            continue
        seen.add(header.sop_instance_uid)
        facts = facts_of(header)
        known = series.get(header.series_uid)
        series[header.series_uid] = facts if known is None else merged(known, facts)
    return series
