"""Pictures for the gate: upright frontal chest radiographs, and what must not pass as one.

Turned, upside-down and negative pictures are made from radiographs. "Other" is axial, coronal
and sagittal CT slices, lateral, oblique and abdominal projections of CTs, sections of chest
radiographs, photographs, drawn limbs and hands, pages of text, collages and noise.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from torch import Tensor

from dicomnode.networks.upright import KINDS, SIDE, gate_input

Picture = NDArray[np.float32]
"""(rows, columns), any scale."""
Volume = NDArray[np.float32]
"""(slices from the feet, rows from the front, columns from the patient's right); HU."""

HALF = 128
"""Pictures are kept this large (longer side), so that crops still have detail."""


def shrunk(picture: Picture) -> Picture:
    """Return `picture` with its longer side at most `HALF` pixels, 0 to 1."""
    low, high = float(picture.min()), float(picture.max())
    grey = Image.fromarray(((picture - low) / max(high - low, 1e-6) * 255).astype(np.uint8))
    grey.thumbnail((HALF, HALF), Image.Resampling.BOX)
    return np.asarray(grey, dtype=np.float32) / 255


def projections(
    volume: Volume, spacing: tuple[float, float, float], abdomen: bool
) -> list[Picture]:
    """Return lateral and oblique radiographs of a CT; of an abdomen also frontal ones."""
    scale = [s / 3.0 for s in spacing]
    small = ndimage.zoom(np.clip(volume, -1000, 1500), scale, order=1)
    dense = np.clip((small + 1000) / 1000, 0, 2.2)
    angles = [*range(50, 131, 8), *range(230, 311, 8)]
    if abdomen:
        angles += [0, 10, -10, 180, 20, -20]
    found = []
    for angle in angles:
        turned = ndimage.rotate(dense, angle, axes=(1, 2), reshape=True, order=1)
        depth = turned.sum(1) * 0.3
        for strength in (0.12, 0.25):
            # bright where much is absorbed, as radiographs are shown
            found.append(shrunk((1 - np.exp(-strength * depth))[::-1].astype(np.float32)))
    return found


def sections(volume: Volume, step: int) -> list[Picture]:
    """Return axial, coronal and sagittal slices in lung, soft-tissue and full windows."""
    found = []
    for axis in range(3):
        for index in range(0, volume.shape[axis], step * (1 if axis == 0 else 4)):
            plane = np.take(volume, index, axis)
            if axis:
                plane = plane[::-1]
            for low, high in ((-1350, 150), (-160, 240), (-1000, 1000)):
                found.append(shrunk(np.clip(plane, low, high).astype(np.float32)))
    return found


def drawn(rng: np.random.Generator, thick: float) -> Picture:
    """Return a drawn hand or limb, a page of text, or noise."""
    kind = rng.integers(4)
    canvas = Image.new("L", (HALF, HALF), int(rng.integers(0, 40)))
    pen = ImageDraw.Draw(canvas)
    if kind == 0:
        _hand(pen, rng, thick)
    elif kind == 1:
        _limb(pen, rng, thick)
    elif kind == 2:
        for row in range(4, HALF - 8, int(rng.integers(8, 16))):
            words = "".join(rng.choice(list("abcdefghij 0123456789"), int(rng.integers(4, 24))))
            pen.text((int(rng.integers(2, 30)), row), words, fill=int(rng.integers(120, 256)))
    else:
        rough = rng.random((int(rng.integers(2, 40)),) * 2)
        zoomed = ndimage.zoom(rough, HALF / len(rough), order=1)
        return shrunk(zoomed.astype(np.float32))
    picture = ndimage.gaussian_filter(np.asarray(canvas, np.float32) / 255, rng.uniform(0.3, 1.2))
    turned = ndimage.rotate(picture, rng.uniform(-40, 40), reshape=False, order=1)
    noise = rng.normal(0, rng.uniform(0.01, 0.06), turned.shape)
    return np.clip(turned + noise, 0, 1).astype(np.float32)


def _hand(pen: ImageDraw.ImageDraw, rng: np.random.Generator, thick: float) -> None:
    soft, bone = int(rng.integers(60, 120)), int(rng.integers(150, 255))
    x, y = rng.uniform(50, 78), rng.uniform(70, 90)
    pen.ellipse((x - 26 * thick, y - 22, x + 26 * thick, y + 30), fill=soft)
    for angle in np.deg2rad(np.array([-50, -22, -5, 12, 30]) + rng.uniform(-5, 5)):
        dx, dy = np.sin(angle), -np.cos(angle)
        for part, length in enumerate((24.0, 20.0, 14.0, 9.0)):
            start = sum((24.0, 20.0, 14.0, 9.0)[:part]) + 4 * part + 4
            ends = [(x + dx * t, y + 10 + dy * t) for t in (start, start + length)]
            pen.line(ends, fill=soft, width=int(12 * thick))
            pen.line(ends, fill=bone, width=int(6 * thick))


def _limb(pen: ImageDraw.ImageDraw, rng: np.random.Generator, thick: float) -> None:
    soft, bone = int(rng.integers(50, 110)), int(rng.integers(150, 255))
    x, wide = rng.uniform(50, 78), rng.uniform(16, 34) * thick
    pen.rectangle((x - wide, 0, x + wide, HALF), fill=soft)
    for shift in rng.choice([-0.4, 0.0, 0.4], int(rng.integers(1, 3)), replace=False):
        middle = x + shift * wide
        joint = rng.uniform(40, 90)
        half = 0.22 * wide
        pen.rectangle((middle - half, 0, middle + half, joint - 2), fill=bone)
        pen.rectangle((middle - half, joint + 2, middle + half, HALF), fill=bone)
        pen.ellipse((middle - 2 * half, joint - 12, middle + 2 * half, joint - 1), fill=bone)
        pen.ellipse((middle - 2 * half, joint + 1, middle + 2 * half, joint + 12), fill=bone)


def collage(first: Picture, second: Picture) -> Picture:
    """Return two pictures side by side."""
    size = (HALF // 2, HALF)
    both = [
        np.asarray(Image.fromarray((p * 255).astype(np.uint8)).resize(size), np.float32) / 255
        for p in (first, second)
    ]
    return np.concatenate(both, 1)


def section_of(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return a small part of a radiograph: a third of its width and height."""
    rows, columns = (int(n * rng.uniform(0.25, 0.38)) for n in picture.shape)
    top = int(rng.integers(0, picture.shape[0] - rows))
    left = int(rng.integers(0, picture.shape[1] - columns))
    return picture[top : top + rows, left : left + columns]


def spoilt(picture: Picture, kind: str, rng: np.random.Generator) -> Picture:
    """Return a radiograph made into one of `KINDS` (but "other")."""
    if kind == "turned":
        return np.rot90(picture, int(rng.choice([1, 3])))
    if kind == "upside down":
        return picture[::-1] if rng.random() < 0.35 else picture[::-1, ::-1]
    if kind == "negative":
        return 1 - np.rot90(picture, int(rng.choice([0, 0, 0, 1, 2, 3])))
    return picture


def varied(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return `picture` as other detectors, windows and positions would give it."""
    grey = np.clip(picture, 0, 1) ** np.exp(rng.uniform(-0.6, 0.6))
    low, high = rng.uniform(0, 0.2), 1 - rng.uniform(0, 0.2)
    grey = np.clip((grey - low) / (high - low), 0, 1)
    if rng.random() < 0.7:
        grey = _moved(grey, rng)
    if rng.random() < 0.3:
        border = int(rng.integers(2, 16))
        grey = np.pad(grey, ((border, border), (0, 0)) if rng.random() < 0.5 else border)
    if rng.random() < 0.2:
        top, left = (int(rng.integers(0, n - 12)) for n in grey.shape)
        grey[top : top + 6, left : left + 12] = rng.random()
    return (grey + rng.normal(0, rng.uniform(0, 0.04), grey.shape)).astype(np.float32)


def _moved(grey: Picture, rng: np.random.Generator) -> Picture:
    angle, zoom = np.deg2rad(rng.uniform(-12, 12)), rng.uniform(0.8, 1.2)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
    middle = (np.array(grey.shape) - 1) / 2
    shift = middle - matrix @ middle + rng.uniform(-8, 8, 2)
    return ndimage.affine_transform(grey, matrix, shift, order=1)


def batch(
    chests: Sequence[Picture],
    others: Sequence[Picture],
    size: int,
    rng: np.random.Generator,
    *,
    vary: Callable[[Picture, np.random.Generator], Picture] = varied,
) -> tuple[Tensor, Tensor]:
    """Return inputs `(size, 1, 96, 96)` and the number of each one's kind."""
    pictures, kinds = [], []
    for _ in range(size):
        kind = int(rng.choice(len(KINDS), p=(0.35, 0.15, 0.12, 0.13, 0.25)))
        chest = chests[int(rng.integers(len(chests)))]
        if KINDS[kind] == "other":
            picture = _other(chest, chests, others, rng)
        else:
            picture = spoilt(chest, KINDS[kind], rng)
        pictures.append(gate_input(torch.from_numpy(vary(picture, rng).copy())[None, None]))
        kinds.append(kind)
    return torch.cat(pictures).reshape(-1, 1, SIDE, SIDE), torch.tensor(kinds)


def _other(
    chest: Picture,
    chests: Sequence[Picture],
    others: Sequence[Picture],
    rng: np.random.Generator,
) -> Picture:
    draw = rng.random()
    if draw < 0.12:
        return section_of(chest, rng)
    if draw < 0.2:
        return collage(chest, chests[int(rng.integers(len(chests)))])
    if draw < 0.4:
        return drawn(rng, rng.uniform(0.7, 1.1))
    picture = others[int(rng.integers(len(others)))]
    turned = np.rot90(picture, int(rng.integers(4))) if rng.random() < 0.3 else picture
    return 1 - turned if rng.random() < 0.15 else turned


def read_grey(path: Path) -> Picture:
    """Return an image file (rows, columns), 0 to 1, shrunk."""
    with Image.open(path) as image:
        return shrunk(np.asarray(image.convert("L"), dtype=np.float32))
