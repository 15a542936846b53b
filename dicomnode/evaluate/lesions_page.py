"""An evaluation of lesions as one HTML file: FROC, sizes, operating points, misses; and as JSON."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from html import escape
from math import isfinite, isnan
from pathlib import Path

from dicomnode.evaluate.html import (
    clean_numbers,
    in_digits,
    inline_figure,
    new_figure,
    refused_list,
    table_of,
    with_interval,
    write_pages,
)
from dicomnode.evaluate.lesion_figures import SIZE_RATES, LesionFigures, Missed, OfSize
from dicomnode.evaluate.lesions import ANY, Crop, LesionSummary
from dicomnode.evaluation.froc import RATES, TrueLesion

_LISTED = 10
_DRAWN = 6
_LUNG, _SOFT_TISSUE = (-600.0, 1500.0), (40.0, 400.0)
"""Level and width in Hounsfield units."""
_AIR, _PARTLY = -300.0, 0.3
"""Hounsfield units below which is air or lung; share of it around a lesion of the lung."""

_Key = tuple[str, tuple[float, float, float], tuple[float, float, float]]


def write_lesions_report(
    summary: LesionSummary, out: Path, *, about: Sequence[tuple[str, str]]
) -> None:
    """Write `out` (HTML) and, beside it, the same figures as JSON.

    Raises:
        StudyError: matplotlib is not installed.
    """
    crops = {
        _key(lesion): crop
        for one in summary.volumes
        for lesion, crop in zip(one.lesions, one.crops, strict=True)
    }
    parts = [
        "<h2>Found</h2>",
        _sensitivity(summary.types),
        _froc(summary.types),
        "<h2>By size</h2>",
        _sizes(summary.types),
        "<h2>Operating points</h2>",
        _in_force(summary.types),
        *(_points(one) for one in summary.types if one.name != ANY or len(summary.types) == 1),
        *(_misses(one, crops) for one in summary.types),
        *(_false(one) for one in summary.types),
        _left_out(summary),
    ]
    write_pages(out, about=about, parts=parts, figures=lesion_figures(summary, about))


def lesion_figures(summary: LesionSummary, about: Sequence[tuple[str, str]]) -> dict[str, object]:
    """What the JSON holds; what is not a number is null."""
    types = []
    for one in summary.types:
        # As text, because the numbers of the JSON are rounded and a rounded score lets others in.
        points = {f"{rate:g}": repr(score) for rate, score in one.points.items()}
        values = {**asdict(one), "points": points}
        scores, rates, sensitivities = (part.tolist() for part in one.curve)
        values["curve"] = {
            "score": scores,
            "false_positives": rates,
            "sensitivity": sensitivities,
        }
        types.append(values)
    return clean_numbers(
        {
            "about": dict(about),
            "types": types,
            "volumes": [
                {
                    "name": one.case.name,
                    "patient": one.case.patient,
                    "refused": one.refused,
                    "lesions": sum(lesion.counts for lesion in one.lesions),
                    "detections": len(one.found),
                    "seconds": one.seconds,
                }
                for one in summary.volumes
            ],
            "not_sought": _counted(summary.not_sought),
            "rows_of_other_volumes": summary.other_rows,
        }
    )


def _key(lesion: TrueLesion) -> _Key:
    return lesion.volume, lesion.low_mm, lesion.high_mm


def _counted(names: Iterable[str]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for name in names:
        counted[name] = counted.get(name, 0) + 1
    return counted


def _rate(value: float) -> str:
    return {0.125: "1/8", 0.25: "1/4", 0.5: "1/2"}.get(value, f"{value:g}")


def sensitivities_said(one: LesionFigures) -> str:
    """One type in a line: sensitivity at so many false positives (FP) a volume."""
    at = (f"{_rate(rate)} FP {in_digits(one.sensitivity[rate].value)}" for rate in RATES)
    return f"{one.name}: {', '.join(at)}; any {with_interval(one.recall)}, n {one.lesions}"


def _sensitivity(types: Sequence[LesionFigures]) -> str:
    rows = [
        (
            one.name,
            str(one.lesions),
            with_interval(one.recall),
            *(with_interval(one.sensitivity[rate]) for rate in RATES),
            with_interval(one.mean),
        )
        for one in types
    ]
    first = types[0]
    drawn = (
        f"95 % bootstrap intervals over {first.patients} patients"
        if first.patients > 1
        else "one patient, so no interval"
    )
    return table_of(
        (
            *("type", "lesions", "hit by any detection"),
            *(f"{_rate(rate)} FP" for rate in RATES),
            "mean",
        ),
        rows,
        f"Sensitivity at so many false positives (FP) a volume, {first.volumes} volumes; {drawn}. "
        "Every detection counts, also those of scores or types that are not reported and those "
        "beyond the greatest number of marks.",
    )


def _froc(types: Sequence[LesionFigures]) -> str:
    columns = min(3, len(types))
    lines = -(-len(types) // columns)
    figure = new_figure(columns, lines, cell=(4, 3.4))
    for place, one in enumerate(types, start=1):
        axes = figure.add_subplot(lines, columns, place)
        _, rates, sensitivities = one.curve
        shown = [*rates, max(RATES[-1], float(rates[-1]))]
        axes.step(shown, [*sensitivities, sensitivities[-1]], where="post", color="#0072B2")
        for rate, interval in one.sensitivity.items():
            if isfinite(interval.low):
                axes.plot([rate, rate], [interval.low, interval.high], color="#0072B2", lw=1)
            axes.plot(rate, interval.value, "o", ms=4, color="#0072B2")
        axes.axhline(one.recall.value, ls=":", lw=1, color="#555555")
        axes.set_xscale("log", base=2)
        axes.set_xlim(RATES[0] / 1.2, RATES[-1] * 1.2)
        axes.set_xticks(RATES, [_rate(rate) for rate in RATES])
        axes.set_ylim(0, 1.03)
        axes.set_title(f"{one.name}, n = {one.lesions}", fontsize=9)
        axes.set_xlabel("false positives a volume", fontsize=8)
        axes.set_ylabel("sensitivity", fontsize=8)
    return inline_figure(figure, "FROC; dotted: hit by any detection, whatever its score.")


def _sizes(types: Sequence[LesionFigures]) -> str:
    rows = [
        (
            one.name,
            _range(size),
            str(size.lesions),
            with_interval(size.recall),
            *(with_interval(size.sensitivity[rate]) for rate in SIZE_RATES),
        )
        for one in types
        for size in one.sizes
    ]
    return table_of(
        (
            *("type", "diameter, mm", "lesions", "hit by any detection"),
            *(f"{_rate(rate)} FP" for rate in SIZE_RATES),
        ),
        rows,
        "Sensitivity by size, against the false positives of all marks of the type.",
    )


def _range(size: OfSize) -> str:
    if isnan(size.low_mm):
        return "not known"
    if not isfinite(size.high_mm):
        return f"{size.low_mm:g} and more"
    return f"{size.low_mm:g} to {size.high_mm:g}"


def _in_force(types: Sequence[LesionFigures]) -> str:
    rows = [
        (
            one.name,
            _rate(point.rate),
            f"{point.score:g}",
            in_digits(point.false_positives, 2),
            in_digits(point.sensitivity),
        )
        for one in types
        if one.name != ANY
        for point in one.in_force
    ]
    return table_of(
        ("type", "FP a volume said", "score", "FP a volume here", "sensitivity here"),
        rows,
        "What the operating points of the bundle's dicom.json do on these volumes.",
    )


def _points(one: LesionFigures) -> str:
    points = json.dumps({f"{rate:g}": score for rate, score in one.points.items()})
    return (
        f"<p>{escape(one.name)}, from these volumes, for <code>configs/dicom.json</code>:"
        f'<pre>"operating_points": {escape(points)}</pre>'
        "<p class=off>They fit the volumes they were read from: measure them again on others."
    )


def _place(lesion: TrueLesion) -> str:
    middle = ((a + b) / 2 for a, b in zip(lesion.low_mm, lesion.high_mm, strict=True))
    return ", ".join(f"{value:.1f}" for value in middle)


def _misses(one: LesionFigures, crops: Mapping[_Key, Crop]) -> str:
    worst = one.worst[:_LISTED]
    rows = [
        (
            miss.lesion.volume,
            _place(miss.lesion),
            in_digits(miss.lesion.size_mm, 1),
            in_digits(miss.score) if isfinite(miss.score) else "never hit",
            in_digits(miss.false_positives, 2),
        )
        for miss in worst
    ]
    table = table_of(
        ("volume", "place (LPS), mm", "diameter, mm", "best score", "shown from FP a volume"),
        rows,
        f"{len(worst)} of {len(one.worst)} lesions, the hardest first.",
    )
    return f"<h2>{escape(one.name)}: hardest lesions</h2>{table}{_pictures(worst, crops)}"


def _pictures(worst: Sequence[Missed], crops: Mapping[_Key, Crop]) -> str:
    from matplotlib.patches import Circle

    shown = [miss for miss in worst if _key(miss.lesion) in crops][:_DRAWN]
    if not shown:
        return ""
    figure = new_figure(len(shown), 1, cell=(2.2, 2.5))
    for place, miss in enumerate(shown, start=1):
        crop = crops[_key(miss.lesion)]
        side = len(crop)
        around = crop[side // 4 : -side // 4, side // 4 : -side // 4]
        level, width = _LUNG if (around < _AIR).mean() > _PARTLY else _SOFT_TISSUE
        axes = figure.add_subplot(1, len(shown), place)
        axes.imshow(crop, cmap="gray", vmin=level - width / 2, vmax=level + width / 2)
        radius = ((miss.lesion.size_mm or 10.0) / 2 + 3) * side / 100
        middle = (side - 1) / 2
        axes.add_patch(Circle((middle, middle), radius, fill=False, color="#E69F00", lw=1))
        axes.set_axis_off()
        axes.set_title(miss.lesion.volume[-24:], fontsize=7)
    return inline_figure(figure, "The first of them, 100 mm wide; the circle is the truth.")


def _false(one: LesionFigures) -> str:
    rows = [
        (
            mark.volume,
            ", ".join(f"{value:.1f}" for value in mark.point_mm),
            in_digits(mark.size_mm, 1),
            mark.kind,
            in_digits(mark.score),
        )
        for mark in one.surest_false
    ]
    table = table_of(
        ("volume", "place (LPS), mm", "long axis, mm", "called", "score"),
        rows,
        f"{len(rows)} of {one.marks} marks that are no known lesion. Look at them: the truth may "
        "have left out what they show.",
    )
    return f"<h2>{escape(one.name)}: surest false marks</h2>{table}"


def _left_out(summary: LesionSummary) -> str:
    said = [
        f"{count} lesions of the type {kind!r}, which the bundle does not look for"
        for kind, count in _counted(summary.not_sought).items()
    ]
    if summary.other_rows:
        said.append(f"{summary.other_rows} rows about volumes that are not in the folder")
    return refused_list(summary.refused, f"{len(summary.volumes)} volumes", said)
