"""An evaluation of segments as one HTML file with plots and the worst cases, and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

import numpy as np

from dicomnode.evaluate.html import (
    clean_numbers,
    in_digits,
    inline_figure,
    inline_picture,
    new_figure,
    refused_list,
    table_of,
    with_interval,
    write_pages,
)
from dicomnode.evaluate.segments import SegmentFigures, SegmentSummary

_WORST = 3


def write_segments_report(
    summary: SegmentSummary, out: Path, *, about: Sequence[tuple[str, str]]
) -> None:
    """Write `out` (HTML) and, beside it, the same figures as JSON.

    Raises:
        StudyError: matplotlib is not installed.
    """
    parts = [
        _fits(summary.segments),
        _volumes(summary.segments),
        *_bland_altman(summary),
        _unmeant(summary.unmeant),
        refused_list(summary.refused, str(len(summary.cases))),
        *_worst(summary),
    ]
    write_pages(out, about=about, parts=parts, figures=segment_figures(summary, about))


def segment_figures(summary: SegmentSummary, about: Sequence[tuple[str, str]]) -> dict[str, object]:
    """What the JSON holds; what is not a number is null."""
    return clean_numbers(
        {
            "about": dict(about),
            "segments": [asdict(one) for one in summary.segments],
            "not_scored": list(summary.unmeant),
            "cases": [
                {
                    "name": case.pair.name,
                    "refused": case.refused,
                    "seconds": case.seconds,
                    "segments": {name: asdict(fit) for name, fit in case.fits.items()},
                }
                for case in summary.cases
            ],
        }
    )


def _fits(segments: Sequence[SegmentFigures]) -> str:
    rows = [
        (
            one.name,
            str(one.cases),
            with_interval(one.dice),
            with_interval(one.asd_mm, 2),
            with_interval(one.hd95_mm, 1),
            str(one.missed),
        )
        for one in segments
    ]
    return "<h2>Fit</h2>" + table_of(
        ("segment", "cases", "Dice", "ASD, mm", "HD95, mm", "not found"),
        rows,
        "Mean over the cases whose truth holds the segment, with 95 % bootstrap intervals over "
        "patients. Where nothing was found Dice is 0 and there is no distance.",
    )


def _volumes(segments: Sequence[SegmentFigures]) -> str:
    rows = []
    for one in segments:
        limits = f"{in_digits(one.limits_ml.low, 1)} to {in_digits(one.limits_ml.high, 1)}"
        without = with_interval(one.false_ml, 1) if one.absent else "-"
        rows.append((one.name, with_interval(one.error_ml, 1), limits, str(one.absent), without))
    return "<h2>Volume</h2>" + table_of(
        ("segment", "error, ml", "limits of agreement, ml", "cases without", "found there, ml"),
        rows,
        "Error: found minus true. Limits: Bland and Altman, 95 % of the errors if they are normal.",
    )


def _unmeant(names: Sequence[str]) -> str:
    if not names:
        return ""
    listed = escape(", ".join(names))
    return f"<p>Labels that are none of the bundle's segments and were not scored: {listed}."


def _bland_altman(summary: SegmentSummary) -> list[str]:
    shown = [one for one in summary.segments if one.cases > 1]
    if not shown:
        return ["<p>Too few cases for a plot."]
    columns = min(4, len(shown))
    lines = -(-len(shown) // columns)
    figure = new_figure(columns, lines, cell=(3.4, 2.8))
    for place, one in enumerate(shown, start=1):
        fits = [case.fits[one.name] for case in summary.cases if one.name in case.fits]
        pairs = [(fit.found_ml, fit.true_ml) for fit in fits if fit.true_ml > 0]
        found, true = np.array(pairs).T
        axes = figure.add_subplot(lines, columns, place)
        axes.plot((found + true) / 2, found - true, "o", ms=4, color="#0072B2")
        for level, style in (
            (one.limits_ml.bias, "-"),
            (one.limits_ml.low, ":"),
            (one.limits_ml.high, ":"),
        ):
            axes.axhline(level, ls=style, lw=1, color="#D55E00")
        axes.axhline(0, lw=0.5, color="#bbbbbb")
        axes.set_title(one.name, fontsize=9)
        axes.set_xlabel("mean of found and true, ml", fontsize=8)
        axes.set_ylabel("found - true, ml", fontsize=8)
    caption = "Bland and Altman: error of the volume against its size; bias and 95 % limits."
    return [inline_figure(figure, caption)]


def _worst(summary: SegmentSummary) -> list[str]:
    drawn = sorted((case for case in summary.cases if case.picture), key=lambda case: case.worst)
    parts = [f"<h2>Worst cases: {min(_WORST, len(drawn))} of {len(drawn)}</h2>"]
    for case in drawn[:_WORST]:
        dice = ", ".join(f"{name} {in_digits(fit.dice)}" for name, fit in case.fits.items())
        parts.append(inline_picture(case.picture, f"{case.pair.name}: Dice {dice}"))
    return parts
