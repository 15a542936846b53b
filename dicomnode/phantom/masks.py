"""Real CTs with masks, as TotalSegmentator names them, as anatomies to be varied.

nibabel is needed to read them (extra `train`).
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from dicomnode.phantom.slabs import Bools, Bytes, Floats, Stock
from dicomnode.phantom.structures import Organ, Tissue

_BY_NAME = {
    "spleen": Organ.SPLEEN,
    "kidney_right": Organ.KIDNEY_RIGHT,
    "kidney_left": Organ.KIDNEY_LEFT,
    "gallbladder": Organ.GALLBLADDER,
    "liver": Organ.LIVER,
    "stomach": Organ.STOMACH,
    "pancreas": Organ.PANCREAS,
    "adrenal_gland_right": Organ.ADRENAL_RIGHT,
    "adrenal_gland_left": Organ.ADRENAL_LEFT,
    "small_bowel": Organ.SMALL_BOWEL,
    "duodenum": Organ.DUODENUM,
    "colon": Organ.COLON,
    "urinary_bladder": Organ.BLADDER,
    "prostate": Organ.PROSTATE,
    "sacrum": Organ.SACRUM,
    "vertebrae_S1": Organ.SACRUM,
    "aorta": Organ.AORTA,
    "inferior_vena_cava": Organ.INFERIOR_VENA_CAVA,
    "portal_vein_and_splenic_vein": Organ.PORTAL_VEIN,
    "spinal_cord": Organ.SPINAL_CANAL,
    "costal_cartilages": Organ.COSTAL_CARTILAGE,
    "heart": Organ.HEART,
}
_BY_START = {
    "lung_upper_lobe_left": Organ.LUNG_LEFT,
    "lung_lower_lobe_left": Organ.LUNG_LEFT,
    "lung_": Organ.LUNG_RIGHT,
    "vertebrae_": Organ.VERTEBRA_L3,
    "iliac_artery": Organ.ARTERY,
    "iliac_vena": Organ.VEIN,
    "femur": Organ.FEMUR,
    "hip": Organ.HIP_BONE,
    "gluteus": Organ.MUSCLE,
    "autochthon": Organ.PARASPINAL_MUSCLE,
    "iliopsoas": Organ.PSOAS,
    "rib_": Organ.RIBS,
}
_WITH_INNER = (
    Organ.STOMACH,
    Organ.DUODENUM,
    Organ.SMALL_BOWEL,
    Organ.COLON,
    Organ.GALLBLADDER,
    Organ.BLADDER,
    Organ.SACRUM,
    Organ.VERTEBRA_L3,
    Organ.HIP_BONE,
    Organ.FEMUR,
    Organ.KIDNEY_RIGHT,
    Organ.KIDNEY_LEFT,
)


def organ_of(name: str) -> Organ | None:
    """The organ a name of TotalSegmentator stands for."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    return next((o for start, o in _BY_START.items() if name.startswith(start)), None)


def read_lps(path: Path) -> tuple[Floats, tuple[float, float, float]]:
    """Values of a NIfTI file as (slice, row, column) in LPS, and the spacing along them in mm."""
    import nibabel

    canonical: Any = nibabel.as_closest_canonical
    image = canonical(nibabel.load(path))
    values = np.asarray(image.get_fdata(dtype=np.float32))[::-1, ::-1].transpose(2, 1, 0)
    x, y, z = (float(v) for v in image.header.get_zooms()[:3])
    return np.ascontiguousarray(values), (z, y, x)


def read_masks(image: Path, masks: Path, names: dict[int, str]) -> tuple[Floats, Bytes]:
    """HU and `Organ` numbers (0: no label) of a CT and its label map; `names` of its codes."""
    hu, _ = read_lps(image)
    codes, _ = read_lps(masks)
    if codes.shape != hu.shape:
        raise ValueError(f"{masks} is not on the grid of {image}")
    organs = np.zeros(codes.shape, np.uint8)
    for code, name in names.items():
        organ = organ_of(name)
        if organ is not None:
            organs[codes == code] = organ
    return hu, organs


def totalsegmentator_example(root: Path, *, upper: bool = False) -> tuple[Floats, Bytes]:
    """HU and `Organ` numbers of the example CT of TotalSegmentator, 3 mm, by its fast masks.

    `root`: a folder that holds `ct/totalsegmentator` with `label_names.json`. `upper`: the upper
    90 mm alone, by the masks of the slower network.
    """
    folder = root / "ct/totalsegmentator"
    image = "example_ct_sm.nii.gz" if upper else "example_ct.nii.gz"
    masks = "example_ct_sm_seg.nii.gz" if upper else "example_ct_seg_fast.nii.gz"
    labels = json.loads((folder / "label_names.json").read_text())[masks]["labels"]
    names = {int(code): str(entry["name"]) for code, entry in labels.items()}
    return read_masks(folder / image, folder / masks, names)


def halved_voxels(stock: Stock) -> Stock:
    """A real CT on a grid twice as fine: HU by lines between voxels, borders of organs rounded.

    So a finer network is not taught the steps that masks of large voxels have.
    """
    if stock.hu is None or stock.unlabelled is None:
        raise ValueError("the voxels of a painted anatomy are halved by painting it again")
    shape = tuple(2 * n for n in stock.labels.shape)
    unnamed = stock.unlabelled
    codes = np.where(unnamed, 255, stock.labels)
    best, labels = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
    for code in np.unique(codes):
        mine = codes == code
        (box,) = ndimage.find_objects(mine.astype(np.uint8))
        low = [max(side.start - 2, 0) for side in box]
        part = mine[tuple(slice(a, side.stop + 2) for a, side in zip(low, box, strict=True))]
        share = ndimage.gaussian_filter(part.astype(np.float32), 0.6)
        share = ndimage.zoom(share, 2, order=1, grid_mode=True, mode="nearest")
        there = tuple(slice(2 * a, 2 * a + n) for a, n in zip(low, share.shape, strict=True))
        wins = share > best[there]
        best[there][wins], labels[there][wins] = share[wins], code
    depth, height, width = stock.spacing_mm
    hu = ndimage.zoom(stock.hu, 2, order=1, grid_mode=True, mode="nearest")
    filled = np.where(hu < -20, Organ.VISCERAL_FAT, Organ.MUSCLE)
    return replace(
        stock,
        labels=np.where(labels == 255, filled, labels).astype(np.uint8),
        tissue=stock.tissue.repeat(2, 0).repeat(2, 1).repeat(2, 2),
        spacing_mm=(depth / 2, height / 2, width / 2),
        unlabelled=labels == 255,
        hu=hu,
    )


def example_stocks(root: Path) -> list[Stock]:
    """The example CT of TotalSegmentator by either of its masks."""
    both = (totalsegmentator_example(root, upper=upper) for upper in (False, True))
    return [as_stock(hu, organs) for hu, organs in both]


def body_mask(hu: Floats) -> Bools:
    """The patient: largest part over -350 HU, opened, holes of every slice filled."""
    dense = ndimage.binary_opening(hu > -350, iterations=2)
    parts, count = ndimage.label(dense)
    if count == 0:
        return np.asarray(dense)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    body = ndimage.binary_dilation(parts == sizes.argmax(), iterations=1)
    return np.stack([ndimage.binary_fill_holes(plane) for plane in body])


def as_stock(
    hu: Floats, organs: Bytes, spacing_mm: tuple[float, float, float] = (3.0, 3.0, 3.0)
) -> Stock:
    """A real CT and the organs that masks name in it; what they leave out is filled by HU."""
    body = body_mask(hu)
    unlabelled = (organs == 0) & body
    filled = organs.copy()
    filled[unlabelled & (hu < -20)] = Organ.VISCERAL_FAT
    filled[unlabelled & (hu >= -20)] = Organ.MUSCLE
    tissue = np.zeros(organs.shape, np.uint8)
    for organ in _WITH_INNER:
        tissue[ndimage.binary_erosion(organs == organ)] = Tissue.INNER
    means = np.zeros(256, np.float32)
    for code in np.unique(organs[organs > 0]):
        core = ndimage.binary_erosion(organs == code)
        means[code] = np.median(hu[core if core.sum() > 30 else organs == code])
    return Stock(
        labels=filled,
        tissue=tissue,
        age=0.6,
        spacing_mm=spacing_mm,
        unlabelled=unlabelled,
        hu=hu,
        means=means,
    )
