"""Which of several fitting series goes in."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from dicomnode.domain.identifiers import SeriesUid
from dicomnode.domain.studies import SeriesFacts
from dicomnode.rules.model import InputRule, Preference, Take
from dicomnode.rules.subjects import first_number, orientation_of, slices_of, spacing_of

_LAST = float("inf")


def in_order(
    candidates: Iterable[SeriesFacts], prefer: Sequence[Preference]
) -> tuple[SeriesFacts, ...]:
    """`candidates`, best first.

    By each preference in turn; a series whose header does not state what is asked comes after all
    that do. Ties: more slices, then the lower SeriesNumber, then SeriesInstanceUID as text, so
    that the order never depends on the order of arrival.
    """
    wishes = (*prefer, Preference.MOST_SLICES, Preference.EARLIEST)
    return tuple(
        sorted(
            candidates,
            key=lambda facts: (*(_RANKS[wish](facts) for wish in wishes), facts.series_uid),
        )
    )


def assignments(
    inputs: Sequence[InputRule], fitting: Mapping[str, Sequence[SeriesFacts]]
) -> tuple[Mapping[str, SeriesUid], ...]:
    """Input name -> series, once for each run; empty if some input cannot be filled.

    `fitting` has the series of each input, best first. No series is used for two inputs of one
    run; earlier inputs choose first, but never so that a later one is left without.
    """
    each = next((one for one in inputs if one.take is Take.EACH), None)
    if each is None:
        chosen = _fill(inputs, fitting, {})
        return () if chosen is None else (chosen,)
    runs = (_fill(inputs, {**fitting, each.name: (facts,)}, {}) for facts in fitting[each.name])
    return tuple(run for run in runs if run is not None)


def _fill(
    inputs: Sequence[InputRule],
    fitting: Mapping[str, Sequence[SeriesFacts]],
    chosen: Mapping[str, SeriesUid],
) -> Mapping[str, SeriesUid] | None:
    if not inputs:
        return chosen
    first, *rest = inputs
    for facts in fitting[first.name]:
        if facts.series_uid not in chosen.values():
            filled = _fill(rest, fitting, {**chosen, first.name: facts.series_uid})
            if filled is not None:
                return filled
    return None


def _thickness(facts: SeriesFacts) -> float | None:
    return first_number(facts, "SliceThickness") or spacing_of(facts)


def _matrix(facts: SeriesFacts) -> float:
    return (first_number(facts, "Rows") or 0) * (first_number(facts, "Columns") or 0)


def _is_original(facts: SeriesFacts) -> bool:
    kind = facts.values.get("ImageType", ())
    return bool(kind) and kind[0].strip().upper() == "ORIGINAL"


def _rising(number: float | None) -> float:
    return _LAST if number is None else number


def _falling(number: float | None) -> float:
    return _LAST if number is None else -number


# Smaller is better.
_RANKS: Mapping[Preference, Callable[[SeriesFacts], float]] = {
    Preference.THINNEST: lambda facts: _rising(_thickness(facts)),
    Preference.THICKEST: lambda facts: _falling(_thickness(facts)),
    Preference.MOST_SLICES: lambda facts: -slices_of(facts),
    Preference.FEWEST_SLICES: slices_of,
    Preference.LARGEST_MATRIX: lambda facts: -_matrix(facts),
    Preference.LATEST: lambda facts: _falling(first_number(facts, "SeriesNumber")),
    Preference.EARLIEST: lambda facts: _rising(first_number(facts, "SeriesNumber")),
    Preference.AXIAL: lambda facts: orientation_of(facts) != "axial",
    Preference.ORIGINAL: lambda facts: not _is_original(facts),
}
