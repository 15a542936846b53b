"""Drawing on a picture: text with a halo, lines with ends, masks as coloured glass."""

from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Color = tuple[int, int, int]

BACKGROUND: Color = (11, 13, 17)
PANEL: Color = (20, 23, 29)
TEXT: Color = (236, 239, 244)
MUTED: Color = (150, 158, 171)
WARNING: Color = (255, 196, 61)

LABEL_SIZE = 21
FILL_OPACITY = 0.26
"""Of a mask's inside: what lies below must stay readable."""


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own scalable font."""
    loaded = ImageFont.load_default(size=size)
    if not isinstance(loaded, ImageFont.FreeTypeFont):
        raise TypeError("Pillow was built without FreeType")
    return loaded


def grey_picture(values: npt.NDArray[np.float32], size: tuple[int, int]) -> Image.Image:
    """Values 0 to 1 as a grey RGB picture of `size` (width, height)."""
    levels = np.clip(np.nan_to_num(values) * 255, 0, 255).astype(np.uint8)
    grey = Image.fromarray(np.ascontiguousarray(levels))
    return grey.resize(size, Image.Resampling.BICUBIC).convert("RGB")


def paint_mask(picture: Image.Image, mask: npt.NDArray[np.bool_], color: Color, width: int) -> None:
    """Colour the inside of `mask` lightly and draw its outline `width` pixels wide."""
    if not mask.any():
        return
    levels = np.ascontiguousarray(mask).astype(np.uint8) * 255
    soft = Image.fromarray(levels).resize(picture.size, Image.Resampling.BICUBIC)
    solid = soft.point(lambda level: 255 if level >= 128 else 0)
    inside = solid.point(lambda level: round(level * FILL_OPACITY))
    picture.paste(Image.new("RGB", picture.size, color), mask=inside)
    reach = max(width, 1) * 2 + 1
    inner = solid.filter(ImageFilter.MinFilter(reach))
    edge = Image.fromarray(np.asarray(solid) - np.asarray(inner))
    smooth = edge.filter(ImageFilter.GaussianBlur(0.7))
    picture.paste(Image.new("RGB", picture.size, color), mask=smooth)


def draw_line(
    draw: ImageDraw.ImageDraw, points: npt.NDArray[np.float64], color: Color, width: int
) -> None:
    """A line through `points` (x, y) with a dark rim; a straight one gets caps at both ends."""
    path = [(float(x), float(y)) for x, y in points]
    if len(path) == 1:
        x, y = path[0]
        draw.ellipse((x - 3 * width, y - 3 * width, x + 3 * width, y + 3 * width), outline=color)
        return
    strokes = [path]
    if len(path) == 2:
        along = np.subtract(path[1], path[0])
        across = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-9) * 4 * width
        for end in path:
            ends = (np.subtract(end, across), np.add(end, across))
            strokes.append([(float(x), float(y)) for x, y in ends])
    for color_now, wider in ((BACKGROUND, 2), (color, 0)):
        for stroke in strokes:
            draw.line(stroke, fill=color_now, width=width + wider, joint="curve")


def draw_label(picture: Image.Image, place: tuple[float, float], text: str, color: Color) -> None:
    """`text` on a dark plate around `place`, moved so that it stays inside the picture."""
    draw, size = ImageDraw.Draw(picture), LABEL_SIZE
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font(size))
    pad = size // 3
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = min(max(place[0] - width / 2, 4), picture.width - width - 4)
    y = min(max(place[1] - height / 2, 4), picture.height - height - 4)
    draw.rounded_rectangle(
        (x, y, x + width, y + height), radius=pad, fill=BACKGROUND, outline=color, width=2
    )
    draw.text((x + pad - left, y + pad - top), text, font=font(size), fill=TEXT)


def draw_letter(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    letter: str,
    anchor: Literal["lm", "rm", "mt", "mb"],
) -> None:
    """A direction letter at the edge of a picture."""
    draw.text(
        place,
        letter,
        font=font(24),
        fill=WARNING,
        anchor=anchor,
        stroke_width=2,
        stroke_fill=BACKGROUND,
    )


def wrapped(draw: ImageDraw.ImageDraw, text: str, size: int, width: int) -> list[str]:
    """`text` in lines no wider than `width`."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and draw.textlength(longer, font=font(size)) > width:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line] if line else lines
