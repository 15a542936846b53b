"""Calcium of the aorta and marrow of the vertebrae: by the outlines found and by the true ones.

    python -m scripts.densities OUTPUT FIRST_SEED LAST_SEED

Run it in the folder of the bundle. Native phantoms from L4 to the heart, slices of 3 mm, pixels of
1 mm; every third person has no plaque, the others up to twenty of 250 to 1,200 HU in the wall.
Called again it goes on.
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dicomnode.domain.findings import MeasurementFinding
from dicomnode.domain.identifiers import derived_uid
from dicomnode.domain.volumes import Volume
from dicomnode.evaluate.pairs import as_volume
from dicomnode.phantom import LesionKind, Organ, Phase, make_case
from dicomnode.phantom.structures import VERTEBRAE
from dicomnode.pipeline.calcium import calcification_of
from dicomnode.pipeline.ct_measures import core_attenuation_of
from dicomnode.pipeline.spine import vertebral_marrow_of
from dicomnode.testing.findings import outlined
from scripts.classes import CLASSES
from scripts.evaluation import Bundle

log = logging.getLogger("body_ct.densities")
REGION = (0.0, 240.0)
SPACING = (3.0, 1.0, 1.0)
Mask = npt.NDArray[np.bool_]


def measured(bundle: Bundle, seed: int) -> dict[str, object]:
    """Of the person `seed`: calcium (ml, score) and marrow (HU), null where nothing is measured."""
    count = 0 if seed % 3 == 0 else int(np.random.default_rng([6, seed]).integers(1, 21))
    case = make_case(
        seed,
        region=REGION,
        spacing_mm=SPACING,
        phase=Phase.NATIVE,
        pathology={LesionKind.CALCIFICATION: count},
        detail=False,
    )
    frame = derived_uid("densities", str(seed), "frame")
    volume = as_volume(str(seed), case.hu, replace(case.grid, frame_of_reference_uid=frame), "CT")
    found = bundle.segment(case.hu.astype(np.float32), case.grid.affine_lps_mm)
    aorta, vertebrae, bone = (
        found == CLASSES.index(name) for name in ("aorta", "vertebrae", "bone")
    )
    return {
        "seed": seed,
        "planted": len(case.lesions),
        "calcium": {
            "true": _calcium(case.labels == Organ.AORTA, volume),
            "found": _calcium(aorta, volume),
        },
        "marrow": {
            "true": _marrow(np.isin(case.labels, VERTEBRAE), volume),
            "found": _marrow(vertebrae, volume),
            "by place": _spine(vertebrae | bone, volume),
            "bodies": _bodies(vertebrae | bone, case.labels, volume),
        },
    }


def _calcium(mask: Mask, volume: Volume) -> list[float]:
    if not mask.any():
        return []
    return [round(one.value, 3) for one in calcification_of(outlined(mask), volume).numbers]


def _marrow(mask: Mask, volume: Volume) -> list[float]:
    return [round(one.value, 1) for one in core_attenuation_of(mask, volume)] if mask.any() else []


def _spine(mask: Mask, volume: Volume) -> list[float]:
    if not mask.any():
        return []
    return [round(one.value, 1) for one in vertebral_marrow_of(outlined(mask), volume).numbers]


def _bodies(bone: Mask, labels: npt.NDArray[np.uint8], volume: Volume) -> list[list[object]]:
    """True vertebra at the middle of each body told, its median HU by the true outline, as told."""
    rows: list[list[object]] = []
    for body in vertebral_marrow_of(outlined(bone), volume).parts if bone.any() else ():
        if isinstance(body, MeasurementFinding):
            (mark,) = body.marks
            column, row = mark.points.mean(axis=0)
            organ = Organ(int(labels[mark.slice_index, int(row), int(column)]))
            true = _marrow(labels == organ, volume) if organ in VERTEBRAE else []
            rows.append([organ.name, true[0] if true else None, round(body.measurements[0].value)])
    return rows


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    output, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    rows = json.loads(output.read_text()) if output.exists() else []
    bundle = Bundle(Path.cwd(), every=True)
    for seed in range(first, last + 1):
        if all(row["seed"] != seed for row in rows):
            rows.append(measured(bundle, seed))
            log.info("%s", rows[-1])
            output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
