"""The first page: the node at a glance, in numbers and plots."""

import itertools
from collections.abc import Sequence

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from dicomnode.domain.access import Role
from dicomnode.store.figures import WAITS, Figures, figures
from dicomnode.store.label_figures import LabelCount, by_label
from dicomnode.store.overview import overview
from dicomnode.web.context import WebContext
from dicomnode.web.plots import Drawn, Plot, Series, bars, drawn, lines, rows
from dicomnode.web.rendering import render
from dicomnode.web.visitors import Viewer

router = APIRouter()

LABELS_SHOWN = 15
_SHORTLY = 600.0
"""Turnaround above this many seconds is drawn in minutes."""


@router.get("/overview")
def overview_page(request: Request, web: WebContext, visitor: Viewer) -> HTMLResponse:
    """What is where, what comes in, how long it takes, what waits."""
    told = figures(web.database, web.clock())
    plots = [_studies(told), _turnaround(told), _waiting(told)]
    if visitor.may(Role.READER):
        plots.append(_labels(by_label(web.database)))
    return render(
        request,
        "overview.html",
        visitor,
        node=overview(web.database, web.clock(), reserve_mb=web.settings.receive.reserve_mb),
        plots=plots,
    )


def _studies(told: Figures) -> Drawn:
    # In the time of this machine, as everywhere on the pages.
    hours = [hour.astimezone() for hour, _ in told.studies]
    counts = [count for _, count in told.studies]
    return drawn(
        Plot(
            id="studies",
            title="Studies received in each hour",
            words=f"Bars for the last {len(hours)} hours; {sum(counts)} studies in all, "
            f"at most {max(counts)} in an hour.",
            axis="hour",
            places=[f"{hour:%d %b %H:00}" for hour in hours],
            series=[Series(name="studies", values=counts)],
            whole=True,
        ),
        bars,
    )


def _turnaround(told: Figures) -> Drawn:
    days = told.turnaround
    slow = max((day.slowest_tenth_s for day in days), default=0.0) > _SHORTLY
    per, unit = (60.0, "min") if slow else (1.0, "s")
    results = sum(day.results for day in days)
    return drawn(
        Plot(
            id="turnaround",
            title="From the closing of a study to its results being taken",
            words=f"Median and slowest tenth of each day, over {results} results that were sent.",
            axis="day (UTC)",
            places=[day.day[5:] for day in days],
            series=[
                Series(name="median", values=[day.median_s / per for day in days]),
                Series(name="slowest tenth", values=[day.slowest_tenth_s / per for day in days]),
            ],
            unit=unit,
        ),
        lines,
    )


def _waiting(told: Figures) -> Drawn:
    names = [f"below {WAITS[0]} min"]
    names += [f"{low} to {high} min" for low, high in itertools.pairwise(WAITS)]
    names.append(f"above {WAITS[-1]} min")
    return drawn(
        Plot(
            id="waiting",
            title="Jobs that wait now, by age",
            words=f"{sum(told.waiting)} jobs wait for a worker.",
            axis="age",
            places=names,
            series=[Series(name="jobs", values=told.waiting)],
            whole=True,
        ),
        rows,
    )


def _labels(counts: Sequence[LabelCount]) -> Drawn:
    shown = counts[:LABELS_SHOWN]
    reports = counts[0].reports if counts else 0
    return drawn(
        Plot(
            id="labels",
            title="Findings asserted in reports",
            words=f"Share of {reports} reports that assert each finding, the most frequent first.",
            axis="label",
            places=[one.group for one in shown],
            series=[Series(name="reports", values=[one.percent for one in shown])],
            unit="%",
        ),
        rows,
    )
