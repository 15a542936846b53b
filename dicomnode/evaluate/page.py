"""An evaluation as one HTML file with its plots inside, and as JSON beside it."""

from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

import numpy as np

from dicomnode.evaluate.ablation import Ablation
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
from dicomnode.evaluate.summary import ClassFigures, Summary
from dicomnode.evaluation.calibration import reliability
from dicomnode.evaluation.localisation import Localisation
from dicomnode.evaluation.prevalence import CHESTXRAY8_RESNET50
from dicomnode.evaluation.ranking import roc_points


def write_report(
    summary: Summary,
    out: Path,
    *,
    about: Sequence[tuple[str, str]],
    ablation: Ablation | None = None,
) -> None:
    """Write `out` (HTML) and, beside it, the same figures as JSON.

    Args:
        summary: what was measured.
        out: the HTML file.
        about: name and value of what the reader must know: model, data, conditions.
        ablation: what the bundle brings of it.

    Raises:
        StudyError: matplotlib is not installed.
    """
    parts = [
        "<h2>Classes</h2>",
        _classes(summary.classes),
        _mean(summary.classes),
        *_plots(summary),
        "<h2>At the operating points</h2>",
        _operating(summary.classes),
        "<h2>Subgroups: AUC (positive / images)</h2>",
        _subgroups(summary.classes),
        *(_boxes(name, table) for name, table in summary.boxes.items()),
        *([_ablation(ablation)] if ablation else []),
        refused_list(summary.refused, str(summary.images)),
    ]
    figures = figures_of(summary, about)
    if ablation:
        figures["ablation"] = ablation.model_dump()
    write_pages(out, about=about, parts=parts, figures=figures)


def figures_of(summary: Summary, about: Sequence[tuple[str, str]]) -> dict[str, object]:
    """What the JSON holds: all but the single images; what is not a number is null."""
    classes = []
    for one in summary.classes:
        values = asdict(one)
        del values["truth"], values["likely"], values["scaled"]
        classes.append(values)
    return clean_numbers(
        {
            "about": dict(about),
            "images": summary.images,
            "patients": summary.patients,
            "refused": len(summary.refused),
            "seconds_an_image": float(np.median(summary.seconds)) if summary.seconds else None,
            "classes": classes,
            "mean_of_eight": mean_of_eight(summary.classes),
            "boxes": {name: asdict(table) for name, table in summary.boxes.items()},
        }
    )


def mean_of_eight(classes: Sequence[ClassFigures]) -> float | None:
    """Mean AUC of ChestX-ray8's classes; None unless each of them has a figure."""
    found = [one.auc.value for one in classes if one.auc and one.name in CHESTXRAY8_RESNET50]
    return float(np.mean(found)) if len(found) == len(CHESTXRAY8_RESNET50) else None


def _mean(classes: Sequence[ClassFigures]) -> str:
    mean, theirs = mean_of_eight(classes), float(np.mean(list(CHESTXRAY8_RESNET50.values())))
    if mean is None:
        return ""
    return (
        f"<p>Mean AUC of ChestX-ray8's eight classes, switched off ones included: "
        f"{in_digits(mean)} (ChestX-ray8's ResNet-50, on its own test set: {in_digits(theirs)})."
    )


def _classes(classes: Sequence[ClassFigures]) -> str:
    rows = [
        (
            one.name,
            "yes" if one.reported else "no: not good enough",
            f"{one.positive} / {one.known}",
            with_interval(one.auc),
            in_digits(one.without_image),
            with_interval(one.gain),
            in_digits(CHESTXRAY8_RESNET50.get(one.name)),
            in_digits(one.calibration_error),
            in_digits(one.temperature, 2),
            in_digits(one.calibration_error_scaled),
        )
        for one in classes
    ]
    return table_of(
        (
            *("class", "reported", "positive / images", "AUC within source"),
            *("view, age, sex alone", "gain over them", "ChestX-ray8 ResNet-50"),
            *("calibration error", "temperature", "calibration error once scaled"),
        ),
        rows,
        "95 % bootstrap intervals over patients. The column of ChestX-ray8 was measured on "
        "another, far larger test set (Wang et al. 2017) and is for orientation only. Temperature: "
        "by which logits would have to be divided here (above 1: too sure); scaled by one that was "
        "fitted on other patients, five folds. `dicomnode calibrate` does it for a site.",
    )


def _operating(classes: Sequence[ClassFigures]) -> str:
    return table_of(
        ("class", "operating point", "sensitivity", "specificity", "PPV", "flagged"),
        (
            (
                one.name,
                in_digits(one.operating_point),
                in_digits(one.operating.sensitivity),
                in_digits(one.operating.specificity),
                in_digits(one.operating.positive_predictive_value),
                in_digits(one.operating.flagged),
            )
            for one in classes
            if one.operating is not None
        ),
    )


def _subgroups(classes: Sequence[ClassFigures]) -> str:
    shown = [one for one in classes if one.subgroups]
    if not shown:
        return "<p>Too few images."
    return table_of(
        ("class", *(group.name for group in shown[0].subgroups)),
        (
            (
                one.name,
                *(f"{in_digits(g.auc)} ({g.positive} / {g.images})" for g in one.subgroups),
            )
            for one in shown
        ),
    )


def _boxes(name: str, table: Localisation) -> str:
    header = ("", *(f"T = {row.threshold:g}" for row in table.by_iobb))
    rows = [
        ("IoBB: Acc.", *(in_digits(row.accuracy) for row in table.by_iobb)),
        ("IoBB: AFP", *(in_digits(row.false_positives) for row in table.by_iobb)),
        ("IoU: Acc.", *(in_digits(row.accuracy) for row in table.by_iou)),
        ("IoU: AFP", *(in_digits(row.false_positives) for row in table.by_iou)),
    ]
    return f"<h2>Boxes: {escape(name)}</h2>" + table_of(
        header, rows, f"{table.images} images with a true box; in the layout of ChestX-ray8."
    )


def _ablation(ablation: Ablation) -> str:
    about = ablation.about
    rows = [
        (one.head, with_interval(one.level), with_interval(one.gain))
        if one.head != about.reference
        else (one.head, with_interval(one.level), "reference")
        for one in ablation.heads
    ]
    return "<h2>Poolings and losses</h2>" + table_of(
        ("head", "mean AUC of ChestX-ray8's eight", f"against {about.reference}"),
        rows,
        f"As the bundle brings it (docs/ablation.json): heads trained alike on {about.images} "
        f"images of {about.patients} patients, {about.folds} folds; not measured on this folder.",
    )


def _plots(summary: Summary) -> list[str]:
    shown = [one for one in summary.classes if one.auc is not None]
    if not shown:
        return ["<p>Too few images for any figure."]
    columns = 4
    lines = -(-len(shown) // columns)
    roc, said = (new_figure(columns, lines, cell=(3, 2.8)) for _ in range(2))
    for number, one in enumerate(shown, start=1):
        known = ~np.isnan(one.truth)
        truth, likely, weights = one.truth[known], one.likely[known], summary.weights[known]
        axes = roc.add_subplot(lines, columns, number)
        axes.plot([0, 1], [0, 1], color="#bbbbbb", lw=1)
        axes.plot(*roc_points(truth, likely, weights), color="#0072B2" if one.reported else "#999")
        axes.set_title(f"{one.name} {in_digits(one.auc.value if one.auc else None)}", fontsize=9)
        axes = said.add_subplot(lines, columns, number)
        bins = reliability(truth, likely, weights)
        after = [] if one.scaled is None else reliability(truth, one.scaled, weights)
        top = max(0.05, *(end for b in (*bins, *after) for end in (b.said, b.seen)))
        axes.plot([0, top], [0, top], color="#bbbbbb", lw=1)
        axes.plot([b.said for b in after], [b.seen for b in after], "s--", color="#777", ms=3, lw=1)
        axes.plot([b.said for b in bins], [b.seen for b in bins], "o-", color="#D55E00", ms=3)
        axes.set_title(one.name, fontsize=9)
    roc.supxlabel("1 - specificity", fontsize=9)
    roc.supylabel("sensitivity", fontsize=9)
    said.supxlabel("probability said", fontsize=9)
    said.supylabel("share seen", fontsize=9)
    return [
        "<h2>ROC curves</h2>",
        inline_figure(roc, "Weighted as said above, the area behind the name; grey: not reported."),
        "<h2>Reliability</h2>",
        inline_figure(
            said,
            "What was said (across) against what was seen (up), on eight bins of as many images "
            "each. Orange: as the model says it; grey, dashed: after temperature scaling, each "
            "image by a temperature fitted on other patients.",
        ),
    ]
