"""Radiographs as pictures: PNG or JPEG, with PNG label maps of the same size."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from dicomnode.domain.errors import UnsupportedImage
from dicomnode.domain.volumes import Grid

PICTURES = (".png", ".jpg", ".jpeg")
"""Endings, in lower case."""


def is_picture(path: Path) -> bool:
    """By its name."""
    return path.suffix.lower() in PICTURES


def read_picture(path: Path) -> tuple[npt.NDArray[np.float32], Grid]:
    """A radiograph `(1, row, column)` from 0 to 1, air dark, on a grid of pixels.

    How large a pixel is a picture does not say: distances on its grid are pixels.

    Raises:
        UnsupportedImage: it cannot be read.
    """
    pixels = _pixels(path)
    if pixels.ndim == 3:
        pixels = np.asarray(Image.open(path).convert("L"))
    largest = {"uint8": 255, "uint16": 65535}.get(pixels.dtype.name)
    if largest is None:
        raise UnsupportedImage(f"{path.name} has neither 8 nor 16 bits a pixel")
    grey = np.asarray(pixels, np.float32)
    grey = grey / np.float32(largest)
    affine = np.eye(4)[[2, 1, 0, 3]]
    rows, columns = grey.shape
    grid = Grid(
        affine_lps_mm=affine,
        shape=(1, rows, columns),
        frame_of_reference_uid=None,
        calibrated=False,
    )
    return grey[None], grid


def read_picture_labels(path: Path, grid: Grid) -> npt.NDArray[np.int32]:
    """Labels `(1, row, column)` of an image on `grid`.

    Raises:
        UnsupportedImage: it cannot be read, is no map of numbers, or of another size.
    """
    pixels = _pixels(path)
    if path.suffix.lower() != ".png" or pixels.ndim != 2:
        raise UnsupportedImage(f"{path.name} is no PNG of one number a pixel")
    if (1, *pixels.shape) != grid.shape:
        raise UnsupportedImage(f"{path.name} is not of the size of its image")
    return pixels.astype(np.int32)[None]


def _pixels(path: Path) -> npt.NDArray[np.generic]:
    try:
        with Image.open(path) as picture:
            return np.asarray(picture)
    except (OSError, ValueError) as exc:
        raise UnsupportedImage(f"{path.name} cannot be read: {type(exc).__name__}") from exc
