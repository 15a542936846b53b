"""An evaluation as one HTML file with its plots inside, and as JSON beside it."""

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from html import escape
from io import BytesIO
from pathlib import Path

import numpy as np

from dicomnode.domain.errors import StudyError
from dicomnode.evaluate.summary import ClassFigures, Summary
from dicomnode.evaluation.calibration import reliability
from dicomnode.evaluation.localisation import Localisation
from dicomnode.evaluation.prevalence import CHESTXRAY8_RESNET50
from dicomnode.evaluation.ranking import Interval, roc_points

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}th,td{padding:.25rem .7rem;text-align:right}
th:first-child,td:first-child{text-align:left}tr{border-bottom:1px solid #ddd}
.off{color:#777}figure{margin:1.5rem 0}img{max-width:100%}caption{text-align:left;color:#555}
"""


def write_report(summary: Summary, out: Path, *, about: Sequence[tuple[str, str]]) -> None:
    """Write `out` (HTML) and, beside it, the same figures as JSON.

    Args:
        summary: what was measured.
        out: the HTML file.
        about: name and value of what the reader must know: model, data, conditions.

    Raises:
        StudyError: matplotlib is not installed.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    plots = _plots(summary)
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f"<title>{escape(about[0][1])}: evaluation</title><style>{_STYLE}</style>",
        f"<h1>{escape(about[0][1])}: evaluation</h1>",
        _table(("", ""), about),
        "<h2>Classes</h2>",
        _classes(summary.classes),
        *plots,
        "<h2>At the operating points</h2>",
        _operating(summary.classes),
        "<h2>Subgroups: AUC (positive / images)</h2>",
        _subgroups(summary.classes),
        *(_boxes(name, table) for name, table in summary.boxes.items()),
        _refused(summary),
    ]
    out.write_text("\n".join(parts) + "\n", encoding="utf-8")
    figures = figures_of(summary, about)
    out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def figures_of(summary: Summary, about: Sequence[tuple[str, str]]) -> dict[str, object]:
    """What the JSON holds: all but the single images; what is not a number is null."""
    classes = []
    for one in summary.classes:
        values = asdict(one)
        del values["truth"], values["likely"]
        classes.append(values)
    return _finite(
        {
            "about": dict(about),
            "images": summary.images,
            "patients": summary.patients,
            "refused": len(summary.refused),
            "seconds_an_image": float(np.median(summary.seconds)) if summary.seconds else None,
            "classes": classes,
            "boxes": {name: asdict(table) for name, table in summary.boxes.items()},
        }
    )


def _finite(value: object) -> "dict[str, object]":
    def clean(part: object) -> object:
        if isinstance(part, dict):
            return {key: clean(inner) for key, inner in part.items()}
        if isinstance(part, list | tuple):
            return [clean(inner) for inner in part]
        if isinstance(part, float):
            return round(part, 4) if np.isfinite(part) else None
        return part

    cleaned = clean(value)
    return cleaned if isinstance(cleaned, dict) else {}


def _table(header: Iterable[str], rows: Iterable[Iterable[str]], caption: str = "") -> str:
    head = "".join(f"<th>{escape(cell)}" for cell in header)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(c)}" for c in row) for row in rows)
    return f"<table><caption>{escape(caption)}</caption><tr>{head}\n{body}</table>"


def _number(value: float | None) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{value:.3f}"


def _interval(value: Interval | None) -> str:
    if value is None:
        return "-"
    return f"{_number(value.value)} ({_number(value.low)} to {_number(value.high)})"


def _classes(classes: Sequence[ClassFigures]) -> str:
    rows = [
        (
            one.name,
            "yes" if one.reported else "no: not good enough",
            f"{one.positive} / {one.known}",
            _interval(one.auc),
            _number(one.without_image),
            _interval(one.gain),
            _number(CHESTXRAY8_RESNET50.get(one.name)),
            _number(one.calibration_error),
        )
        for one in classes
    ]
    return _table(
        (
            *("class", "reported", "positive / images", "AUC within source"),
            *("view, age, sex alone", "gain over them", "ChestX-ray8 ResNet-50"),
            "calibration error",
        ),
        rows,
        "95 % bootstrap intervals over patients. The column of ChestX-ray8 was measured on "
        "another, far larger test set (Wang et al. 2017) and is for orientation only.",
    )


def _operating(classes: Sequence[ClassFigures]) -> str:
    return _table(
        ("class", "operating point", "sensitivity", "specificity", "PPV", "flagged"),
        (
            (
                one.name,
                _number(one.operating_point),
                _number(one.operating.sensitivity),
                _number(one.operating.specificity),
                _number(one.operating.positive_predictive_value),
                _number(one.operating.flagged),
            )
            for one in classes
            if one.operating is not None
        ),
    )


def _subgroups(classes: Sequence[ClassFigures]) -> str:
    shown = [one for one in classes if one.subgroups]
    if not shown:
        return "<p>Too few images."
    return _table(
        ("class", *(group.name for group in shown[0].subgroups)),
        (
            (
                one.name,
                *(f"{_number(g.auc)} ({g.positive} / {g.images})" for g in one.subgroups),
            )
            for one in shown
        ),
    )


def _boxes(name: str, table: Localisation) -> str:
    header = ("", *(f"T = {row.threshold:g}" for row in table.by_iobb))
    rows = [
        ("IoBB: Acc.", *(_number(row.accuracy) for row in table.by_iobb)),
        ("IoBB: AFP", *(_number(row.false_positives) for row in table.by_iobb)),
        ("IoU: Acc.", *(_number(row.accuracy) for row in table.by_iou)),
        ("IoU: AFP", *(_number(row.false_positives) for row in table.by_iou)),
    ]
    return f"<h2>Boxes: {escape(name)}</h2>" + _table(
        header, rows, f"{table.images} images with a true box; in the layout of ChestX-ray8."
    )


def _refused(summary: Summary) -> str:
    lines = "".join(
        f"<li>{escape(name)}: {escape(why)}" for name, why in sorted(summary.refused.items())
    )
    return f"<h2>Refused: {len(summary.refused)} of {summary.images}</h2><ul>{lines}</ul>"


def _plots(summary: Summary) -> list[str]:
    try:
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise StudyError(
            "the report's plots need matplotlib: install dicomnode with its extra `train`"
        ) from exc
    shown = [one for one in summary.classes if one.auc is not None]
    if not shown:
        return ["<p>Too few images for any figure."]
    columns = 4
    lines = -(-len(shown) // columns)
    roc = Figure(figsize=(3 * columns, 2.8 * lines), layout="constrained")
    said = Figure(figsize=(3 * columns, 2.8 * lines), layout="constrained")
    for number, one in enumerate(shown, start=1):
        known = ~np.isnan(one.truth)
        truth, likely, weights = one.truth[known], one.likely[known], summary.weights[known]
        axes = roc.add_subplot(lines, columns, number)
        axes.plot([0, 1], [0, 1], color="#bbbbbb", lw=1)
        axes.plot(*roc_points(truth, likely, weights), color="#0072B2" if one.reported else "#999")
        axes.set_title(f"{one.name} {_number(one.auc.value if one.auc else None)}", fontsize=9)
        bins = reliability(truth, likely, weights)
        axes = said.add_subplot(lines, columns, number)
        top = max(*(b.said for b in bins), *(b.seen for b in bins), 0.05)
        axes.plot([0, top], [0, top], color="#bbbbbb", lw=1)
        axes.plot([b.said for b in bins], [b.seen for b in bins], "o-", color="#D55E00", ms=3)
        axes.set_title(one.name, fontsize=9)
    return [
        _figure(roc, "ROC curves (weighted); grey: not reported."),
        _figure(said, "Reliability: what was said (across) against what was seen (up)."),
    ]


def _figure(figure: "object", caption: str) -> str:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=72)  # type: ignore[attr-defined]
    picture = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{picture}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
