"""Mentions as plain records, for JSON lines."""

from dicomnode.domain.reports import Attributes, Mention, Report, Span
from dicomnode.reports.lexicon import Lexicon

Record = dict[str, object]


def mention_record(report: Report, mention: Mention, lexicon: Lexicon) -> Record:
    """One mention with its words; all places count code points in the text of `part`."""
    part = report.parts[mention.part]
    decision = mention.decision
    finding = lexicon.findings[mention.concept]
    return {
        "id": report.report_id,
        "part": part.name,
        "section": mention.section.value,
        "concept": mention.concept,
        "codes": {code.scheme: code.value for code in finding.codes},
        "label": mention.label,
        **_place("", mention.span),
        "text": mention.span.of(part.text),
        **_place("sentence_", mention.sentence),
        "assertion": mention.assertion.value,
        "hedge": mention.hedge.value,
        "circumstance": mention.circumstance.value,
        "method": decision.method.value,
        "rule": decision.rule,
        **(_place("trigger_", decision.trigger) if decision.trigger else {}),
        "window": decision.window.value,
        "graph": decision.graph.value if decision.graph else None,
        "attributes": _attributes(mention.attributes),
    }


def _place(prefix: str, span: Span) -> Record:
    return {f"{prefix}start": span.start, f"{prefix}end": span.end}


def _attributes(attributes: Attributes) -> Record:
    """Only what was said."""
    record: Record = {
        "side": attributes.side.value if attributes.side else None,
        "locations": list(attributes.locations),
        "severity": attributes.severity,
        "change": attributes.change.value if attributes.change else None,
        "sizes_mm": list(attributes.sizes_mm),
        "count": attributes.count,
        "images": [{"series": image.series, "image": image.image} for image in attributes.images],
    }
    return {key: value for key, value in record.items() if value not in (None, [])}
