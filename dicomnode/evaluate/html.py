"""What reports share: tables, plots and numbers in one HTML file, clean numbers in JSON."""

import base64
from collections.abc import Iterable
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from dicomnode.evaluation.ranking import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}th,td{padding:.25rem .7rem;text-align:right}
th:first-child,td:first-child{text-align:left}tr{border-bottom:1px solid #ddd}
.off{color:#777}figure{margin:1.5rem 0}img{max-width:100%}caption{text-align:left;color:#555}
"""


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
    return f"<table><caption>{escape(caption)}</caption><tr>{head}\n{body}</table>"


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
    figure.savefig(buffer, format="png", dpi=72)
    return inline_picture(buffer.getvalue(), caption)


def inline_picture(png: bytes, caption: str) -> str:
    """A PNG as part of the HTML."""
    picture = base64.b64encode(png).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{picture}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
