"""The gate for pictures: does the colour in the file lie where the findings lie?"""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomnode.domain.errors import GeometryMismatch
from dicomnode.domain.findings import Finding
from dicomnode.domain.volumes import Volume
from dicomnode.encode.burned_in import Mask, lines_on, masks_on, stroke_width
from dicomnode.encode.canvas import Color
from dicomnode.encode.gate import slices_by_image
from dicomnode.encode.mark_grid import Tile, cut_of, tiles_of

GREY_WITHIN = 1
"""Channels of a grey pixel differ by nothing; rounding of a tint may be off by one."""

Picture = npt.NDArray[np.int16]


def check_capture(path: Path, findings: Sequence[Finding], volume: Volume) -> None:
    """Read the secondary capture at `path`; each frame must show what is found on its image.

    Every pixel of a mask has the mask's hue, every line is coloured along its way, and all else is
    grey, so nothing is drawn off its place, mirrored, or on another slice.

    Raises:
        GeometryMismatch: naming slice and fault.
    """
    ds = dcmread(path)
    frames = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns, 3).astype(np.int16)
    _, rows, columns = volume.grid.shape
    slices = _slices(ds, volume)
    tiles = [
        one
        for one in tiles_of(findings, (rows, columns), frames.shape[2])
        if one.slice_index in slices
    ]
    if tiles:
        grid, frames = frames[0], frames[1:]
        _check_tiles(grid, dict(zip(slices, frames, strict=False)), tiles)
    if len(slices) != len(frames) or len(set(slices)) != len(slices):
        raise GeometryMismatch(f"{len(frames)} frames refer to {len(set(slices))} images")
    for index, frame in zip(slices, frames, strict=True):
        _check_frame(frame[:rows, :columns], findings, index)


def _check_tiles(grid: Picture, frames: Mapping[int, Picture], tiles: Sequence[Tile]) -> None:
    """Each tile is what its own frame shows there, pixel by pixel."""
    for tile in tiles:
        at = grid[tile.row : tile.row + tile.side, tile.column : tile.column + tile.side]
        frame = frames.get(tile.slice_index)
        if frame is None or not np.array_equal(at, cut_of(frame, tile)):
            raise GeometryMismatch(
                f"the tile of {tile.lines[0]!r} does not show slice {tile.slice_index}"
            )


def _slices(ds: Dataset, volume: Volume) -> list[int]:
    known = slices_by_image(volume)
    found = []
    for item in ds.SourceImageSequence:
        number = item.get("ReferencedFrameNumber")
        key = (str(item.ReferencedSOPInstanceUID), int(number) if number else None)
        if key not in known:
            raise GeometryMismatch("a picture is of an image that was not read")
        found.append(known[key])
    return found


def _check_frame(frame: Picture, findings: Sequence[Finding], index: int) -> None:
    top = _topmost(findings, index, frame.shape[:2])
    near_lines = _near_lines(findings, index, frame.shape[:2])
    chroma = frame.max(axis=2) - frame.min(axis=2)
    stray = int(((chroma > GREY_WITHIN) & ~top.any(axis=0) & ~near_lines).sum())
    if stray:
        raise GeometryMismatch(f"slice {index}: {stray} pixels are coloured outside of findings")
    for layer, (_, color) in zip(top, masks_on(findings, index), strict=True):
        seen = frame[layer & ~near_lines]
        wrong = int((~_has_hue(seen, color)).sum())
        if wrong:
            raise GeometryMismatch(
                f"slice {index}: {wrong} of {len(seen)} pixels of a mask lack its colour"
            )
    lines = lines_on(findings, index)
    for points, _ in lines:
        _check_line(frame, points, [color for _, color in lines], index)


def _topmost(findings: Sequence[Finding], index: int, shape: tuple[int, ...]) -> Mask:
    """For each mask on the slice, the pixels that no later one covers."""
    layers = [mask for mask, _ in masks_on(findings, index)]
    seen = np.zeros((len(layers), *shape), dtype=bool)
    covered = np.zeros(shape, dtype=bool)
    for below in reversed(range(len(layers))):
        seen[below] = layers[below] & ~covered
        covered |= layers[below]
    return seen


def _has_hue(pixels: Picture, color: Color) -> Mask:
    """A tint of grey by `color`: less its smallest channel it is a share of that of `color`."""
    wanted = np.array(color, dtype=np.float64) - min(color)
    rest = pixels - pixels.min(axis=1, keepdims=True)
    share = rest.max(axis=1, keepdims=True) / wanted.max()
    fits = np.abs(rest - share * wanted).max(axis=1) <= 2
    return np.asarray(fits & (rest.max(axis=1) > 2 * GREY_WITHIN))


def _near_lines(findings: Sequence[Finding], index: int, shape: tuple[int, ...]) -> Mask:
    rows, columns = shape
    canvas = Image.new("1", (columns, rows))
    pencil = ImageDraw.Draw(canvas)
    reach = 2 * stroke_width((rows, columns)) + 3
    for points, _ in lines_on(findings, index):
        path = [(float(x) - 0.5, float(y) - 0.5) for x, y in points]
        pencil.line(path, fill=1, width=2 * reach)
        for x, y in path:
            pencil.ellipse((x - reach, y - reach, x + reach, y + reach), fill=1)
    return np.asarray(canvas)


def _check_line(
    frame: Picture, points: npt.NDArray[np.float64], colors: Sequence[Color], index: int
) -> None:
    """Along the line nearly every pixel has a line's colour: another may cross or cover it."""
    if len(points) < 2:
        return
    steps = max(int(np.ceil(np.abs(np.diff(points, axis=0)).sum())), 2)
    along = np.interp(
        np.linspace(0, len(points) - 1, 2 * steps),
        np.arange(len(points)),
        np.arange(len(points), dtype=np.float64),
    )
    lower = np.floor(along).astype(int).clip(0, len(points) - 2)
    places = points[lower] + (along - lower)[:, None] * (points[lower + 1] - points[lower])
    last = np.array([frame.shape[1] - 1, frame.shape[0] - 1])
    columns, rows = np.clip(np.floor(places), 0, last).astype(int).T
    colored = np.zeros(len(rows), dtype=bool)
    for row, column in product((-1, 0, 1), repeat=2):
        beside = frame[(rows + row).clip(0, last[1]), (columns + column).clip(0, last[0])]
        for color in colors:
            colored |= np.abs(beside - np.array(color)).max(axis=1) <= 2
    if float(np.mean(colored)) < 0.8:
        raise GeometryMismatch(f"slice {index}: a line is not drawn where it was measured")
