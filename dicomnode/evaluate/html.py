"""What reports share: tables, plots and numbers in one HTML file, clean numbers in JSON."""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dicomnode.domain.errors import StudyError
from dicomnode.evaluation.ranking import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}
h1,h2{line-height:1.25}.wide{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse}th,td{padding:.25rem .7rem;text-align:right;vertical-align:top}
th:first-child,td:first-child{text-align:left}tr{border-bottom:1px solid #ddd}
caption{text-align:left;color:#555;max-width:45rem;padding-bottom:.4rem}
.about td{text-align:left;overflow-wrap:anywhere}.about td:first-child{min-width:9rem;color:#555}
figure{margin:1.5rem 0}img{max-width:100%;height:auto}figcaption{color:#555}
@media(max-width:45rem){body{font-size:14px;margin:1rem auto}th,td{padding:.2rem .4rem}
.about td:first-child{min-width:6rem}}
@page{size:A4 landscape;margin:12mm}
@media print{body{max-width:none;margin:0;padding:0;font-size:9pt}.wide{overflow:visible}
th,td{padding:.1rem .35rem;font-size:8pt}tr,figure{break-inside:avoid}h2,caption{break-after:avoid}
img{max-height:170mm;width:auto}}
"""


def write_pages(
    out: Path,
    *,
    about: Sequence[tuple[str, str]],
    parts: Iterable[str],
    figures: Mapping[str, object],
) -> None:
    """Write `out` (HTML) with what was evaluated at its head, and `figures` beside it as JSON."""
    out.parent.mkdir(parents=True, exist_ok=True)
    title = f"{escape(about[0][1])}: evaluation"
    head = (
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{STYLE}</style><h1>{title}</h1>",
        _about(about),
    )
    out.write_text("\n".join([*head, *parts]) + "\n", encoding="utf-8")
    out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def new_figure(columns: int, lines: int, *, cell: tuple[float, float]) -> "Figure":
    """A figure for a grid of plots, each of `cell` inches.

    Raises:
        StudyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise StudyError(
            "the report's plots need matplotlib: install dicomnode with its extra `train`"
        ) from exc
    return Figure(figsize=(cell[0] * columns, cell[1] * lines), layout="constrained")


def refused_list(refused: Mapping[str, str], total: str, more: Iterable[str] = ()) -> str:
    """What was not read, each with its reason, and `more` lines; `total`: number and noun."""
    lines = (*(f"{name}: {why}" for name, why in sorted(refused.items())), *more)
    items = "".join(f"<li>{escape(line)}" for line in lines)
    return f"<h2>Refused: {len(refused)} of {total}</h2><ul>{items}</ul>"


def clean_numbers(value: object) -> dict[str, object]:
    """A dictionary for JSON: four decimals, and null for what is no number."""

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


def table_of(header: Iterable[str], rows: Iterable[Iterable[str]], caption: str = "") -> str:
    """An HTML table; cells are escaped."""
    head = "".join(f"<th>{escape(cell)}" for cell in header)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(c)}" for c in row) for row in rows)
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<div class=wide><table>{said}<tr>{head}\n{body}</table></div>"


def _about(facts: Sequence[tuple[str, str]]) -> str:
    rows = "\n".join(f"<tr><td>{escape(name)}<td>{escape(value)}" for name, value in facts)
    return f"<table class=about>{rows}</table>"


def in_digits(value: float | None, digits: int = 3) -> str:
    """A number for people; a dash for none."""
    return "-" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"


def with_interval(value: Interval | None, digits: int = 3) -> str:
    """A number with its interval in brackets; a dash for none."""
    if value is None:
        return "-"
    low, high = in_digits(value.low, digits), in_digits(value.high, digits)
    return f"{in_digits(value.value, digits)} ({low} to {high})"


def inline_figure(figure: "Figure", caption: str) -> str:
    """A plot as part of the HTML."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return inline_picture(buffer.getvalue(), caption)


def inline_picture(png: bytes, caption: str) -> str:
    """A PNG as part of the HTML."""
    picture = base64.b64encode(png).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{picture}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
