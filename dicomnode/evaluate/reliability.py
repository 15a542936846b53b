"""Reliability plots of a calibration: before, and after on patients it has not seen."""

from collections.abc import Mapping
from pathlib import Path

from dicomnode.domain.errors import StudyError
from dicomnode.evaluation.recalibration import Quality, Recalibration

_SIDE = 3.2
"""Inches of one class."""
_BEFORE, _AFTER = "#999999", "#D55E00"


def draw_reliability(classes: Mapping[str, Recalibration], out: Path) -> None:
    """Write a PNG with one plot a class: what was said (across) against what was seen (up).

    Raises:
        StudyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise StudyError(
            "the plot needs matplotlib: install dicomnode with its extra `train`"
        ) from exc
    figure = Figure(figsize=(_SIDE * len(classes), _SIDE + 0.3), layout="constrained")
    for axes, (name, one) in zip(
        figure.subplots(1, len(classes), squeeze=False)[0], classes.items(), strict=True
    ):
        axes.plot([0, 1], [0, 1], color="#dddddd", lw=1)
        for quality, color, label in (
            (one.before, _BEFORE, "before"),
            (one.after, _AFTER, "after"),
        ):
            said, seen = [b.said for b in quality.bins], [b.seen for b in quality.bins]
            axes.plot(said, seen, "o-", color=color, ms=3, label=f"{label}: {_error(quality)}")
        top = max(0.05, *(max(b.said, b.seen) for q in (one.before, one.after) for b in q.bins))
        axes.set(xlim=(0, top * 1.05), ylim=(0, top * 1.05), xlabel="said", ylabel="seen")
        axes.set_title(f"{name}: {one.positive} of {one.studies} studies", fontsize=9)
        axes.legend(fontsize=7, frameon=False, loc="upper left")
    figure.savefig(out, dpi=110)


def _error(quality: Quality) -> str:
    value = quality.error
    return f"error {value.value:.3f} ({value.low:.3f} to {value.high:.3f})"
