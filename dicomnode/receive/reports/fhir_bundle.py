"""FHIR Bundles of reports: what each entry is, and what is wrong with it."""

from collections.abc import Sequence
from dataclasses import dataclass

from dicomnode.receive.reports.fhir import REPORT, FhirReport, beside, read_report
from dicomnode.receive.reports.fhir_json import NotFhir, Resource, kind_of, many, one, text

BUNDLE = "Bundle"
ALL_OR_NONE = "transaction"
KINDS = frozenset({ALL_OR_NONE, "batch", "collection"})
MOST_ENTRIES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleEntry:
    """One entry, in its place."""

    report: FhirReport | None = None
    fault: str = ""
    """Why a report is not taken. Neither: a resource that is only read beside reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportBundle:
    """A Bundle that was read."""

    kind: str
    entries: Sequence[BundleEntry]


def read_bundle(bundle: Resource, *, sender: str) -> ReportBundle:
    """Every entry of a Bundle. Of a transaction, one fault refuses all.

    Raises:
        NotFhir: it cannot be read, or none of it is a report.
    """
    if kind_of(bundle) != BUNDLE:
        raise NotFhir(f"the resource is neither a {REPORT} nor a {BUNDLE}")
    kind = text(bundle, "type")
    if kind not in KINDS:
        raise NotFhir(f"type is none of {', '.join(sorted(KINDS))}")
    entries = list(many(bundle, "entry"))
    if len(entries) > MOST_ENTRIES:
        raise NotFhir(f"entry holds more than {MOST_ENTRIES}")
    others = beside(entries)
    read: list[BundleEntry] = []
    for number, entry in enumerate(entries):
        resource = one(entry, "resource")
        if kind_of(resource) != REPORT:
            read.append(BundleEntry())
            continue
        try:
            named = _named(entry)
            report = read_report(resource, others, sender=sender, named=named)
            read.append(BundleEntry(report=report))
        except NotFhir as exc:
            if kind == ALL_OR_NONE:
                raise NotFhir(f"entry {number}: {exc}") from exc
            read.append(BundleEntry(fault=str(exc)))
    if not any(each.report or each.fault for each in read):
        raise NotFhir(f"entry holds no {REPORT}")
    return ReportBundle(kind=kind, entries=read)


def _named(entry: Resource) -> str:
    """The id of an update; what is stored by POST has none of ours."""
    request = one(entry, "request")
    method = text(request, "method")
    if method not in {"", "POST", "PUT"}:
        raise NotFhir("request.method is neither POST nor PUT")
    path = text(request, "url").partition("?")[0]
    return path.partition(f"{REPORT}/")[2] if method == "PUT" else ""
