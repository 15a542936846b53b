"""Findings drawn into copies of their images, pixel for pixel, with a strip of words below.

Inside the image only what marks a finding is coloured, and a mask's colour covers exactly its
pixels: a reader can tell by the colour alone, and the gate of `capture_gate` does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

from dicomnode.domain.findings import Finding, LesionFinding, SegmentFinding
from dicomnode.domain.volumes import Volume
from dicomnode.encode.canvas import MUTED, TEXT, WARNING, Color, font, wrapped
from dicomnode.encode.directions import Edges
from dicomnode.encode.legend import LINE_COLORS, line_colors
from dicomnode.encode.mark_grid import draw_grid, tiles_of
from dicomnode.encode.tracking import marks_of
from dicomnode.encode.windows import window_of
from dicomnode.encode.wording import RESEARCH_USE, finding_in_words

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

FILL_OPACITY = 0.26
LEAST_CHROMA = 64
"""Between a colour's largest and smallest channel; a duller one could be taken for grey."""
NARROWEST = 360
"""Columns that the words need; a smaller image is set at the left of so wide a picture."""


def vivid(color: Color) -> Color:
    """The colour itself, or one of our own where it is too near to grey to be told from the image.

    >>> vivid((213, 94, 0)), vivid((200, 200, 200))
    ((213, 94, 0), (255, 214, 10))
    """
    return color if max(color) - min(color) >= LEAST_CHROMA else LINE_COLORS[0]


def masks_on(findings: Sequence[Finding], index: int) -> list[tuple[Mask, Color]]:
    """What is marked on a slice, with its colour: largest first, so that small ones lie on top."""
    marked = [
        (one.mask[index], vivid(one.color))
        for one in findings
        if isinstance(one, SegmentFinding | LesionFinding)
        and one.mask is not None
        and one.mask[index].any()
    ]
    return sorted(marked, key=lambda entry: -int(entry[0].sum()))


def lines_on(
    findings: Sequence[Finding], index: int
) -> list[tuple[npt.NDArray[np.float64], Color]]:
    """Lines drawn on a slice as (n, 2) points (column, row), with their colours."""
    return [
        (mark.points, vivid(color))
        for one in findings
        for mark, color in zip(marks_of(one), line_colors(one), strict=True)
        if mark.slice_index == index
    ]


def stroke_width(shape: tuple[int, int]) -> int:
    """Pixels: one for a CT, more for a radiograph, so that it is seen on a whole screen."""
    return max(round(max(shape) / 500), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What stands below the image."""

    title: str
    notes: Sequence[str]
    """Of the whole run."""


def draw_frames(
    volume: Volume,
    findings: Sequence[Finding],
    slices: Sequence[int],
    *,
    edges: Edges,
    words: Words,
) -> Pixels:
    """(frames, rows, columns, 3): each slice at the image's own resolution, at the top left."""
    rows, columns = volume.grid.shape[1:]
    width = picture_width(columns)
    strips = [_strip(volume, findings, index, words, width) for index in slices]
    height = rows + max(strip.height for strip in strips)
    frames = np.zeros((len(slices), height, width, 3), dtype=np.uint8)
    for frame, index, strip in zip(frames, slices, strips, strict=True):
        low, high = window_of(volume, _on_slice(findings, index) or findings)
        levels = np.clip((volume.array[index] - low) / (high - low), 0, 1)
        grey = np.rint(np.nan_to_num(levels) * 255).astype(np.uint8)
        frame[:rows, :columns] = _image(grey, findings, index, edges)
        frame[rows : rows + strip.height] = np.asarray(strip)
    return frames


def with_grid(
    frames: Pixels,
    findings: Sequence[Finding],
    slices: Sequence[int],
    shape: tuple[int, int],
    words: Words,
) -> Pixels:
    """The frames, behind a first one with a tile for each lesion, where there are several.

    `shape`: rows and columns of the image. Tiles of slices that have no frame are left out.
    """
    width = frames.shape[2]
    tiles = [one for one in tiles_of(findings, shape, width) if one.slice_index in slices]
    if not tiles:
        return frames
    shown = dict(zip(slices, frames, strict=True))
    grid = draw_grid(shown, tiles, width)
    writer = _Strip(width)
    writer.line(RESEARCH_USE, WARNING)
    writer.line(f"{words.title}: {len(tiles)} marks, the surest first", TEXT)
    for note in words.notes:
        writer.line(note, MUTED)
    strip = np.asarray(writer.picture())
    height = max(frames.shape[1], len(grid) + len(strip))
    whole = np.zeros((len(frames) + 1, height, width, 3), dtype=np.uint8)
    whole[1:, : frames.shape[1]] = frames
    whole[0, : len(grid)] = grid
    whole[0, len(grid) : len(grid) + len(strip)] = strip
    return whole


def picture_width(columns: int) -> int:
    """Of a picture of an image with so many columns."""
    return max(columns, NARROWEST)


def _on_slice(findings: Sequence[Finding], index: int) -> list[Finding]:
    """What is marked on a slice by a line or a mask."""
    return [
        one
        for one in findings
        if any(mark.slice_index == index for mark in marks_of(one))
        or (
            isinstance(one, SegmentFinding | LesionFinding)
            and one.mask is not None
            and bool(one.mask[index].any())
        )
    ]


def _image(grey: Pixels, findings: Sequence[Finding], index: int, edges: Edges) -> Pixels:
    lettered = Image.fromarray(np.ascontiguousarray(grey))
    _draw_letters(lettered, edges)
    base = np.repeat(np.asarray(lettered)[..., None], 3, axis=2)
    picture = base.copy()
    reach = stroke_width(grey.shape)
    for mask, color in masks_on(findings, index):
        inner = ndimage.binary_erosion(mask, iterations=reach)
        tinted = base * (1 - FILL_OPACITY) + np.array(color) * FILL_OPACITY
        picture[mask] = np.rint(tinted[mask]).astype(np.uint8)
        picture[mask & ~inner] = color
    drawn = Image.fromarray(picture)
    pencil = ImageDraw.Draw(drawn)
    for points, line_color in lines_on(findings, index):
        # Pillow counts from the centre of the first pixel, DICOM from its corner.
        path = [(round(float(x) - 0.5), round(float(y) - 0.5)) for x, y in points]
        if len(path) == 1:
            (x, y), size = path[0], 2 * reach
            pencil.ellipse((x - size, y - size, x + size, y + size), outline=line_color)
        else:
            pencil.line(path, fill=line_color, width=reach)
    return np.asarray(drawn)


def _draw_letters(picture: Image.Image, edges: Edges) -> None:
    """Side letters in grey, below the findings so that they hide none."""
    draw = ImageDraw.Draw(picture)
    size = max(round(picture.height / 22), 9)
    width, height = picture.size
    for letter, place, anchor in (
        (edges.left, (size / 3, height / 2), "lm"),
        (edges.right, (width - size / 3, height / 2), "rm"),
    ):
        draw.text(
            place,
            letter,
            font=font(size),
            fill=255,
            anchor=anchor,
            stroke_width=max(size // 12, 1),
            stroke_fill=0,
        )


def _strip(
    volume: Volume, findings: Sequence[Finding], index: int, words: Words, width: int
) -> Image.Image:
    writer = _Strip(width)
    writer.line(RESEARCH_USE, WARNING)
    where = f", slice {index + 1} of {len(volume.frames)}" if len(volume.frames) > 1 else ""
    writer.line(words.title + where, TEXT)
    for finding in findings:
        writer.line(finding_in_words(finding), TEXT, _swatch(finding))
    if not findings:
        writer.line("No finding", TEXT)
    for note in (*words.notes, *volume.warnings):
        writer.line(note, MUTED)
    return writer.picture()


def _swatch(finding: Finding) -> tuple[Color, ...]:
    if isinstance(finding, SegmentFinding | LesionFinding):
        return (vivid(finding.color),)
    return tuple(vivid(color) for color in line_colors(finding))


class _Strip:
    """Lines of words on black, as high as they need."""

    def __init__(self, width: int) -> None:
        self._size = max(width // 42, 12)
        self._image = Image.new("RGB", (width, 400 * self._size))
        self._draw = ImageDraw.Draw(self._image)
        self._y = self._margin = self._size // 2

    def line(self, text: str, color: Color, swatches: Sequence[Color] = ()) -> None:
        """`text`, wrapped; after a square of each colour it is about."""
        left, size = self._margin, self._size
        for swatch in swatches:
            square = (left, self._y + 2, left + size - 3, self._y + size - 1)
            self._draw.rectangle(square, fill=swatch)
            left += size
        if swatches:
            left += size // 3
        room = self._image.width - left - self._margin
        for piece in wrapped(self._draw, text, size, room):
            self._draw.text((left, self._y), piece, font=font(size), fill=color)
            self._y += round(size * 1.35)

    def picture(self) -> Image.Image:
        """As high as the words are."""
        height = min(self._y + self._margin, self._image.height)
        return self._image.crop((0, 0, self._image.width, height))
