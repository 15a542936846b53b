"""`POST /fhir/DiagnosticReport`, `PUT /fhir/DiagnosticReport/{id}`, `POST /fhir` (a Bundle)."""

from collections.abc import Sequence

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from dicomnode.domain.incoming_reports import Kept, KeptReport
from dicomnode.receive.reports.fhir import REPORT, FhirReport, read_report
from dicomnode.receive.reports.fhir_bundle import BUNDLE, read_bundle
from dicomnode.receive.reports.fhir_json import LARGEST, TooMuchFhir, kind_of, parsed
from dicomnode.store.reports import keep_reports
from dicomnode.web.context import Visitor, Web, WebContext
from dicomnode.web.fhir.outcomes import MEDIA_TYPE, FhirRoute, Issue, NotJson, answered, outcome
from dicomnode.web.visitors import Reader, Viewer

PREFIX = "/fhir"
ACCEPTED = frozenset({MEDIA_TYPE, "application/json", "text/json"})
WORDS = {
    Kept.NEW: "kept",
    Kept.SUPERSEDES: "kept as a later version",
    Kept.DUPLICATE: "there already",
    Kept.OUTDATED: "kept, but it is older than the version that is current",
}

router = APIRouter(prefix=PREFIX, route_class=FhirRoute, tags=["FHIR"])


@router.post(f"/{REPORT}")
async def create(request: Request, web: WebContext, visitor: Reader) -> Response:
    """Take one report, new or a later version of one that is known by its identifier."""
    body = await _body(request)
    return await run_in_threadpool(_take, request, web, visitor, body, "")


@router.put(f"/{REPORT}/{{known}}")
async def update(request: Request, web: WebContext, visitor: Reader, known: str) -> Response:
    """Take a report under the id of its sender, or under the one it was given here."""
    body = await _body(request)
    return await run_in_threadpool(_take, request, web, visitor, body, known)


@router.post("")
async def bundle(request: Request, web: WebContext, visitor: Reader) -> Response:
    """Take the reports of a Bundle: transaction (all or none), batch or collection."""
    body = await _body(request)
    return await run_in_threadpool(_take_bundle, web, visitor, body)


@router.get("/metadata")
def metadata(web: WebContext, _visitor: Viewer) -> Response:
    """What this interface can do."""
    kinds = [{"code": "create"}, {"code": "update"}]
    content: dict[str, object] = {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": web.clock().date().isoformat(),
        "kind": "instance",
        "implementation": {"description": "dicomnode takes radiology reports"},
        "fhirVersion": "4.0.1",
        "format": [MEDIA_TYPE],
        "rest": [
            {
                "mode": "server",
                "resource": [{"type": REPORT, "interaction": kinds, "updateCreate": True}],
                "interaction": [{"code": "transaction"}, {"code": "batch"}],
            }
        ],
    }
    return answered(200, content)


async def _body(request: Request) -> bytes:
    """The body, of the right type and size; no more of a larger one is read."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ACCEPTED:
        raise NotJson(f"reports are taken as {MEDIA_TYPE}")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST:
            raise TooMuchFhir(f"more than {LARGEST} bytes")
    return bytes(body)


def _take(request: Request, web: Web, visitor: Visitor, body: bytes, known: str) -> Response:
    resource = parsed(body)
    if not known and kind_of(resource) == BUNDLE:
        return _take_bundle(web, visitor, body)
    report = read_report(resource, sender=visitor.name, named=known)
    (kept,) = _keep(web, visitor, [report])
    place = f"{str(request.base_url).rstrip('/')}{PREFIX}/{_version(report, kept)}"
    status = 201 if kept.outcome is Kept.NEW else 200
    return answered(status, outcome(_issues(kept)), Location=place)


def _take_bundle(web: Web, visitor: Visitor, body: bytes) -> Response:
    read = read_bundle(parsed(body), sender=visitor.name)
    reports = [each.report for each in read.entries if each.report is not None]
    kept = iter(_keep(web, visitor, reports))
    entries: list[dict[str, object]] = []
    for each in read.entries:
        if each.report is not None:
            one = next(kept)
            entries.append(
                {
                    "status": "201 Created" if one.outcome is Kept.NEW else "200 OK",
                    "location": _version(each.report, one),
                    "outcome": outcome(_issues(one)),
                }
            )
        elif each.fault:
            issue = Issue(severity="error", code="invalid", words=each.fault)
            entries.append({"status": "422 Unprocessable Entity", "outcome": outcome([issue])})
        else:
            words = "read beside the reports, not kept"
            issue = Issue(severity="information", code="informational", words=words)
            entries.append({"status": "202 Accepted", "outcome": outcome([issue])})
    kind = "transaction-response" if read.kind == "transaction" else "batch-response"
    content: dict[str, object] = {
        "resourceType": BUNDLE,
        "type": kind,
        "entry": [{"response": each} for each in entries],
    }
    return answered(200, content)


def _keep(web: Web, visitor: Visitor, reports: Sequence[FhirReport]) -> list[KeptReport]:
    """Keep them in one commit with the line of the audit trail."""
    if not reports:
        return []
    with web.noted(visitor, "report.sent", facts={"reports": len(reports), "by": "fhir"}):
        return keep_reports(web.database, [each.report for each in reports], web.clock())


def _version(report: FhirReport, kept: KeptReport) -> str:
    return f"{REPORT}/{report.id}/_history/{kept.report_id}"


def _issues(kept: KeptReport) -> list[Issue]:
    words = f"report {kept.report_id}: {WORDS[kept.outcome]}"
    issues = [Issue(severity="information", code="informational", words=words)]
    if kept.remarks:
        issues.append(Issue(severity="warning", code="value", words=kept.remarks))
    return issues
