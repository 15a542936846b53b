"""Plain text of an XHTML narrative (FHIR R4 2.4): line ends where blocks are, nothing else."""

import html
import re
from xml.etree.ElementTree import ParseError, XMLParser

from dicomnode.domain.errors import ReportError

BLOCKS = frozenset(
    {"div", "p", "br", "hr", "li", "ul", "ol", "dl", "dt", "dd", "pre", "blockquote"}
    | {"table", "thead", "tbody", "tr", "h1", "h2", "h3", "h4", "h5", "h6"}
)
UNSEEN = frozenset({"style", "script", "head", "title"})
_NAMED = re.compile(r"&([A-Za-z][A-Za-z0-9]{0,30});")
_XML = frozenset({"amp", "lt", "gt", "quot", "apos"})


class NotXhtml(ReportError):
    """It is no well-formed XHTML."""


class _Collector:
    """Takes what the parser meets, without keeping a tree."""

    def __init__(self) -> None:
        self._lines: list[list[str]] = [[]]
        self._unseen = 0

    def start(self, tag: str, _attributes: dict[str, str]) -> None:
        self._unseen += _name(tag) in UNSEEN
        self._between(tag)

    def end(self, tag: str) -> None:
        self._unseen -= _name(tag) in UNSEEN
        self._between(tag)

    def data(self, data: str) -> None:
        if not self._unseen:
            self._lines[-1].append(data)

    def close(self) -> str:
        lines = (" ".join("".join(pieces).split()) for pieces in self._lines)
        return "\n".join(line for line in lines if line)

    def _between(self, tag: str) -> None:
        if _name(tag) in BLOCKS:
            self._lines.append([])
        elif _name(tag) in {"td", "th"}:
            self._lines[-1].append(" ")


def _name(tag: str) -> str:
    return tag.rpartition("}")[2].lower()


def plain_text(xhtml: str) -> str:
    """What a reader sees of `xhtml`, one line for each block.

    Raises:
        NotXhtml: it is not well-formed, or defines entities.
    """
    # An entity that is defined in the text may expand without bound.
    if "<!" in xhtml.replace("<!--", ""):
        raise NotXhtml("a narrative has a document type or CDATA")
    readable = _NAMED.sub(
        lambda named: named[0] if named[1] in _XML else html.unescape(named[0]), xhtml
    )
    parser = XMLParser(target=_Collector())  # noqa: S314 (no document type, so no entities)
    try:
        parser.feed(readable)
        return str(parser.close())
    # ValueError: lone surrogates.
    except (ParseError, ValueError):
        raise NotXhtml("a narrative is not well-formed XHTML") from None
