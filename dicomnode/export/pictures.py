"""Brightness to a square picture of 8 bits, and where each point of the original went."""

import os
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from dicomnode.domain.exporting import Fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where an image lies in its square: x' = x * scale_x + offset_x, likewise y; pixels.

    Coordinates count from the top left corner of the first pixel (PS3.3 C.18.6).
    """

    size: int
    width: int
    """Of the image within the square."""
    height: int
    offset_x: int
    offset_y: int
    scale_x: float
    scale_y: float

    @classmethod
    def of(
        cls, *, rows: int, columns: int, spacing: tuple[float, float], size: int, fit: Fit
    ) -> "Placement":
        """The placement of an image with `spacing` (between rows, between columns)."""
        width, height = size, size
        if fit is Fit.PAD:
            wide, high = columns * spacing[1], rows * spacing[0]
            width = max(1, round(size * wide / max(wide, high)))
            height = max(1, round(size * high / max(wide, high)))
        return cls(
            size=size,
            width=width,
            height=height,
            offset_x=(size - width) // 2,
            offset_y=(size - height) // 2,
            scale_x=width / columns,
            scale_y=height / rows,
        )

    def box(self, left: float, top: float, right: float, bottom: float) -> tuple[float, ...]:
        """A box of the original as (x, y, width, height) in the square."""
        return (
            left * self.scale_x + self.offset_x,
            top * self.scale_y + self.offset_y,
            (right - left) * self.scale_x,
            (bottom - top) * self.scale_y,
        )


def square_png(values: npt.NDArray[np.float32], placement: Placement) -> bytes:
    """Brightness 0 to 1 as a grey PNG of 8 bits; equal input gives equal bytes."""
    size = (placement.width, placement.height)
    # Filtered over the whole footprint of a pixel when made smaller, so fine lines do not alias.
    resized = Image.fromarray(np.asarray(values, np.float32)).resize(size, Image.Resampling.BICUBIC)
    levels = np.clip(np.rint(np.asarray(resized) * 255), 0, 255).astype(np.uint8)
    whole = Image.new("L", (placement.size, placement.size))
    whole.paste(Image.fromarray(levels), (placement.offset_x, placement.offset_y))
    buffer = BytesIO()
    whole.save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def write_whole(path: Path, content: bytes) -> None:
    """A file that is there as a whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(path)
