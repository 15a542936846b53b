"""An evaluation of segments as one HTML file with plots and the worst cases, and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

import numpy as np

from dicomnode.domain.errors import StudyError
from dicomnode.evaluate.html import (
    STYLE,
    clean_numbers,
    in_digits,
    inline_figure,
    inline_picture,
    table_of,
    with_interval,
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
    out.parent.mkdir(parents=True, exist_ok=True)
    title = f"{escape(about[0][1])}: evaluation"
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f"<title>{title}</title><style>{STYLE}</style><h1>{title}</h1>",
        table_of(("", ""), about),
        _fits(summary.segments),
        _volumes(summary.segments),
        *_bland_altman(summary),
        _refused(summary),
        *_worst(summary),
    ]
    out.write_text("\n".join(parts) + "\n", encoding="utf-8")
    figures = segment_figures(summary, about)
    out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def segment_figures(summary: SegmentSummary, about: Sequence[tuple[str, str]]) -> dict[str, object]:
    """What the JSON holds; what is not a number is null."""
    return clean_numbers(
        {
            "about": dict(about),
            "segments": [asdict(one) for one in summary.segments],
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


def _bland_altman(summary: SegmentSummary) -> list[str]:
    try:
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise StudyError(
            "the report's plots need matplotlib: install dicomnode with its extra `train`"
        ) from exc
    shown = [one for one in summary.segments if one.cases > 1]
    if not shown:
        return ["<p>Too few cases for a plot."]
    columns = min(4, len(shown))
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(3.4 * columns, 2.8 * lines), layout="constrained")
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


def _refused(summary: SegmentSummary) -> str:
    lines = "".join(
        f"<li>{escape(name)}: {escape(why)}" for name, why in sorted(summary.refused.items())
    )
    return f"<h2>Refused: {len(summary.refused)} of {len(summary.cases)}</h2><ul>{lines}</ul>"
