"""Findings on synthetic volumes, as an algorithm would return them."""

import numpy as np
import numpy.typing as npt

from dicomnode.algorithm import AlgorithmIdentity
from dicomnode.domain.codes import (
    ANATOMICAL_STRUCTURE,
    CARDIAC_DIAMETER,
    CARDIOTHORACIC_RATIO,
    CHEST,
    HEART,
    LEFT,
    LUNG,
    ML,
    MM,
    RATIO,
    RIGHT,
    THORACIC_DIAMETER,
    VOLUME,
    Code,
)
from dicomnode.domain.findings import Mark, Measurement, MeasurementFinding, SegmentFinding
from dicomnode.domain.volumes import Volume

PHANTOM_ALGORITHM = AlgorithmIdentity(
    name="phantom",
    version="1.0.0",
    manufacturer="dicomnode",
    title="Phantom chest",
    model_digest="5a" * 32,
    intended_use="Research use only. Marks what is known of a phantom.",
)


def random_segments(volume: Volume, seed: int, count: int = 2) -> tuple[SegmentFinding, ...]:
    """Segments of random voxels that do not overlap: no flip or shift maps one onto itself."""
    labels = np.random.default_rng(seed).integers(0, 2 * count + 1, size=volume.grid.shape)
    return tuple(
        SegmentFinding(
            name=f"part {number}",
            category=ANATOMICAL_STRUCTURE,
            type=LUNG,
            laterality=RIGHT if number % 2 else LEFT,
            color=(230, 159, 0) if number % 2 else (86, 180, 233),
            mask=labels == number,
        )
        for number in range(1, count + 1)
    )


def outlined(
    mask: npt.NDArray[np.bool_], name: str = "outline", kind: Code = ANATOMICAL_STRUCTURE
) -> SegmentFinding:
    """A structure with this mask, of which nothing else matters."""
    return SegmentFinding(
        name=name,
        category=ANATOMICAL_STRUCTURE,
        type=kind,
        laterality=None,
        color=(0, 158, 115),
        mask=mask,
    )


def lungs(volume: Volume) -> tuple[SegmentFinding, ...]:
    """Both lungs of `studies.chest_phantom`, axial orientation, with their volumes in ml."""
    _, rows, columns = volume.grid.shape
    y = (np.arange(rows)[:, None] + 0.5) / rows * 2 - 1
    x = (np.arange(columns) + 0.5) / columns * 2 - 1
    air_in_body = (volume.array < -500) & ((x / 0.85) ** 2 + (y / 0.75) ** 2 < 1)
    right, left = air_in_body & (x < 0), air_in_body & (x > 0)
    return tuple(
        SegmentFinding(
            name=name,
            category=ANATOMICAL_STRUCTURE,
            type=LUNG,
            laterality=laterality,
            color=color,
            mask=mask,
            measurements=(
                Measurement(
                    name=VOLUME, value=float(mask.sum()) * volume.grid.voxel_mm3 / 1000, unit=ML
                ),
            ),
        )
        for name, laterality, color, mask in (
            ("right lung", RIGHT, (230, 159, 0), right),
            ("left lung", LEFT, (86, 180, 233), left),
        )
    )


def heart_with_ratio(volume: Volume) -> tuple[SegmentFinding | MeasurementFinding, ...]:
    """A heart-shaped ellipse on a radiograph, with a cardiothoracic ratio of 0.5."""
    _, rows, columns = volume.grid.shape
    y, x = np.mgrid[:rows, :columns]
    centre, half_width = round(columns * 0.55), round(columns * 0.2)
    ellipse = ((x + 0.5 - centre) / half_width) ** 2 + ((y + 0.5) / rows * 4 - 2.4) ** 2 < 1
    heart = SegmentFinding(
        name="heart",
        category=ANATOMICAL_STRUCTURE,
        type=HEART,
        laterality=None,
        color=(213, 94, 0),
        mask=ellipse[None],
    )
    spacing = volume.grid.spacing_mm[2]
    lines = []
    for name, half, height in (
        (CARDIAC_DIAMETER, half_width, 0.6),
        (THORACIC_DIAMETER, 2 * half_width, 0.75),
    ):
        measured = Measurement(name=name, value=2 * half * spacing, unit=MM)
        ends = np.array([[centre - half, rows * height], [centre + half, rows * height]])
        lines.append(Mark(slice_index=0, points=ends.astype(np.float64), measurement=measured))
    ratio = MeasurementFinding(
        name="cardiothoracic ratio",
        finding=CARDIOTHORACIC_RATIO,
        site=CHEST,
        measurements=(Measurement(name=CARDIOTHORACIC_RATIO, value=0.5, unit=RATIO),),
        marks=tuple(lines),
    )
    return heart, ratio
