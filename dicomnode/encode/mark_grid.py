"""All marks of a CT on one picture: a tile cut around each, the surest first.

Tiles are cut from the frames that show the findings, pixel for pixel, so that a length measured on
a tile is right and the gate can compare each with the frame it came from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from dicomnode.domain.codes import LONG_AXIS, SHORT_AXIS
from dicomnode.domain.findings import Finding, LesionFinding
from dicomnode.encode.canvas import MUTED, TEXT, font

Pixels = npt.NDArray[np.uint8]

COLUMNS, ROWS = 4, 3
LEAST = 2
"""Marks below which the frames themselves are as quick to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """What is cut out around one lesion, and where it stands on the picture; pixels."""

    lines: tuple[str, str]
    """Words below it."""
    slice_index: int
    top: int
    left: int
    """Of the cut on its frame."""
    side: int
    row: int
    column: int
    """Of its upper left corner on the picture."""


def caption_height(side: int) -> int:
    """Pixels below a tile for its two lines of words."""
    return 2 * round(_size(side) * 1.3) + 4


def tiles_of(findings: Sequence[Finding], shape: tuple[int, int], width: int) -> tuple[Tile, ...]:
    """Tiles of the lesions that lie on a slice, at most 12; none for fewer than two.

    Args:
        findings: of the run, lesions in the order of their scores.
        shape: rows and columns of the image.
        width: of the picture.
    """
    lesions = [one for one in findings if isinstance(one, LesionFinding) and one.marks]
    if len(lesions) < LEAST:
        return ()
    side = min(width // COLUMNS, *shape)
    tiles = []
    for number, lesion in enumerate(lesions[: COLUMNS * ROWS]):
        mark = lesion.marks[0]
        column, row = np.round(mark.points.mean(axis=0)).astype(int) - side // 2
        tiles.append(
            Tile(
                lines=_words(lesion),
                slice_index=mark.slice_index,
                top=int(np.clip(row, 0, shape[0] - side)),
                left=int(np.clip(column, 0, shape[1] - side)),
                side=side,
                row=number // COLUMNS * (side + caption_height(side)),
                column=number % COLUMNS * side,
            )
        )
    return tuple(tiles)


def height_of(tiles: Sequence[Tile]) -> int:
    """Rows that the tiles and their words take."""
    return max((tile.row + tile.side + caption_height(tile.side) for tile in tiles), default=0)


def draw_grid(frames: Mapping[int, Pixels], tiles: Sequence[Tile], width: int) -> Pixels:
    """(rows, width, 3): the tiles, cut from `frames` (slice -> picture), and words below each."""
    picture = Image.new("RGB", (width, height_of(tiles)))
    pencil = ImageDraw.Draw(picture)
    for tile in tiles:
        picture.paste(
            Image.fromarray(cut_of(frames[tile.slice_index], tile)), (tile.column, tile.row)
        )
        size, y = _size(tile.side), tile.row + tile.side + 2
        for words, color in zip(tile.lines, (TEXT, MUTED), strict=True):
            told = _cut_to(pencil, words, size, tile.side - 4)
            pencil.text((tile.column + 2, y), told, font=font(size), fill=color)
            y += round(size * 1.3)
    return np.asarray(picture)


def cut_of(frame: npt.NDArray[np.integer], tile: Tile) -> npt.NDArray[np.integer]:
    """The tile's pixels on the frame of its slice."""
    return frame[tile.top : tile.top + tile.side, tile.left : tile.left + tile.side]


def _words(lesion: LesionFinding) -> tuple[str, str]:
    sizes = {one.name: one.value for one in lesion.measurements}
    axes = [f"{sizes[name]:.0f}" for name in (LONG_AXIS, SHORT_AXIS) if name in sizes]
    long_by_short = f"{' x '.join(axes)} mm, " if axes else ""
    where = lesion.marks[0].slice_index + 1
    return lesion.name, f"{long_by_short}{lesion.score:.2f}, slice {where}"


def _cut_to(pencil: ImageDraw.ImageDraw, words: str, size: int, width: int) -> str:
    """As many of the letters as fit."""
    while words and pencil.textlength(words, font=font(size)) > width:
        words = words[:-1]
    return words


def _size(side: int) -> int:
    return max(side // 11, 9)
