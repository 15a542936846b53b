"""The panel beside the pictures: names, colours, numbers, and what it is not for."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from dicomnode.domain.codes import number_in_words
from dicomnode.domain.findings import (
    CaptionFinding,
    ClassFinding,
    Finding,
    LesionFinding,
    Measurement,
    MeasurementFinding,
    SegmentFinding,
)
from dicomnode.encode.canvas import MUTED, PANEL, TEXT, WARNING, Color, font, wrapped

WIDTH = 400
_MARGIN = 26
_FOOTER = 90
_LONGEST_ENTRY = 4000
LINE_COLORS: tuple[Color, ...] = ((255, 214, 10), (94, 214, 255), (255, 128, 191), (160, 230, 120))
"""For lines, which have no colour of their own."""


def draw_legend(
    height: int, findings: Sequence[Finding], title: str, notes: Sequence[str]
) -> Image.Image:
    """The panel, at least `height` high; a longer list goes on in columns of `WIDTH` each."""
    drawn = _Writer()
    if title:
        drawn.text(title, 25, TEXT)
        drawn.gap(14)
    if not findings:
        drawn.text("No finding", 22, TEXT)
    for finding in findings:
        drawn.begin_entry()
        _entry(drawn, finding)
    drawn.begin_entry()
    drawn.gap(4)
    for note in notes:
        drawn.text(note, 16, MUTED)
    return _columns(drawn, height)


def line_colors(finding: Finding) -> tuple[Color, ...]:
    """A colour for each mark of a finding."""
    if isinstance(finding, LesionFinding):
        return tuple(finding.color for _ in finding.marks)
    if isinstance(finding, MeasurementFinding | ClassFinding):
        return tuple(LINE_COLORS[index % len(LINE_COLORS)] for index in range(len(finding.marks)))
    return ()


def _entry(drawn: "_Writer", finding: Finding) -> None:
    if isinstance(finding, CaptionFinding):
        drawn.text(finding.text, 18, TEXT)
        drawn.gap(16)
        return
    swatch = finding.color if isinstance(finding, SegmentFinding | LesionFinding) else None
    drawn.text(_capital(finding.name), 21, TEXT, swatch)
    if isinstance(finding, ClassFinding):
        drawn.bar(finding.probability, finding.operating_point)
        verdict = "at or above" if finding.positive else "below"
        drawn.text(f"{finding.probability:.2f}, {verdict} {finding.operating_point:.2f}", 17, MUTED)
    if isinstance(finding, SegmentFinding) and not finding.mask.any():
        drawn.text("not found", 17, MUTED)
    if isinstance(finding, LesionFinding):
        drawn.row("Score", f"{finding.score:.2f}", None)
    if isinstance(finding, SegmentFinding | LesionFinding | MeasurementFinding):
        _numbers(drawn, finding)
    drawn.gap(16)


def _numbers(
    drawn: "_Writer", finding: SegmentFinding | LesionFinding | MeasurementFinding
) -> None:
    lines = _line_numbers(finding)
    others = [number for number in finding.measurements if number not in lines]
    for number in others:
        if number.name.meaning.lower() == finding.name.lower():
            drawn.text(number_in_words(number.value, number.unit.value), 44, TEXT)
    for number, color in lines.items():
        drawn.row(number.name.meaning, number_in_words(number.value, number.unit.value), color)
    for number in others:
        if number.name.meaning.lower() != finding.name.lower():
            drawn.row(_name_of(number), number_in_words(number.value, number.unit.value), None)


def _line_numbers(
    finding: SegmentFinding | LesionFinding | MeasurementFinding,
) -> dict[Measurement, Color]:
    if isinstance(finding, SegmentFinding):
        return {}
    return {
        mark.measurement: color
        for mark, color in zip(finding.marks, line_colors(finding), strict=True)
        if mark.measurement is not None
    }


def _name_of(number: Measurement) -> str:
    if number.derivation is None:
        return number.name.meaning
    return f"{number.name.meaning}, {number.derivation.meaning.lower()}"


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]


def _columns(drawn: "_Writer", least: int) -> Image.Image:
    """Entries below each other and then side by side, with what it is not for below the last."""
    columns: list[list[Image.Image]] = [[]]
    for entry in drawn.entries():
        if columns[-1] and _height(columns[-1]) + entry.height > least:
            columns.append([])
        columns[-1].append(entry)
    height = max(least, *(_height(column) for column in columns))
    panel = Image.new("RGB", (WIDTH * len(columns), height), PANEL)
    for number, column in enumerate(columns):
        top = _MARGIN
        for entry in column:
            panel.paste(entry, (number * WIDTH, top))
            top += entry.height
    _write_footer(panel)
    return panel


def _height(column: Sequence[Image.Image]) -> int:
    return _MARGIN + sum(entry.height for entry in column) + _FOOTER


def _write_footer(panel: Image.Image) -> None:
    draw, top, left = ImageDraw.Draw(panel), panel.height - 74, panel.width - WIDTH + _MARGIN
    draw.line((left, top, panel.width - _MARGIN, top), fill=MUTED)
    draw.text((left, top + 12), "RESEARCH USE ONLY", font=font(19), fill=WARNING)
    draw.text((left, top + 38), "Not for diagnosis", font=font(16), fill=MUTED)


class _Writer:
    """Writes entries below each other on one long strip."""

    def __init__(self) -> None:
        self._image = Image.new("RGB", (WIDTH, 2 * _LONGEST_ENTRY), PANEL)
        self._draw = ImageDraw.Draw(self._image)
        self._y = 0
        self._begins = [0]

    def begin_entry(self) -> None:
        """What follows stays together."""
        self._begins.append(self._y)
        if self._image.height - self._y < _LONGEST_ENTRY:
            longer = Image.new("RGB", (WIDTH, 2 * self._image.height), PANEL)
            longer.paste(self._image, (0, 0))
            self._image, self._draw = longer, ImageDraw.Draw(longer)

    def entries(self) -> list[Image.Image]:
        """Cut apart; none is empty."""
        ends = [*self._begins[1:], self._y]
        return [
            self._image.crop((0, begin, WIDTH, end))
            for begin, end in zip(self._begins, ends, strict=True)
            if end > begin
        ]

    def gap(self, height: int) -> None:
        self._y += height

    def text(self, text: str, size: int, color: Color, swatch: Color | None = None) -> None:
        left = _MARGIN
        if swatch is not None:
            box = (left, self._y + 4, left + size - 4, self._y + size)
            self._draw.rounded_rectangle(box, radius=4, fill=swatch)
            left += size + 8
        for line in wrapped(self._draw, text, size, WIDTH - left - _MARGIN):
            self._draw.text((left, self._y), line, font=font(size), fill=color)
            self._y += round(size * 1.35)

    def row(self, name: str, value: str, color: Color | None) -> None:
        """Name at the left, value at the right; a stroke of the line's colour before the name."""
        left = _MARGIN
        if color is not None:
            self._draw.line((left, self._y + 13, left + 20, self._y + 13), fill=color, width=4)
            left += 30
        value_width = self._draw.textlength(value, font=font(18))
        self._draw.text((WIDTH - _MARGIN, self._y), value, font=font(18), fill=TEXT, anchor="ra")
        for line in wrapped(self._draw, name, 17, round(WIDTH - _MARGIN - left - value_width - 12)):
            self._draw.text((left, self._y), line, font=font(17), fill=MUTED)
            self._y += 25

    def bar(self, filled: float, tick: float) -> None:
        """A probability, with a tick at the operating point."""
        width = WIDTH - 2 * _MARGIN
        top = self._y + 4
        self._draw.rounded_rectangle(
            (_MARGIN, top, WIDTH - _MARGIN, top + 10), 5, fill=(46, 52, 64)
        )
        end = _MARGIN + max(width * filled, 10)
        self._draw.rounded_rectangle((_MARGIN, top, end, top + 10), 5, fill=(94, 214, 255))
        x = _MARGIN + width * tick
        self._draw.line((x, top - 5, x, top + 15), fill=WARNING, width=3)
        self._y = top + 22
