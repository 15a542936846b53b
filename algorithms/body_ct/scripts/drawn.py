"""Organs of a CT that came without masks, from outlines drawn loosely by hand and cut by HU.

`outlines/NAME.json` holds polygons (column, row) of some slices, drawn with the CT alone in sight
and by no radiologist. Between them the shapes are interpolated; inside them the organ is what a
range of HU finds after smoothing. Where two organs of like HU touch, the polygon decides.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

from dicomnode.phantom import Organ
from dicomnode.phantom.masks import as_stock, body_mask
from dicomnode.phantom.slabs import Stock
from dicomnode.pipeline.volume import read_series

Mask = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float32]
FOLDER = Path(__file__).resolve().parents[1] / "outlines"
BRIGHT_HU = 140.0
"""Kidneys of CRLM-CT-1004 after a median over 8 mm: cortex and medulla in the portal phase."""
PLACES = {
    "right kidney": ((10, 135, 82), np.s_[:22, 95:175, 60:110]),
    "left kidney": ((10, 135, 165), np.s_[:26, 95:175, 140:200]),
}
"""Seed and box there: slice from the feet, row and column of every second pixel."""
COLON = np.s_[:5, :105]
"""Rows and slices of the right kidney's box where contrast medium in the colon touches it."""
UNTOLD = Organ.UTERUS
"""Soft tissue within the trunk that was not drawn: bowel, vessels, pancreas. Like a uterus it is
none of the organs drawn; it is taught no more than that."""
LOWEST = {"right kidney": 3, "left kidney": 5}
"""Slices where the kidneys begin."""
FIRST_RIB, RIM = 13, 22
"""The slice where ribs begin, and how many pixels inside of the cavity's outline they may lie."""
SPINE_MM = 48.0
"""Bone this near the middle of the spine, to either side, is vertebrae."""


def _signed(mask: Mask) -> Values:
    """Distance to the edge in pixels, positive inside."""
    inside = ndimage.distance_transform_edt(mask)
    return np.asarray(inside - ndimage.distance_transform_edt(~mask), np.float32)


def _filled(points: list[list[float]], shape: tuple[int, int]) -> Mask:
    image = Image.new("1", (shape[1], shape[0]))
    ImageDraw.Draw(image).polygon([(x, y) for x, y in points], fill=1)
    return np.asarray(image, np.bool_)


def between(drawn: dict[int, Mask], count: int) -> Mask:
    """All slices from those drawn; nothing below the first and above the last."""
    keys = sorted(drawn)
    out = np.zeros((count, *drawn[keys[0]].shape), np.bool_)
    for low, high in zip(keys, keys[1:] or keys, strict=False):
        near, far = _signed(drawn[low]), _signed(drawn[high])
        for k in range(low, high + 1):
            share = (k - low) / max(high - low, 1)
            out[k] = (1 - share) * near + share * far > 0
    return out


def shapes(parts: list[dict[str, Any]], shape: tuple[int, int, int]) -> Mask:
    """Union of pieces, each of polygons by slice."""
    whole = np.zeros(shape, np.bool_)
    for part in parts:
        drawn = {int(k): _filled(points, shape[1:]) for k, points in part.items()}
        whole |= between(drawn, shape[0])
    return whole


def rounds(circles: dict[str, Any], shape: tuple[int, int, int]) -> Mask:
    """A vessel from circles (column, row, radius) of some slices."""
    keys = sorted(int(k) for k in circles)
    table = np.array([circles[str(k)] for k in keys], float)
    row, column = np.indices(shape[1:])
    whole = np.zeros(shape, np.bool_)
    for k in range(keys[0], keys[-1] + 1):
        x, y, r = (np.interp(k, keys, table[:, n]) for n in range(3))
        whole[k] = np.hypot(column - x, row - y) <= r
    return whole


def _kept(mask: Mask, opened: int = 2) -> Mask:
    """Opened in the plane, the largest piece, holes of each slice filled."""
    disc = ndimage.iterate_structure(ndimage.generate_binary_structure(2, 1), opened)[None]
    mask = ndimage.binary_opening(mask, disc)
    pieces, count = ndimage.label(mask)
    if count > 1:
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        mask = pieces == sizes.argmax()
    return np.stack([ndimage.binary_fill_holes(plane) for plane in mask])


def _lungs(hu: Values, body: Mask) -> Mask:
    """Air that reaches the highest slice, and what it encloses."""
    pieces, _ = ndimage.label(body & (hu < -500))
    named = np.unique(pieces[-1])
    air = np.isin(pieces, named[named > 0])
    disc = ndimage.iterate_structure(ndimage.generate_binary_structure(2, 1), 4)[None]
    return np.asarray(ndimage.binary_closing(air, disc) & (hu < 50))


def _bright(smooth: Values, inner: Mask, body: Mask) -> Mask:
    """Over 150 HU in the wall, over 190 HU just inside of it where the ribs run."""
    deep = ndimage.distance_transform_edt(inner, sampling=(1000, 1, 1)) > RIM
    skin = ndimage.binary_erosion(body, np.ones((1, 3, 3)), iterations=8)
    bright = ((smooth > 150) & ~inner) | (
        (smooth > 190) & ~deep & (np.arange(len(smooth)) >= FIRST_RIB)[:, None, None]
    )
    return np.asarray(bright & skin)


def _bone(bright: Mask) -> Mask:
    """Marrow within the cortex joined; specks under 100 voxels left out."""
    disc = ndimage.iterate_structure(ndimage.generate_binary_structure(2, 1), 2)[None]
    bone = ndimage.binary_closing(bright, disc)
    pieces, _ = ndimage.label(bone)
    return np.asarray((np.bincount(pieces.ravel()) >= 100)[pieces] & bone)


def kidney(hu: Values, name: str) -> Mask:
    """A kidney of CRLM-CT-1004, grown from a seed (slice, row, column; every second pixel)."""
    seed, box = PLACES[name]
    smooth = np.stack([ndimage.median_filter(plane, 5) for plane in hu])
    bright = np.zeros(hu.shape, bool)
    bright[box] = smooth[box] > BRIGHT_HU
    pieces, _ = ndimage.label(bright)
    if not pieces[seed]:
        raise ValueError(f"the seed of the {name} lies in nothing bright; is this CRLM-CT-1004?")
    around = ndimage.iterate_structure(ndimage.generate_binary_structure(2, 1), 3)[None]
    grown = ndimage.binary_closing(pieces == pieces[seed], around)
    grown = np.stack([ndimage.binary_fill_holes(plane) for plane in grown])
    if name == "right kidney":
        grown[COLON] = False
    grown[: LOWEST[name]] = False
    return grown


def crlm_organs(hu: Values) -> npt.NDArray[np.uint8]:
    """`Organ` numbers of CRLM-CT-1004 on its own grid (slice, row, column); 0: not named."""
    told = json.loads((FOLDER / "crlm_1004.json").read_text())
    smooth = np.stack([ndimage.median_filter(plane, 5) for plane in hu])
    smooth = ndimage.gaussian_filter(smooth, (0, 1, 1))
    organs = np.zeros(hu.shape, np.uint8)
    body = body_mask(hu)
    aorta = rounds(told["aorta"], hu.shape) & (smooth > 105) & (smooth < 230)
    cava = rounds(told["inferior vena cava"], hu.shape) & (smooth > 90)
    liver = shapes(told["liver"], hu.shape) & (smooth > 82) & (smooth < 185) & ~cava
    spleen = shapes(told["spleen"], hu.shape) & (smooth > 85) & (smooth < 165)
    heart = shapes(told["heart"], hu.shape) & (smooth > 40) & ~cava
    inner = shapes(told["cavity"], hu.shape) & body
    organs[inner & (smooth > -30)] = UNTOLD
    middle = int(told["spine column"])
    lungs = _lungs(hu, body)
    organs[lungs] = Organ.LUNG_LEFT
    organs[:, :, :middle][lungs[:, :, :middle]] = Organ.LUNG_RIGHT
    bone = _bone(_bright(smooth, inner, body))
    organs[bone] = Organ.RIBS
    near = np.abs(np.arange(hu.shape[2]) - middle) * told["pixel mm"] < SPINE_MM
    spine = (organs == Organ.RIBS) & near & (np.arange(hu.shape[1]) > told["spine row"])[:, None]
    organs[spine] = Organ.VERTEBRA_L3
    drawn = (
        (Organ.HEART, heart, 3),
        (Organ.INFERIOR_VENA_CAVA, cava, 1),
        (Organ.LIVER, liver, 3),
        (Organ.SPLEEN, spleen, 3),
        (Organ.AORTA, aorta, 2),
    )
    for organ, mask, opened in drawn:
        organs[_kept(mask & ~bone, opened) & ~bone] = organ
    for name, organ in (("right kidney", Organ.KIDNEY_RIGHT), ("left kidney", Organ.KIDNEY_LEFT)):
        small = kidney(hu[:, ::2, ::2], name)
        organs[small.repeat(2, 1).repeat(2, 2)] = organ
    return organs


def crlm_stock(root: Path, spacing_mm: float = 3.0) -> Stock:
    """CRLM-CT-1004 with the organs drawn in it, on the network's grid, ready to be varied.

    `root`: a folder that holds `ct/crlm_1004/dicom`.
    """
    volume = read_series(sorted((root / "ct/crlm_1004/dicom").glob("*.dcm")))
    hu = volume.array.astype(np.float32)
    organs = crlm_organs(hu)
    factors = [step / spacing_mm for step in volume.grid.spacing_mm]
    soft = ndimage.gaussian_filter(
        np.maximum(hu, -1024), [0.4 / f if f < 1 else 0 for f in factors]
    )
    coarse = ndimage.zoom(soft, factors, order=1, grid_mode=True, mode="nearest")
    labels = ndimage.zoom(organs, factors, order=0, grid_mode=True, mode="nearest")
    return as_stock(coarse.astype(np.float32), labels)


def lidc_organs(hu: Values) -> dict[str, tuple[Mask, tuple[slice, ...]]]:
    """Liver, spleen and aorta of LIDC-IDRI-0314 on its own grid, each with the box it is judged in.

    This CT has no contrast medium, and liver and spleen touch: what lies to the patient's left of
    the liver's box, and above the spleen's, could not be told apart and is not judged.
    """
    told = json.loads((FOLDER / "lidc_0314.json").read_text())
    smooth = ndimage.gaussian_filter(np.clip(hu, -200, 300), (0.7, 1.6, 1.6))
    cava = rounds(told["inferior vena cava"], hu.shape)
    masks = {
        "liver": shapes(told["liver"], hu.shape) & (smooth > 40) & (smooth < 110) & ~cava,
        "spleen": shapes(told["spleen"], hu.shape) & (smooth > 25) & (smooth < 100),
        "aorta": rounds(told["aorta"], hu.shape) & (smooth > 15) & (smooth < 120),
    }
    boxes = {
        name: (slice(*at["slices"]), slice(None), slice(*at["columns"]))
        for name, at in told["judged"].items()
    }
    return {name: (_kept(mask), boxes[name]) for name, mask in masks.items()}
