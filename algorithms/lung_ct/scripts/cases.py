"""The real CTs: reading them, and the lung labels that exist or have to be made.

Every volume is an array `(x, y, z)` in RAS: x rises to the patient's right, y to the front, z to
the head. Labels: 0 not lung, 1 right lung, 2 left lung, 255 unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pydicom
import SimpleITK as sitk
from PIL import Image
from scipy import ndimage as ndi

RIGHT, LEFT, UNKNOWN = 1, 2, 255
AIR_HU = -400.0
"""Half way between aerated lung and soft tissue; also the threshold of the plain baseline."""

Volume = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One CT in RAS, Hounsfield units, with its lung label."""

    name: str
    hu: Volume
    labels: Labels
    affine: npt.NDArray[np.float64]
    truth: str
    """Where the label comes from: `pseudo` (threshold and morphology) or `silver` (a model)."""

    @property
    def spacing(self) -> npt.NDArray[np.float64]:
        """Millimetres along x, y, z."""
        return np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))


def to_ras(
    array: npt.NDArray[np.generic], affine: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.float64]]:
    """Return array and affine with axes flipped and swapped to the closest RAS."""
    image = nib.as_closest_canonical(nib.Nifti1Image(np.asarray(array), affine))
    return np.asarray(image.dataobj), image.affine


def read_dicom(folder: Path) -> tuple[Volume, npt.NDArray[np.float64]]:
    """Return `(x, y, z)` in HU and its RAS affine; sorted and spaced by ImagePositionPatient."""
    headers = [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))]
    headers.sort(key=lambda ds: float(ds.ImagePositionPatient[2]))
    stack = np.stack(
        [ds.pixel_array.T * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for ds in headers],
        axis=-1,
    ).astype(np.float32)
    first = np.array(headers[0].ImagePositionPatient, float)
    last = np.array(headers[-1].ImagePositionPatient, float)
    orientation = np.array(headers[0].ImageOrientationPatient, float)
    rows, columns = (float(value) for value in headers[0].PixelSpacing)
    lps = np.eye(4)
    lps[:3, 0] = orientation[:3] * columns
    lps[:3, 1] = orientation[3:] * rows
    lps[:3, 2] = (last - first) / max(len(headers) - 1, 1)
    lps[:3, 3] = first
    return stack, np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


def read_nrrd(path: Path) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.float64]]:
    """Return `(x, y, z)` and its RAS affine."""
    image = sitk.ReadImage(str(path))
    lps = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    lps[:3, :3] = direction @ np.diag(image.GetSpacing())
    lps[:3, 3] = image.GetOrigin()
    array = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    return array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


def ball(radius_mm: float, spacing: npt.NDArray[np.float64]) -> Mask:
    """Return a ball of this radius on this grid."""
    reach = [int(radius_mm // s) for s in spacing]
    grids = np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij")
    far = sum((g * s) ** 2 for g, s in zip(grids, spacing, strict=True))
    return np.asarray(far <= radius_mm**2)


def dilate(mask: Mask, radius_mm: float, spacing: npt.NDArray[np.float64]) -> Mask:
    """Return the mask grown by this many millimetres."""
    return np.asarray(ndi.distance_transform_edt(~mask, sampling=spacing) <= radius_mm)


def erode(mask: Mask, radius_mm: float, spacing: npt.NDArray[np.float64]) -> Mask:
    """Return the mask shrunk by this many millimetres; the border of the array does not count."""
    return np.asarray(ndi.distance_transform_edt(mask, sampling=spacing) > radius_mm)


def components(mask: Mask) -> list[Mask]:
    """Return the connected components, largest first."""
    labelled, count = ndi.label(mask)
    sizes = np.bincount(labelled.ravel(), minlength=count + 1)[1:]
    return [labelled == index + 1 for index in np.argsort(-sizes)]


def body_mask(hu: Volume) -> Mask:
    """Return the patient with the air inside: table and outside air are left out."""
    tissue = ndi.binary_opening(hu > -300, iterations=1)
    body = components(tissue)[0] if tissue.any() else tissue
    for z in range(body.shape[2]):
        body[..., z] = ndi.binary_fill_holes(body[..., z])
    return body


def baseline(hu: Volume) -> Mask:
    """Return the plain baseline: HU < -400 inside the body, two largest components."""
    found = components(body_mask(hu) & (hu < AIR_HU))[:2]
    return np.any(found, axis=0) if found else np.zeros(hu.shape, bool)


def split_sides(lung: Mask, spacing: npt.NDArray[np.float64]) -> Labels:
    """Return right and left lung of a whole-lung mask.

    The mask is shrunk until its two largest parts are of comparable size and lie on either side
    of each other; every voxel then goes to the part it is closest to.
    """
    for radius in (0.0, 2.0, 4.0, 6.0, 9.0, 12.0):
        core = erode(lung, radius, spacing) if radius else lung
        parts = components(core)[:2]
        if len(parts) == 2 and parts[1].sum() > 0.2 * parts[0].sum():
            break
    else:
        raise ValueError("the lungs cannot be told apart")
    centre = [np.argwhere(part)[:, 0].mean() for part in parts]
    left, right = (parts[0], parts[1]) if centre[0] < centre[1] else (parts[1], parts[0])
    to_left = ndi.distance_transform_edt(~left, sampling=spacing)
    to_right = ndi.distance_transform_edt(~right, sampling=spacing)
    return np.where(lung, np.where(to_left < to_right, LEFT, RIGHT), 0).astype(np.uint8)


def airways(hu: Volume, air: Mask, spacing: npt.NDArray[np.float64]) -> Mask:
    """Return trachea and main bronchi, followed downwards from the topmost round air column.

    Slice by slice, smoothed air below -930 HU that touches the airway of the slice above is kept
    while its area stays that of an airway. 35 mm below the first fork it ends: what follows are
    lobar bronchi, which belong to the lung.
    """
    airway = np.zeros(hu.shape, bool)
    area = spacing[0] * spacing[1]
    middle = hu.shape[0] / 2
    seed: Mask | None = None
    fork: int | None = None
    for z in range(hu.shape[2] - 1, -1, -1):
        if fork is not None and (fork - z) * spacing[2] > 35.0:
            break
        smooth = ndi.gaussian_filter(hu[..., z], 1.0 / spacing[:2])
        labelled, count = ndi.label(air[..., z] & (smooth < -930))
        kept = np.zeros(smooth.shape, bool)
        regions = 0
        for index in range(1, count + 1):
            region = labelled == index
            size = region.sum() * area
            if seed is None:
                off = abs(np.argwhere(region)[:, 0].mean() - middle) * spacing[0]
                keep = bool(60 < size < 700 and off < 60)
            else:
                keep = bool((region & seed).any() and size < 500)
            if keep:
                kept |= region
                regions += int(size > 40)
        if kept.any():
            airway[..., z] = kept
            seed = ndi.binary_dilation(kept, iterations=2)
        elif seed is not None:
            break
        if regions > 1 and fork is None:
            fork = z
    return airway


def pseudo_label(hu: Volume, spacing: npt.NDArray[np.float64], *, has_trachea: bool) -> Labels:
    """Return lungs by threshold and morphology: a pseudo-label, not a truth.

    HU < -400 inside the body, without trachea and main bronchi and without bowel gas; vessels,
    nodules and small opacities are closed (12 mm) and holes filled. Large consolidation that
    touches the mediastinum or the chest wall is missed.
    """
    body = body_mask(hu)
    box = ndi.find_objects(body.astype(np.uint8))[0]
    labels = np.zeros(hu.shape, np.uint8)
    labels[box] = _pseudo_label(hu[box], body[box], spacing, has_trachea)
    return labels


def _pseudo_label(
    hu: Volume, body: Mask, spacing: npt.NDArray[np.float64], has_trachea: bool
) -> Labels:
    air = body & (hu < AIR_HU)
    if has_trachea:
        tube = airways(hu, air, spacing)
        wall = dilate(tube, 2.5, spacing)
        air &= ~wall
    else:
        wall = np.zeros(hu.shape, bool)
    air = ndi.binary_opening(air, iterations=1)
    parts = components(air)[:2]
    if len(parts) == 2 and parts[1].sum() < 0.1 * parts[0].sum():
        parts = parts[:1]
    sides = split_sides(np.any(parts, axis=0), spacing)
    labels = np.zeros(hu.shape, np.uint8)
    for side in (RIGHT, LEFT):
        mask = np.pad(sides == side, 12, mode="edge")
        closed = erode(dilate(mask, 7.0, spacing), 7.0, spacing)[12:-12, 12:-12, 12:-12]
        for z in range(closed.shape[2]):
            closed[..., z] = ndi.binary_fill_holes(closed[..., z])
        closed &= body & ~wall & (labels == 0) & (sides != 3 - side)
        labels[closed] = side
    return labels


def collapsed_apex(hu: Volume, labels: Labels, spacing: npt.NDArray[np.float64]) -> Mask:
    """Return where LIDC-0314's right upper lobe is solid: lung or not cannot be told by density.

    The left lung mirrored about the midline and grown by 10 mm, above slice 50, where no air is.
    """
    lung = np.argwhere(np.isin(labels, (RIGHT, LEFT)).any(axis=2))[:, 0]
    mirrored = np.zeros(hu.shape, bool)
    # the spine is half way between the outer edges of the two lungs
    total = int(lung.min() + lung.max())
    for x in range(hu.shape[0]):
        if 0 <= total - x < hu.shape[0]:
            mirrored[x] = (labels == LEFT)[total - x]
    grown = dilate(mirrored, 10.0, spacing)
    grown[..., :50] = False
    return np.asarray(grown & (labels == 0) & (hu > AIR_HU))


def lidc(root: Path) -> Case:
    """LIDC-IDRI-0314: chest, 3 mm apart, pseudo-label; the collapsed right apex is unknown."""
    hu, affine = read_dicom(root / "ct/lidc_0314/dicom")
    hu, affine = to_ras(hu, affine)
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    labels = pseudo_label(hu, spacing, has_trachea=True)
    labels[collapsed_apex(hu, labels, spacing)] = UNKNOWN
    return Case(name="lidc_0314", hu=hu, labels=labels, affine=affine, truth="pseudo")


def crlm(root: Path) -> Case:
    """CRLM-CT-1004: abdomen with lung bases, 5 mm, pseudo-label."""
    hu, affine = read_dicom(root / "ct/crlm_1004/dicom")
    hu, affine = to_ras(hu, affine)
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    labels = pseudo_label(hu, spacing, has_trachea=False)
    return Case(name="crlm_1004", hu=hu, labels=labels, affine=affine, truth="pseudo")


def totalsegmentator(root: Path) -> Case:
    """Abdomen and pelvis with lung bases, 3 mm; silver truth (lobes of another model)."""
    folder = root / "ct/totalsegmentator"
    image = nib.load(folder / "example_ct.nii.gz")
    lobes = np.asarray(nib.load(folder / "example_ct_seg_fast.nii.gz").dataobj)
    labels = np.zeros(lobes.shape, np.uint8)
    labels[(lobes >= 12) & (lobes <= 14)] = RIGHT
    labels[(lobes >= 10) & (lobes <= 11)] = LEFT
    hu = np.asarray(image.dataobj, np.float32)
    return Case(name="totalsegmentator", hu=hu, labels=labels, affine=image.affine, truth="silver")


def cip(root: Path) -> Case:
    """CIP ct-64: whole chest at 4 mm; silver truth, sides from the label map's thirds."""
    folder = root / "ct/cip_ct64"
    hu, affine = read_nrrd(folder / "ct-64.nrrd")
    whole, _ = read_nrrd(folder / "wholeLung-64.nrrd")
    regions = read_nrrd(folder / "lm-64.nrrd")[0].astype(np.int64) & 255
    labels = np.zeros(whole.shape, np.uint8)
    labels[np.isin(regions, (12, 13, 14)) & (whole > 0)] = RIGHT
    labels[np.isin(regions, (9, 10, 11)) & (whole > 0)] = LEFT
    hu, _ = to_ras(hu.astype(np.float32), affine)
    labels, affine = to_ras(labels, affine)
    return Case(
        name="cip_ct64",
        hu=np.ascontiguousarray(hu),
        labels=np.ascontiguousarray(labels),
        affine=affine,
        truth="silver",
    )


def deeplesion(root: Path) -> Case:
    """DeepLesion 000001_01_01: 13 slices of 5 mm at the level of the carina, pseudo-label.

    The pixel spacing is not among the files; 0.488 mm is assumed (the patient's size is varied in
    training anyway). File numbers rise towards the feet; HU = value - 32768.
    """
    paths = sorted((root / "ct/deeplesion/volumes/000001_01_01").glob("*.png"), reverse=True)
    slices = [np.asarray(Image.open(path)).astype(np.float32).T - 32768 for path in paths]
    hu, affine = to_ras(np.stack(slices, axis=-1), np.diag([-0.488281, -0.488281, 5.0, 1.0]))
    spacing = np.array([0.488281, 0.488281, 5.0])
    labels = pseudo_label(hu, spacing, has_trachea=True)
    return Case(name="deeplesion_000001", hu=hu, labels=labels, affine=affine, truth="pseudo")


CASES: dict[str, Callable[[Path], Case]] = {
    "lidc_0314": lidc,
    "crlm_1004": crlm,
    "totalsegmentator": totalsegmentator,
    "deeplesion_000001": deeplesion,
    "cip_ct64": cip,
}
