"""The pancreas on synthetic people, on real CT with masks, and where there is none to find.

python -m monai.bundle run --config_file configs/evaluate.json --data_root DATA --output scores.json
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomnode.algorithm import RunContext
from dicomnode.domain.errors import InputRefused
from dicomnode.domain.findings import SegmentFinding
from dicomnode.domain.identifiers import SeriesUid, StudyUid
from dicomnode.domain.volumes import Grid, Volume
from dicomnode.evaluation.masks import fit_of, mean_interval
from dicomnode.phantom import Organ, draw_pathology, make_case
from dicomnode.phantom.masks import totalsegmentator_example
from dicomnode.pipeline.bundle import load_bundle
from dicomnode.pipeline.volume import read_series
from dicomnode.training.weights import exchange_part
from scripts.assemble import VOLUME

ROOT = Path(__file__).resolve().parents[1]
REGION, SPACING = (60.0, 260.0), (3.0, 2.0, 2.0)

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]


def in_hu(array: npt.NDArray[np.float32], grid: Grid) -> Volume:
    """An array of HU as the bundle is given it."""
    return Volume(
        study_uid=StudyUid("1.2.3"),
        series_uid=SeriesUid("1.2.3.4"),
        modality="CT",
        array=array,
        grid=grid,
        frames=(),
    )


def upright_grid(shape: tuple[int, ...], mm: float = 3.0) -> Grid:
    """Rows to the back, columns to the left, slices to the head."""
    affine = np.zeros((4, 4))
    affine[[0, 1, 2], [2, 1, 0]] = mm
    affine[3, 3] = 1
    slices, rows, columns = shape
    return Grid(affine_lps_mm=affine, shape=(slices, rows, columns), frame_of_reference_uid=None)


def changed(
    folder: Path,
    *,
    shares: dict[str, float] | None = None,
    volume_weights: Path | None = None,
    filters: list[int] | None = None,
    inferer: dict[str, Any] | None = None,
) -> Path:
    """A copy of the bundle below `folder`: other shares of the two networks, other weights (and
    channels by level) of the 3D network, other settings of what runs them."""
    root = folder / "pancreas"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(ROOT, root)
    config = root / "configs/inference.json"
    told = json.loads(config.read_text())
    told["inferer"]["fine"]["shares"] = shares or told["inferer"]["fine"]["shares"]
    told["inferer"].update(inferer or {})
    if filters:
        told["network_def"]["fine"]["members"]["volume"]["network"]["filters"] = filters
    config.write_text(json.dumps(told))
    if volume_weights is not None:
        weights = root / "models/model.safetensors"
        exchange_part(ROOT / "models/model.safetensors", VOLUME, volume_weights, weights)
        described = root / "configs/dicom.json"
        manifest = json.loads(described.read_text())
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        manifest["files"]["models/model.safetensors"] = digest
        described.write_text(json.dumps(manifest))
    return root


def run(volume: Volume, scratch: Path, root: Path = ROOT) -> tuple[Mask, str]:
    """The mask, empty with the reason where the bundle refuses."""
    context = RunContext(device="cpu", scratch=scratch)
    try:
        findings = load_bundle(root).run({"image": volume}, context)
    except InputRefused as exc:
        return np.zeros(volume.grid.shape, np.bool_), str(exc)
    masks = [one.mask for one in findings if isinstance(one, SegmentFinding)]
    return (masks[0] if masks else np.zeros(volume.grid.shape, np.bool_)), ""


def scored(found: Mask, true: Mask, grid: Grid) -> dict[str, float]:
    """Dice, distances and volumes of one CT."""
    fit = fit_of(found, true, grid.spacing_mm, grid.voxel_mm3)
    return {
        "dice": fit.dice,
        "asd_mm": fit.asd_mm,
        "hd95_mm": fit.hd95_mm,
        "found_ml": fit.found_ml,
        "true_ml": fit.true_ml,
    }


def person(seed: int, cases: Path | None) -> tuple[npt.NDArray[np.float32], Labels, Grid]:
    """HU, `Organ` numbers and grid; kept in `cases`, if given, for the next evaluation."""
    path = None if cases is None else cases / f"pancreas_{seed}.npz"
    if path is not None and path.exists():
        with np.load(path) as kept:
            hu, labels, affine = kept["hu"].astype(np.float32), kept["labels"], kept["affine"]
        return hu, labels, Grid(affine_lps_mm=affine, shape=hu.shape, frame_of_reference_uid=None)
    wish = draw_pathology(seed) if seed % 2 else {}
    case = make_case(seed, region=REGION, spacing_mm=SPACING, pathology=wish, detail=False)
    if path is not None:
        hu = case.hu.astype(np.int16)
        np.savez(path, hu=hu, labels=case.labels, affine=case.grid.affine_lps_mm)
    return case.hu, case.labels, case.grid


def synthetic(
    seeds: range, root: Path, scratch: Path, keep: Path, cases: Path | None
) -> list[dict[str, Any]]:
    """Bellies of people never trained on, half of them with disease."""
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        hu, labels, grid = person(seed, cases)
        found, reason = run(in_hu(hu, grid), scratch, root)
        row = scored(found, labels == Organ.PANCREAS, grid)
        rows.append({"seed": seed, "refused": reason, **row})
        keep.write_text(json.dumps(rows))
        print(rows[-1], flush=True)
    return rows


def example(data: Path, root: Path, scratch: Path) -> dict[str, Any]:
    """TotalSegmentator's example CT against its masks (silver): a trained anatomy."""
    hu, organs = totalsegmentator_example(data)
    grid = upright_grid(hu.shape)
    found, reason = run(in_hu(hu, grid), scratch, root)
    return {"refused": reason, **scored(found, organs == Organ.PANCREAS, grid)}


def elsewhere(data: Path, root: Path, scratch: Path) -> dict[str, Any]:
    """Volume found, or why it was refused, in CTs without masks."""
    told = {}
    for name in ("lidc_0314", "cip_ct64", "crlm_1004"):
        volume = read_series(sorted((data / "ct" / name / "dicom").glob("*.dcm")))
        found, reason = run(volume, scratch, root)
        told[name] = {"ml": float(found.sum()) * volume.grid.voxel_mm3 / 1000, "refused": reason}
    return told


def evaluate(
    data: Path,
    output: Path,
    *,
    first: int = 1,
    people: int = 20,
    shares: dict[str, float] | None = None,
    cases: str | None = None,
) -> None:
    """Score real and synthetic CT and write it to `output`; `configs/evaluate.json` calls it.

    `first`: seed of the first synthetic person. Training used seeds from 300,000; what was
    chosen, was chosen by people from 101 on. `shares`: of the two networks, if not those of the
    bundle. `cases`: a folder where synthetic people are kept from one evaluation to the next.
    """
    scratch = output.parent
    root = ROOT if shares is None else changed(scratch, shares=shares)
    told: dict[str, Any] = {"elsewhere": elsewhere(data, root, scratch)}
    told["example"] = example(data, root, scratch)
    print(json.dumps(told), flush=True)
    kept = Path(cases) if cases else None
    seeds = range(first, first + people)
    rows = synthetic(seeds, root, scratch, output.with_suffix(".rows.json"), kept)
    names = [str(row["seed"]) for row in rows]
    told["synthetic"] = {"refused": sum(bool(row["refused"]) for row in rows)}
    for key in ("dice", "asd_mm", "hd95_mm"):
        mean = mean_interval(np.array([row[key] for row in rows]), names)
        told["synthetic"][key] = [mean.value, mean.low, mean.high]
    output.write_text(json.dumps(told, indent=1))
