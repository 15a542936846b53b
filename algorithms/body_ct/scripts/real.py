"""Real CTs with masks of another model as anatomies, and how they are read."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicomnode.phantom import Organ, Tissue
from scripts.synthesis import Stock

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


def read_lps(path: Path) -> tuple[npt.NDArray[np.float32], tuple[float, float, float]]:
    """Values as (slice, row, column) in LPS, and the spacing along those axes in mm."""
    image = nib.as_closest_canonical(nib.load(path))
    values = np.asarray(image.get_fdata(dtype=np.float32))[::-1, ::-1].transpose(2, 1, 0)
    x, y, z = (float(v) for v in image.header.get_zooms()[:3])
    return np.ascontiguousarray(values), (z, y, x)


def body_mask(hu: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """The patient: largest part over -350 HU, opened, holes of every slice filled."""
    dense = ndimage.binary_opening(hu > -350, iterations=2)
    parts, count = ndimage.label(dense)
    if count == 0:
        return np.asarray(dense)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    body = ndimage.binary_dilation(parts == sizes.argmax(), iterations=1)
    return np.stack([ndimage.binary_fill_holes(plane) for plane in body])


def totalsegmentator_organs(root: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """HU and `Organ` numbers (0: no label) of the example CT at 3 mm."""
    folder = Path(root) / "ct/totalsegmentator"
    names = json.loads((folder / "label_names.json").read_text())
    hu, _ = read_lps(folder / "example_ct.nii.gz")
    codes, _ = read_lps(folder / "example_ct_seg_fast.nii.gz")
    organs = np.zeros(codes.shape, np.uint8)
    for code, entry in names["example_ct_seg_fast.nii.gz"]["labels"].items():
        organ = organ_of(entry["name"])
        if organ is not None:
            organs[codes == int(code)] = organ
    return hu, organs


def real_stocks(root: str) -> list[Stock]:
    """The example CT of TotalSegmentator: its own HU, or its masks scanned anew."""
    hu, organs = totalsegmentator_organs(root)
    body = body_mask(hu)
    unlabelled = (organs == 0) & body
    filled = organs.copy()
    filled[unlabelled & (hu < -20)] = Organ.VISCERAL_FAT
    filled[unlabelled & (hu >= -20)] = Organ.MUSCLE
    tissue = np.zeros(organs.shape, np.uint8)
    for organ in _WITH_INNER:
        tissue[ndimage.binary_erosion(organs == organ)] = Tissue.INNER
    return [Stock(labels=filled, tissue=tissue, age=0.6, unlabelled=unlabelled, hu=hu)]
