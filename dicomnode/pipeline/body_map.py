"""A CT as a coarse map of tissues on the axes of the patient, small enough to be kept.

Hounsfield units separate air in the body, fat, soft tissue and bone in every CT; in steps of 6 mm
they are 10 to 20 kB a scan, and enough to lay two scans of one patient on each other.
"""

import base64
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicomnode.domain.follow_up import BodyMap
from dicomnode.domain.volumes import Volume
from dicomnode.pipeline.block_reading import read_blocks

SPACING_MM = 6.0
OUTSIDE, AIR, FAT, SOFT, BONE = range(5)
NOT_IMAGED = 255
_BODY_HU = -500
_BORDERS_HU = (-400, -25, 160)
"""Between air, fat, soft tissue and bone; contrast medium in vessels counts as bone from here."""
_BEYOND = -5000.0

Classes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tissues:
    """A body map that is not packed."""

    classes: Classes
    """(z, y, x), z to the head."""
    origin_lps_mm: tuple[float, float, float]
    """(x, y, z) of the first voxel's centre."""
    spacing_mm: float = SPACING_MM


def map_body(volume: Volume) -> BodyMap:
    """The map of a CT in Hounsfield units, whatever the direction of its slices."""
    tissues = tissues_of(volume)
    slices, rows, columns = tissues.classes.shape
    return BodyMap(
        shape=(slices, rows, columns),
        origin_lps_mm=tissues.origin_lps_mm,
        spacing_mm=tissues.spacing_mm,
        packed=base64.b64encode(zlib.compress(tissues.classes.tobytes(), 9)).decode(),
    )


def tissues_of(volume: Volume) -> Tissues:
    """The tissues of a CT in Hounsfield units, whatever the direction of its slices."""
    spacing = np.array(volume.grid.spacing_mm)
    block = np.clip(np.floor(SPACING_MM / 2 / spacing).astype(int), 1, volume.grid.shape)
    blocks = np.array(volume.grid.shape) // block
    affine = volume.grid.affine_lps_mm.copy()
    affine[:3, 3] += affine[:3, :3] @ ((block - 1) / 2)
    affine[:3, :3] *= block
    corners = np.array(np.meshgrid(*((0, n - 1) for n in blocks), indexing="ij"))
    placed = affine[:3, :3] @ corners.reshape(3, -1) + affine[:3, 3:]
    low, high = placed.min(axis=1), placed.max(axis=1)
    counts = np.maximum(np.floor((high - low) / SPACING_MM).astype(int) + 1, 1)
    # (z, y, x) of the map -> LPS -> (slice, row, column) of the block means.
    to_lps = np.eye(4)
    to_lps[:3, :3] = np.eye(3)[::-1] * SPACING_MM
    to_lps[:3, 3] = low
    hounsfield = read_blocks(
        volume.array, block, np.linalg.inv(affine) @ to_lps, counts[::-1], beyond=_BEYOND
    )
    x, y, z = low.tolist()
    return Tissues(classes=_classes(hounsfield), origin_lps_mm=(x, y, z))


def classes_of(body: BodyMap) -> Classes:
    """The classes, (z, y, x)."""
    raw = zlib.decompress(base64.b64decode(body.packed))
    return np.frombuffer(raw, dtype=np.uint8).reshape(body.shape)


def _classes(hounsfield: npt.NDArray[np.float32]) -> Classes:
    imaged = hounsfield > _BEYOND / 2
    body = _body(hounsfield > _BODY_HU)
    classes = body.astype(np.uint8)
    for border in _BORDERS_HU:
        classes += body & (hounsfield >= border)
    classes[~imaged] = NOT_IMAGED
    return classes


def _body(dense: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The largest part without the table, its air included."""
    # Slice by slice: nothing is a hole by what lies above or below.
    filled = np.asarray(
        ndimage.binary_fill_holes(dense, ndimage.generate_binary_structure(2, 1)[None])
    )
    # Solid now, so that a thin chest wall survives what takes the table away.
    opened = _opened(filled)
    parts, count = ndimage.label(opened)
    if not count:
        return filled
    return np.asarray(parts == 1 + int(np.bincount(parts.ravel())[1:].argmax()))


def _opened(planes: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Every plane opened by a square of three; much quicker than scipy's for so small a one."""
    core = np.pad(planes, ((0, 0), (1, 1), (1, 1)))
    core = core[:, :-2] & core[:, 1:-1] & core[:, 2:]
    core = core[:, :, :-2] & core[:, :, 1:-1] & core[:, :, 2:]
    grown = np.pad(core, ((0, 0), (1, 1), (1, 1)))
    grown = grown[:, :-2] | grown[:, 1:-1] | grown[:, 2:]
    return np.asarray(grown[:, :, :-2] | grown[:, :, 1:-1] | grown[:, :, 2:])
