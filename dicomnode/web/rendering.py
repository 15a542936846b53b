"""Pages from templates; everything a template prints is escaped."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dicomnode.domain.access import Role
from dicomnode.domain.matching import Priority
from dicomnode.web.context import Visitor

FOLDER = Path(str(files("dicomnode.web")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page in the navigation, with the routes that belong to it."""

    title: str
    path: str
    router: APIRouter
    role: Role = Role.VIEWER
    """Who sees it in the navigation; each route says itself whom it lets in."""


def render(
    request: Request,
    template: str,
    visitor: Visitor | None,
    *,
    status: int = 200,
    **values: object,
) -> HTMLResponse:
    """A page, or a part of one, with the navigation of this visitor.

    Templates find `visitor` (None before the login), `pages` and `path` besides `values`.
    """
    known = request.app.state.pages
    pages = [page for page in known if visitor is not None and visitor.may(page.role)]
    text = (
        environment()
        .get_template(template)
        .render(visitor=visitor, pages=pages, path=request.url.path, **values)
    )
    return HTMLResponse(text, status)


@cache
def environment() -> Environment:
    """Templates with what they may use."""
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: Mapping[str, Callable[..., object]] = {
        "moment": moment,
        "seconds": in_seconds,
        "age": age,
        "day": day,
        "fact": fact,
        "figure": figure,
        "number_of": number_of,
        "priority": priority,
    }
    made.filters.update(filters)
    made.globals.update(static=static_url)
    return made


@cache
def static_url(name: str) -> str:
    """Address of a static file; changes with its content, so that browsers may keep it."""
    digest = sha256((FOLDER / "static" / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?{digest}"


def moment(value: datetime | None) -> str:
    """A moment in the time of this machine."""
    return "" if value is None else value.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def in_seconds(value: float) -> str:
    """A duration in words: 0.4 s, 12 s, 3 min, 5 h, 2 d."""
    if value < 10:
        return f"{value:.1f} s"
    for unit, length, until in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if value < until:
            return f"{value / length:.0f} {unit}"
    return f"{value / 86400:.0f} d"


def age(since: datetime, now: datetime) -> str:
    """How long ago."""
    return in_seconds(max(now - since, timedelta()).total_seconds())


def day(dicom_date: str) -> str:
    """A date as DICOM writes it (VR DA), with dashes; anything else as it is."""
    is_date = len(dicom_date) == 8 and dicom_date.isdecimal()
    parts = (dicom_date[:4], dicom_date[4:6], dicom_date[6:])
    return "-".join(parts) if is_date else dicom_date


def fact(value: object) -> str:
    """A value of evidence or of an event, as a person reads it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) and "T" in value:
        try:
            return moment(datetime.fromisoformat(value))
        except ValueError:
            return value
    return "unknown" if value is None else str(value)


def figure(value: float) -> str:
    """A number of an answer in SQL: whole ones as they are, others to six digits."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def number_of(count: int, what: str) -> str:
    """1 image, 2 images."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def priority(value: int) -> str:
    """As rules name it: stat, routine ..."""
    known = {one.value: one.name.lower() for one in Priority}
    return known.get(value, str(value))
