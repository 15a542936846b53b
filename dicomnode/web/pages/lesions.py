"""Lesions by type, size and growth; and those of one patient over time."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from dicomnode.store.lesions_told import (
    CourseTold,
    LesionKey,
    LesionOrder,
    LesionSearch,
    LesionTold,
    algorithms_with_lesions,
    courses_told,
    lesions_told,
)
from dicomnode.web.context import WebContext
from dicomnode.web.plots import Drawn, Plot, Series, drawn, lines
from dicomnode.web.rendering import day, render
from dicomnode.web.visitors import Viewer

router = APIRouter()

SHOWN = 50
"""Lesions on a page."""
DRAWN = 3
"""Lesions in one plot: the largest, as many as there are colours."""

Number = Annotated[str, Query(max_length=12)]


@router.get("/lesions")
def lesions(
    request: Request,
    web: WebContext,
    visitor: Viewer,
    kind: Annotated[str, Query(max_length=64)] = "",
    algorithm: Annotated[str, Query(max_length=64)] = "",
    least_mm: Number = "",
    least_percent: Number = "",
    order: str = LesionOrder.NEWEST.value,
    behind: Annotated[str, Query(max_length=64)] = "",
) -> HTMLResponse:
    """Lesions of the last results, narrowed by what the form says."""
    wanted = next((one for one in LesionOrder if one.value == order), LesionOrder.NEWEST)
    search = LesionSearch(
        type=kind.strip(),
        algorithm=algorithm,
        least_mm=_number(least_mm),
        least_percent=_number(least_percent),
        order=wanted,
        behind=_key(behind),
    )
    found = lesions_told(web.database, search, limit=SHOWN + 1)
    asked = {
        "kind": search.type,
        "algorithm": algorithm,
        "least_mm": least_mm if search.least_mm is not None else "",
        "least_percent": least_percent if search.least_percent is not None else "",
        "order": wanted.value,
    }
    following = ""
    if len(found) > SHOWN:
        last = found[SHOWN - 1].key(wanted)
        kept = {name: value for name, value in asked.items() if value}
        place = f"{last.value!r}:{last.finding_id}"
        following = f"/lesions?{urlencode({**kept, 'behind': place})}"
    return render(
        request,
        "lesions.html",
        visitor,
        lesions=found[:SHOWN],
        following=following,
        is_first=search.behind is None,
        asked=asked,
        orders=list(LesionOrder),
        algorithms=algorithms_with_lesions(web.database),
    )


@router.get("/lesions/over-time/{study_uid}")
def over_time(request: Request, web: WebContext, visitor: Viewer, study_uid: str) -> HTMLResponse:
    """All lesions of the patient of a study."""
    courses = courses_told(web.database, study_uid)
    web.note(visitor, "lesions.read", study_uid, {})
    return render(
        request,
        "lesions_over_time.html",
        visitor,
        study_uid=study_uid,
        courses=[(one, _plot(number, one)) for number, one in enumerate(courses, start=1)],
    )


def _plot(number: int, course: CourseTold) -> Drawn:
    """Long axes of the largest lesions, over the dates of the studies that show any."""
    dates = sorted({one.study_date for one in course.lesions})
    by_uid: dict[str, dict[str, LesionTold]] = {}
    for one in course.lesions:
        by_uid.setdefault(one.tracking_uid, {})[one.study_date] = one
    largest = sorted(
        by_uid.values(), key=lambda seen: -max(one.long_axis_mm for one in seen.values())
    )[:DRAWN]
    series = []
    for seen in largest:
        last = seen[max(seen)]
        values = [seen[date].long_axis_mm if date in seen else None for date in dates]
        series.append(Series(name=f"{last.name} of {day(last.study_date)}", values=values))
    return drawn(
        Plot(
            id=f"course-{number}",
            title="Long axis over time",
            words=f"The {len(series)} largest of {len(by_uid)} lesions, over {len(dates)} studies.",
            axis="study",
            places=[day(date) for date in dates],
            series=series or [Series(name="none", values=[])],
            unit="mm",
        ),
        lines,
    )


def _number(written: str) -> float | None:
    """A number that somebody typed; None for anything else."""
    try:
        value = float(written.replace(",", "."))
    except ValueError:
        return None
    return value if abs(value) < 1e9 else None


def _key(written: str) -> LesionKey | None:
    """The place a page ends at; None for what is none."""
    value, _, number = written.partition(":")
    place = _number(value)
    if place is None or not (number.isascii() and number.isdigit()):
        return None
    return LesionKey(value=place, finding_id=min(int(number), 2**62))
