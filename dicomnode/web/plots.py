"""Plots as SVG that needs no script, no font and no network; each has its numbers as a table.

Colours come from the style sheet, so that plots follow dark and light. Everything that is written
is escaped by the template engine's own rules.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from markupsafe import Markup

WIDTH, HEIGHT = 640, 240
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 14, 40
ROW = 22
MOST_NAMES = 260
"""Pixels for the names of rows, at most."""
CHARACTER = 7.2
"""Pixels of a character, about; names must not run into each other."""
MOST_TICKS = 5
TINIEST = 1e-9
"""Below this a number is drawn as nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One row of numbers."""

    name: str
    values: Sequence[float | None]
    """None: nothing is known there; no bar, and a gap in a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """What is drawn: numbers over places along an axis."""

    id: str
    """Unique on its page; letters and hyphens."""
    title: str
    words: str
    """What it shows, for those who do not see it."""
    axis: str
    """What the places are, e.g. `hour`."""
    places: Sequence[str]
    series: Sequence[Series]
    unit: str = ""
    whole: bool = False
    """Numbers are counts."""

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to draw."""
        return not any(value for one in self.series for value in one.values)

    def cell(self, value: float | None) -> str:
        """A number as the table has it."""
        if value is None:
            return ""
        return f"{value:.0f}" if self.whole else f"{value:.3g}"


def bars(plot: Plot) -> Markup:
    """Upright bars, side by side at each place."""
    scale = _Scale.of(plot)
    step = (WIDTH - LEFT - RIGHT) / max(len(plot.places), 1)
    width = step * 0.8 / len(plot.series)
    parts = _frame(plot, scale, step)
    for number, one in enumerate(plot.series):
        for place, value in enumerate(one.values):
            if value:
                x = LEFT + place * step + step * 0.1 + number * width
                y = scale.y(value)
                parts.append(
                    Markup(
                        '<rect class="s{}" x="{}" y="{}" width="{}" height="{}">{}</rect>'
                    ).format(
                        number,
                        _n(x),
                        _n(y),
                        _n(max(width - 1, 1)),
                        _n(scale.y(0) - y),
                        _hover(plot, one, place),
                    )
                )
    return _svg(plot, parts, HEIGHT)


def lines(plot: Plot) -> Markup:
    """A line for each series, with a mark at each number, so that a lone one is seen."""
    scale = _Scale.of(plot)
    step = (WIDTH - LEFT - RIGHT) / max(len(plot.places), 1)
    parts = _frame(plot, scale, step)
    for number, one in enumerate(plot.series):
        points = [
            None if value is None else (LEFT + (place + 0.5) * step, scale.y(value))
            for place, value in enumerate(one.values)
        ]
        parts += [_path(number, run) for run in _runs(points)]
        for place, point in enumerate(points):
            if point is not None:
                parts.append(
                    Markup('<circle class="s{}" cx="{}" cy="{}" r="3">{}</circle>').format(
                        number, _n(point[0]), _n(point[1]), _hover(plot, one, place)
                    )
                )
    return _svg(plot, parts, HEIGHT)


def rows(plot: Plot) -> Markup:
    """Lying bars, one row for each place, with the number behind it. Takes the first series."""
    (one, *_) = plot.series
    largest = max((value for value in one.values if value), default=1.0)
    height = TOP + ROW * max(len(plot.places), 1) + 4
    names = min(_longest(plot), MOST_NAMES)
    parts = []
    for place, value in enumerate(one.values):
        y = TOP + place * ROW
        width = (WIDTH - names - 70) * (value or 0) / largest
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(
                _n(names - 8), y + 14, plot.places[place]
            )
        )
        parts.append(
            Markup('<rect class="s0" x="{}" y="{}" width="{}" height="{}"/>').format(
                _n(names), y + 3, _n(width), ROW - 6
            )
        )
        text = f"{plot.cell(value)} {plot.unit}".strip()
        parts.append(
            Markup('<text x="{}" y="{}">{}</text>').format(_n(names + width + 6), y + 14, text)
        )
    return _svg(plot, parts, height)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """The upright axis."""

    top: float
    step: float

    @classmethod
    def of(cls, plot: Plot) -> "_Scale":
        largest = max((v for one in plot.series for v in one.values if v is not None), default=0.0)
        if largest < TINIEST:
            largest = 1.0
        step = _round_step(largest / (MOST_TICKS - 1))
        if plot.whole:
            step = max(ceil(step), 1)
        return cls(top=step * ceil(largest / step), step=step)

    def y(self, value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / self.top)

    def ticks(self) -> Sequence[float]:
        return [number * self.step for number in range(round(self.top / self.step) + 1)]


def _longest(plot: Plot) -> float:
    """Pixels of the longest name, with a gap behind it."""
    return 16 + CHARACTER * max(map(len, plot.places), default=0)


def _round_step(wanted: float) -> float:
    """1, 2 or 5 times a power of ten, at least `wanted`."""
    power = 10.0 ** floor(log10(wanted))
    return next(one * power for one in (1, 2, 5, 10) if one * power >= wanted * 0.999)


def _frame(plot: Plot, scale: _Scale, step: float) -> list[Markup]:
    parts = []
    for tick in scale.ticks():
        y = _n(scale.y(tick))
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
                LEFT, WIDTH - RIGHT, y, y
            )
        )
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(
                LEFT - 6, _n(scale.y(tick) + 4), f"{tick:g}"
            )
        )
    every = max(ceil(_longest(plot) / step), 1)
    for place in range(0, len(plot.places), every):
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(
                _n(LEFT + (place + 0.5) * step), HEIGHT - BOTTOM + 18, plot.places[place]
            )
        )
    if plot.unit:
        parts.append(Markup('<text x="4" y="10">{}</text>').format(plot.unit))
    return parts


def _path(number: int, run: Sequence[tuple[float, float]]) -> Markup:
    points = " ".join(f"{_n(x)},{_n(y)}" for x, y in run)
    return Markup('<polyline class="s{}" points="{}"/>').format(number, points)


def _runs(
    points: Sequence[tuple[float, float] | None],
) -> list[list[tuple[float, float]]]:
    """Stretches without a gap, of two points or more."""
    found: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point is None:
            found.append([])
        else:
            found[-1].append(point)
    return [run for run in found if len(run) > 1]


def _hover(plot: Plot, one: Series, place: int) -> Markup:
    value = plot.cell(one.values[place])
    words = f"{plot.places[place]}: {one.name} {value} {plot.unit}".strip()
    return Markup("<title>{}</title>").format(words)


def _svg(plot: Plot, parts: Sequence[Markup], height: float) -> Markup:
    return Markup(
        '<svg class="plot" viewBox="0 0 {} {}" role="img" aria-labelledby="{}-title {}-words">'
        '<title id="{}-title">{}</title><desc id="{}-words">{}</desc>{}</svg>'
    ).format(
        WIDTH,
        _n(height),
        plot.id,
        plot.id,
        plot.id,
        plot.title,
        plot.id,
        plot.words,
        Markup("").join(parts),
    )


def _n(number: float) -> str:
    """One digit behind the point is a tenth of a pixel."""
    return f"{number:.1f}".rstrip("0").rstrip(".")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A plot with its picture, for the template `_plot.html`."""

    plot: Plot
    picture: Markup


def drawn(plot: Plot, draw: Callable[[Plot], Markup]) -> Drawn:
    """The plot, drawn by `bars`, `lines` or `rows`."""
    return Drawn(plot=plot, picture=draw(plot))
