"""The rule file: read by everybody, tried on the past and put to work by administrators."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from dicomnode.domain.access import Role
from dicomnode.domain.errors import RuleError
from dicomnode.rules.loading import kept_text
from dicomnode.rules.trying import DryRun
from dicomnode.steps.ruling import MOST_TRIED, RuleDesk, difference
from dicomnode.store.jobs import rule_set_text
from dicomnode.store.rule_versions import Activation, rule_versions
from dicomnode.web.context import Visitor, Web, WebContext
from dicomnode.web.rendering import render
from dicomnode.web.visitors import Admin, Viewer

router = APIRouter()

USUAL_LAST = 200
CHANGES_SHOWN = 200
VERSIONS_SHOWN = 30
LONGEST_FILE = 500_000
LONGEST_REMARK = 500

Text = Annotated[str, Form(max_length=LONGEST_FILE)]
Digest = Annotated[str, Form(pattern="^[0-9a-f]{64}$")]
Last = Annotated[int, Form(ge=1, le=MOST_TRIED)]


@router.get("/rules")
def rules(
    request: Request,
    web: WebContext,
    visitor: Viewer,
    version: Annotated[str, Query(pattern="^([0-9a-f]{64})?$")] = "",
) -> HTMLResponse:
    """The file in force; with `version` an earlier text, ready to be tried again."""
    desk = RuleDesk.of(web.settings)
    text = desk.text()
    if version:
        kept = rule_set_text(web.database, version)
        if kept is None:
            raise HTTPException(404, "there is no such version of the rules")
        text = kept
    return _page(request, web, visitor, desk, text=text, version=version)


@router.post("/rules/try")
def try_rules(
    request: Request,
    web: WebContext,
    visitor: Admin,
    text: Text,
    based_on: Digest,
    last: Last = USUAL_LAST,
) -> HTMLResponse:
    """Every fault of the text, or what it would have done with the last studies."""
    desk = RuleDesk.of(web.settings)
    try:
        tried = desk.try_on_history(web.database, desk.load(text), last=last)
    except RuleError as exc:
        return _page(
            request, web, visitor, desk, text=text, faults=exc.faults, based_on=based_on, last=last
        )
    return _page(request, web, visitor, desk, text=text, tried=tried, based_on=based_on, last=last)


@router.post("/rules/activate")
def activate(
    request: Request,
    web: WebContext,
    visitor: Admin,
    text: Text,
    based_on: Digest,
    tried: Digest,
    remark: Annotated[str, Form(max_length=LONGEST_REMARK)] = "",
) -> Response:
    """Put a text to work that was tried as it stands."""
    desk = RuleDesk.of(web.settings)
    if kept_text(text).digest != tried:
        faults = ("the text was changed since it was tried; try it again",)
        return _page(request, web, visitor, desk, text=text, faults=faults, based_on=based_on)
    activation = Activation(
        by=visitor.name, at=web.clock(), based_on=based_on, remark=remark.strip()
    )
    facts = {"digest": kept_text(text).digest, "replaced": based_on, "remark": activation.remark}
    try:
        with web.noted(visitor, "rules.activated", facts=facts):
            desk.activate(web.database, text, activation)
    except RuleError as exc:
        return _page(request, web, visitor, desk, text=text, faults=exc.faults, based_on=based_on)
    return RedirectResponse("/rules", 303)


def _page(
    request: Request,
    web: Web,
    visitor: Visitor,
    desk: RuleDesk,
    *,
    text: str,
    version: str = "",
    faults: tuple[str, ...] = (),
    tried: DryRun | None = None,
    based_on: str = "",
    last: int = USUAL_LAST,
) -> HTMLResponse:
    in_force = kept_text(desk.text())
    return render(
        request,
        "rules.html",
        visitor,
        status=422 if faults else 200,
        text=text,
        version=version,
        file=desk.path.name,
        file_faults=_faults_of(desk, in_force.text),
        faults=faults,
        tried=tried,
        changes=[(one, difference(one)) for one in (tried.changes if tried else ())][
            :CHANGES_SHOWN
        ],
        based_on=based_on or in_force.digest,
        in_force=in_force.digest,
        text_digest=kept_text(text).digest,
        last=last,
        most=MOST_TRIED,
        versions=rule_versions(web.database, VERSIONS_SHOWN),
        may_edit=visitor.may(Role.ADMIN),
    )


def _faults_of(desk: RuleDesk, text: str) -> tuple[str, ...]:
    """Why the file as it lies there is not used."""
    try:
        desk.load(text)
    except RuleError as exc:
        return exc.faults
    return ()
