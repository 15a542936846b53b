"""One picture a person understands at a glance: where the findings lie and what was measured.

For eyes only: it is no DICOM object, is never sent, and carries no patient attribute.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from dicomnode.domain.codes import number_in_words
from dicomnode.domain.findings import (
    CaptionFinding,
    Finding,
    LesionFinding,
    Mark,
    Measurement,
    SegmentFinding,
)
from dicomnode.domain.volumes import Volume
from dicomnode.encode.canvas import (
    BACKGROUND,
    MUTED,
    Color,
    draw_label,
    draw_letter,
    draw_line,
    font,
    grey_picture,
    paint_mask,
)
from dicomnode.encode.legend import draw_legend, line_colors
from dicomnode.encode.planes import PLANES, Plane, Turn
from dicomnode.encode.windows import window_of

HEIGHT = 1000
_GAP = 12
_BRIGHTEST = 0.88
"""Of a radiograph's white, so that colours stand out on it."""


def draw_overlay(
    volume: Volume, findings: Sequence[Finding], out_png: Path, *, title: str = ""
) -> Path:
    """Draw `findings` on `volume` into a PNG and return its path.

    A radiograph is shown whole. A volume is cut axial, coronal and sagittal where the segments are
    largest, or through the first line or lesion, with the patient's left on the picture's right.
    """
    is_projection = volume.grid.frame_of_reference_uid is None
    pictures = _radiograph(volume, findings) if is_projection else _cuts(volume, findings)
    panel = draw_legend(pictures.height, findings, title, volume.warnings)
    height = max(pictures.height, panel.height)
    whole = Image.new("RGB", (pictures.width + panel.width, height), BACKGROUND)
    whole.paste(pictures, (0, 0))
    whole.paste(panel, (pictures.width, 0))
    out_png.parent.mkdir(parents=True, exist_ok=True)
    # Packing harder takes three times as long and saves a seventh.
    whole.save(out_png, format="PNG", compress_level=1)
    return out_png


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """One mark, to be drawn."""

    mark: Mark
    color: Color
    text: str


def _radiograph(volume: Volume, findings: Sequence[Finding]) -> Image.Image:
    _, rows, columns = volume.grid.shape
    _, between_rows, between_columns = volume.grid.spacing_mm
    ratio = columns * between_columns / (rows * between_rows)
    size = (round(HEIGHT * ratio), HEIGHT)
    picture = grey_picture(_stretched(volume.array[0]), size)
    for finding in _masked(findings):
        if finding.mask is not None:
            paint_mask(picture, finding.mask[0], finding.color, 3)
    scale = np.array([size[0] / columns, size[1] / rows])
    for line in _lines(findings):
        _draw_mark(picture, line, line.mark.points * scale)
    return picture


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """A volume, ready to be cut."""

    volume: Volume
    findings: Sequence[Finding]
    turn: Turn
    values: npt.NDArray[np.generic]
    """Turned."""
    window: tuple[float, float]
    """Values shown black and white."""


def _cuts(volume: Volume, findings: Sequence[Finding]) -> Image.Image:
    turn = Turn.of(volume.grid)
    scene = _Scene(
        volume=volume,
        findings=findings,
        turn=turn,
        values=turn.apply(volume.array),
        window=window_of(volume, findings),
    )
    at = _cut_indices(scene)
    main = next(plane for plane in PLANES if plane.fixed == turn.slice_axis)
    above, below = (plane for plane in PLANES if plane is not main)
    large, small = _scale(scene, main, (above, below))
    first = _cut(scene, main, at[main.fixed], large)
    second = _cut(scene, above, at[above.fixed], small)
    third = _cut(scene, below, at[below.fixed], small)
    left = first.width + _GAP
    column = max(second.width, third.width)
    sheet = Image.new("RGB", (left + column + _GAP, HEIGHT), BACKGROUND)
    sheet.paste(first, (0, (HEIGHT - first.height) // 2))
    spare = (HEIGHT - second.height - third.height) // 3
    sheet.paste(second, (left + (column - second.width) // 2, spare))
    sheet.paste(third, (left + (column - third.width) // 2, second.height + 2 * spare))
    return sheet


def _scale(scene: _Scene, main: Plane, others: Sequence[Plane]) -> tuple[float, float]:
    """Picture pixels per millimetre, for the main cut and for the two beside it."""
    height, width = main.size_mm(scene.values.shape, scene.turn)
    large = min(HEIGHT / height, 1100 / width)
    sizes = [plane.size_mm(scene.values.shape, scene.turn) for plane in others]
    small = min((HEIGHT - _GAP) / sum(h for h, _ in sizes), 640 / max(w for _, w in sizes))
    return large, small


def _cut(scene: _Scene, plane: Plane, index: int, pixels_per_mm: float) -> Image.Image:
    turn, shape = scene.turn, scene.volume.grid.shape
    height, width = plane.size_mm(scene.values.shape, turn)
    size = (max(round(width * pixels_per_mm), 1), max(round(height * pixels_per_mm), 1))
    low, high = scene.window
    values = plane.cut(scene.values, index).astype(np.float32)
    picture = grey_picture((values - low) / (high - low), size)
    for finding in _masked(scene.findings):
        if finding.mask is not None:
            mask = plane.cut(turn.apply(finding.mask), index).astype(bool)
            paint_mask(picture, mask, finding.color, 2)
    if plane.fixed == turn.slice_axis:
        for line in _lines(scene.findings):
            place = turn.point(np.array([line.mark.slice_index, 0.0, 0.0]), shape)
            if round(float(place[plane.fixed])) == index:
                _draw_mark(picture, line, plane.points_of(line.mark, turn, shape) * size)
    _annotate(picture, plane)
    return picture


def _annotate(picture: Image.Image, plane: Plane) -> None:
    draw = ImageDraw.Draw(picture)
    width, height = picture.size
    left, right, top, bottom = plane.letters
    draw_letter(draw, (8, height / 2), left, "lm")
    draw_letter(draw, (width - 8, height / 2), right, "rm")
    draw_letter(draw, (width / 2, 6), top, "mt")
    draw_letter(draw, (width / 2, height - 6), bottom, "mb")
    draw.text((10, height - 8), plane.name, font=font(17), fill=MUTED, anchor="lb")


def _cut_indices(scene: _Scene) -> tuple[int, int, int]:
    """Where to cut along each turned axis."""
    shape = scene.volume.grid.shape
    turned = np.rint(scene.turn.point(_focus(scene), shape)).astype(int)
    last = np.array(scene.values.shape) - 1
    first, second, third = np.clip(turned, 0, last).tolist()
    return first, second, third


def _focus(scene: _Scene) -> npt.NDArray[np.float64]:
    """What is looked at, as an array index: all segments, else the first line, else a lesion."""
    shape, lines = scene.volume.grid.shape, _lines(scene.findings)
    if lines and not any(isinstance(each, SegmentFinding) for each in scene.findings):
        column, row = lines[0].mark.points.mean(axis=0)
        return np.array([lines[0].mark.slice_index, row - 0.5, column - 0.5])
    masked = _masked(scene.findings)
    lesions = [each for each in masked if isinstance(each, LesionFinding) and each.mask is not None]
    union = np.zeros(shape, dtype=bool)
    for finding in lesions[:1] or masked:
        if finding.mask is not None:
            union |= finding.mask
    if not union.any():
        return np.array([(length - 1) / 2 for length in shape])
    largest = [union.sum(axis=across).argmax() for across in ((1, 2), (0, 2), (0, 1))]
    return np.array(largest, dtype=np.float64)


def _masked(findings: Sequence[Finding]) -> list[SegmentFinding | LesionFinding]:
    return [each for each in findings if isinstance(each, SegmentFinding | LesionFinding)]


def _lines(findings: Sequence[Finding]) -> list[_Line]:
    lines = []
    for finding in findings:
        if isinstance(finding, SegmentFinding | CaptionFinding):
            continue
        for mark, color in zip(finding.marks, line_colors(finding), strict=True):
            number = mark.measurement
            lines.append(_Line(mark=mark, color=color, text=_caption(number) or finding.name))
    return lines


def _caption(number: Measurement | None) -> str:
    if number is None:
        return ""
    return f"{number.name.meaning} {number_in_words(number.value, number.unit.value)}"


def _draw_mark(picture: Image.Image, line: _Line, points: npt.NDArray[np.float64]) -> None:
    draw = ImageDraw.Draw(picture)
    draw_line(draw, points, line.color, 4)
    middle = points.mean(axis=0)
    place = (float(middle[0]), float(points[:, 1].max()) + 26)
    draw_label(picture, place, line.text, line.color)


def _stretched(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A radiograph between its darkest and brightest hundredth."""
    low, high = np.percentile(values, (1, 99))
    full = (values - low) / max(float(high - low), 1e-6)
    return np.asarray(full * _BRIGHTEST, dtype=np.float32)
