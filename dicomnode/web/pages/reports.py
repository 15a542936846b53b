"""What reports say: how often, by which scanner and month; where models differ; word by word."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from dicomnode.store.disagreements import disagreements
from dicomnode.store.label_figures import (
    LabelCount,
    by_label,
    by_month,
    by_scanner,
    mined_reports,
)
from dicomnode.store.report_telling import MentionTold, PartTold, latest_reports, report
from dicomnode.web.context import WebContext
from dicomnode.web.keys import read_disagreement_key, write_disagreement_key
from dicomnode.web.plots import Drawn, Plot, Series, drawn, lines, rows
from dicomnode.web.rendering import render
from dicomnode.web.visitors import Reader

router = APIRouter()

SHOWN = 20
KINDS = {
    "ai-only": "the model alone",
    "report-only": "the report alone",
    "report-unsure": "the report is unsure",
}


@router.get("/reports")
def reports(
    request: Request, web: WebContext, visitor: Reader, label: str = "", before: int | None = None
) -> HTMLResponse:
    """Prevalence of each label, and of one by month and scanner; the latest reports."""
    counts = by_label(web.database)
    names = [one.group for one in counts]
    chosen = label if label in names else next(iter(names), "")
    plots: list[Drawn] = []
    if chosen:
        plots = [
            _months(chosen, by_month(web.database, chosen)),
            _scanners(chosen, by_scanner(web.database, chosen)),
        ]
    lines_told = latest_reports(web.database, SHOWN + 1, before=before)
    return render(
        request,
        "reports.html",
        visitor,
        counts=counts,
        mined=mined_reports(web.database),
        chosen=chosen,
        plots=plots,
        reports=lines_told[:SHOWN],
        older=lines_told[SHOWN - 1].id if len(lines_told) > SHOWN else None,
    )


@router.get("/reports/disagreements")
def differing(
    request: Request,
    web: WebContext,
    visitor: Reader,
    kind: str = "",
    label: str = "",
    before: Annotated[str, Query(max_length=400)] = "",
) -> HTMLResponse:
    """Model and report side by side wherever they differ; `before`: the next page's place."""
    behind = read_disagreement_key(before)
    found = disagreements(web.database, verdict=kind, label=label, limit=SHOWN + 1, behind=behind)
    asked = {name: value for name, value in (("kind", kind), ("label", label)) if value}
    newest = f"/reports/disagreements?{urlencode(asked)}"
    following = ""
    if len(found) > SHOWN:
        place = write_disagreement_key(found[SHOWN - 1].key)
        following = f"/reports/disagreements?{urlencode({**asked, 'before': place})}"
    return render(
        request,
        "disagreements.html",
        visitor,
        found=found[:SHOWN],
        newest=newest if behind else "",
        following=following,
        kinds=KINDS,
        labels=[one.group for one in by_label(web.database)],
        kind=kind,
        label=label,
    )


@router.get("/reports/{number}")
def one_report(request: Request, web: WebContext, visitor: Reader, number: int) -> HTMLResponse:
    """One report, with the words that made its labels marked."""
    told = report(web.database, number)
    web.note(visitor, "report.read", on=str(number))
    deciding = {one.mention: one for one in told.labels if one.mention is not None}
    return render(
        request,
        "report.html",
        visitor,
        told=told,
        parts=[
            (part.name, pieces(part, [m for m in told.mentions if m.part == number]))
            for number, part in enumerate(told.parts)
        ],
        mentions={one.number: one for one in told.mentions},
        deciding=deciding,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A stretch of text, marked or not."""

    text: str
    mention: MentionTold | None = None


def pieces(part: PartTold, mentions: Sequence[MentionTold]) -> list[Piece]:
    """The text of a part, cut where mentions begin and end; of two that overlap the first."""
    found: list[Piece] = []
    at = 0
    for one in sorted(mentions, key=lambda each: (each.start, -each.end)):
        if one.start < at or one.end > len(part.text):
            continue
        found.append(Piece(text=part.text[at : one.start]))
        found.append(Piece(text=part.text[one.start : one.end], mention=one))
        at = one.end
    found.append(Piece(text=part.text[at:]))
    return [piece for piece in found if piece.text]


def _months(label: str, counts: Sequence[LabelCount]) -> Drawn:
    words = "Share of the reports of each month that assert it."
    return drawn(_shares("month", f"{label}, month by month", words, counts), lines)


def _scanners(label: str, counts: Sequence[LabelCount]) -> Drawn:
    words = "Share that assert it, of the reports with a known study that mention it."
    return drawn(_shares("scanner", f"{label}, scanner by scanner", words, counts), rows)


def _shares(axis: str, title: str, words: str, counts: Sequence[LabelCount]) -> Plot:
    return Plot(
        id=f"{axis}s",
        title=title,
        words=words,
        axis=axis,
        places=[one.group for one in counts],
        series=[Series(name="asserted", values=[one.percent for one in counts])],
        unit="%",
    )
