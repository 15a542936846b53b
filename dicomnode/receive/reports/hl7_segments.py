"""HL7 v2 encoding (chapter 2): bytes to segments, fields and the text that they stand for.

Every step is bounded: a line is split into no more fields than are ever asked for, so that
megabytes of separators cost no more than megabytes of text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from dicomnode.domain.errors import ReportError

# MSH-18 (HL7 table 0211) as Python names it.
CHARSETS = {
    "": "utf-8",
    "ASCII": "utf-8",
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
    **{f"8859/{part}": f"iso8859_{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
    "ISO IR87": "iso2022_jp",
    "ISO IR159": "iso2022_jp_1",
    "KS X 1001": "euc_kr",
    "GB 18030-2000": "gb18030",
    "BIG-5": "big5",
}
MOST_FIELDS = 60
"""Of a segment; what stands behind is not read."""
MOST_SEGMENTS = 20_000
WITHOUT_FIELDS = frozenset({"PD1", "PV1", "PV2", "NTE", "ORC", "TQ1", "SPM", "DSC", "ZDS", "IPC"})
"""Names that stand alone in a line where the segment is empty; none of them is a word."""
MOST_BLANKS = 50
"""Lines or spaces that one formatting command may ask for."""

_HEADER = re.compile(rb"MSH([^\r\n\w\x00-\x20])([^\r\n\w\x00-\x20]{0,5})")
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """The characters that MSH-1 and MSH-2 name, and the character set of MSH-18."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    charset: str = "utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One segment; `fields[n]` is field n as it was sent, escape sequences and all."""

    name: str
    fields: tuple[str, ...]
    encoding: Encoding

    def raw(self, number: int) -> str:
        """Field `number` as it was sent; empty if it is not there."""
        return self.fields[number] if number < len(self.fields) else ""

    def repetitions(self, number: int, most: int = 20) -> Iterator[tuple[str, ...]]:
        """Components of each of the first repetitions, read."""
        for one in self.raw(number).split(self.encoding.repetition, most)[:most]:
            yield tuple(self._read(piece) for piece in one.split(self.encoding.component, 20))

    def components(self, number: int) -> tuple[str, ...]:
        """Components of the first repetition, read."""
        return next(self.repetitions(number, most=1))

    def component(self, number: int, which: int = 1) -> str:
        """One component of the first repetition; empty if it is not there."""
        found = self.components(number)
        return found[which - 1] if which <= len(found) else ""

    def _read(self, raw: str) -> str:
        """Without subcomponents; line ends are none of an identifier."""
        first = raw.split(self.encoding.subcomponent, 1)[0]
        return text_of(first, self.encoding).replace("\n", " ").strip()


def segments_of(data: bytes) -> list[Segment]:
    """The segments of a message, MSH first.

    A line that begins with no segment name goes on with the segment before it: senders leave line
    ends within texts.

    Raises:
        ReportError: it is no message, or larger than a message of reports can be.
    """
    encoding = encoding_of(data)
    text = _decoded(data, encoding)
    if text.count("\r") + text.count("\n") > 2 * MOST_SEGMENTS:
        raise ReportError("it has more lines than a message of reports can have")
    named = re.compile(rf"[A-Z][A-Z0-9]{{2}}{re.escape(encoding.field)}")
    lines: list[list[str]] = []
    for line in _LINE_END.split(text.lstrip("\ufeff \t\r\n")):
        if named.match(line) or line in WITHOUT_FIELDS:
            lines.append([line])
        elif lines:
            lines[-1].append(line)
    found = [_segment("\n".join(each).rstrip("\n"), encoding) for each in lines]
    if sum(each.name == "MSH" for each in found) != 1:
        raise ReportError("there is more than one message in one frame")
    return found


def encoding_of(data: bytes) -> Encoding:
    """What the header says of the encoding; for a stated set that is not known, see `_decoded`.

    Raises:
        ReportError: there is no header.
    """
    match = _HEADER.match(data)
    if not match:
        raise ReportError("it does not begin with MSH and its separators")
    field, others = (group.decode("latin-1") for group in match.groups())
    others = others.split(field)[0]
    defaults = Encoding()
    component, repetition, escape, subcomponent = (
        others[at] if len(others) > at else default
        for at, default in enumerate(
            (defaults.component, defaults.repetition, defaults.escape, defaults.subcomponent)
        )
    )
    header = re.split(rb"[\r\n]", data[:10_000], maxsplit=1)[0].split(field.encode("latin-1"), 18)
    # MSH-1 is the separator itself, so MSH-18 is the 17th after it.
    stated = header[17].split(repetition.encode("latin-1"))[0] if len(header) > 17 else b""
    return Encoding(
        field=field,
        component=component,
        repetition=repetition,
        escape=escape,
        subcomponent=subcomponent,
        charset=stated.decode("ascii", "replace").strip().upper(),
    )


def _decoded(data: bytes, encoding: Encoding) -> str:
    """Without a stated set, what is no UTF-8 is taken for Latin-1, as most such senders mean."""
    charset = CHARSETS.get(encoding.charset)
    if charset is None:
        raise ReportError("its character set (MSH-18) is not known")
    try:
        return data.decode(charset)
    except UnicodeDecodeError:
        if encoding.charset:
            raise ReportError("it is not in the character set that it states (MSH-18)") from None
        return data.decode("latin-1")


def _segment(line: str, encoding: Encoding) -> Segment:
    name, *rest = line.split(encoding.field, MOST_FIELDS)[:MOST_FIELDS]
    fields = (name, encoding.field, *rest) if name == "MSH" else (name, *rest)
    return Segment(name=name, fields=fields, encoding=encoding)


def text_of(raw: str, encoding: Encoding) -> str:
    """What a field stands for (2.7): escape sequences replaced, unknown ones left as they are."""
    if encoding.escape not in raw:
        return raw

    meanings = {
        **dict.fromkeys("HN", ""),
        "F": encoding.field,
        "S": encoding.component,
        "R": encoding.repetition,
        "T": encoding.subcomponent,
        "E": encoding.escape,
        "P": "#",
    }

    def meant(match: re.Match[str]) -> str:
        letter, code, command, amount = match.groups()
        if letter:
            return meanings[letter]
        if code:
            charset = CHARSETS.get(encoding.charset) or "utf-8"
            decoded = bytes.fromhex(code).decode(charset, "replace")
            return decoded.replace("\r\n", "\n").replace("\r", "\n")
        blank = _COMMANDS.get(command or "", "")
        return blank * max(1, min(int(amount or 1), MOST_BLANKS))

    return _escapes(encoding.escape).sub(meant, raw)


_COMMANDS = {".br": "\n", ".sp": "\n", ".ce": "\n", ".sk": " "}
"""Formatting commands of FT that leave a blank; the others (.in, .ti, .fi, .nf) only lay out."""


@cache
def _escapes(escape: str) -> re.Pattern[str]:
    """Sequences between two escape characters (2.7.1 to 2.7.7)."""
    return re.compile(
        rf"{re.escape(escape)}(?:([FSTREHNP])|X((?:[0-9A-Fa-f]{{2}}){{1,200}})"
        rf"|(\.[a-z]{{2}}) ?[+-]?([0-9]{{0,4}})|Z[0-9A-Za-z]{{0,40}}|[CM][0-9A-F]{{4,6}})"
        rf"{re.escape(escape)}"
    )
