"""A site's marked CTs as scenes: marks are lesions; what is not marked is told by a rule.

Marks of a site are never all there is. Types that nobody there marked are not known in any of its
CTs. Of types that are marked, what is unmarked counts by one of three rules (`Unmarked`).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.bundle.config_parser import ConfigParser

from dicomnode.domain.errors import StudyError
from dicomnode.domain.volumes import Volume
from dicomnode.evaluate.lesion_images import Case
from dicomnode.evaluate.lesion_truths import TABLES
from dicomnode.evaluate.lesion_types import FILE, as_sought
from dicomnode.evaluation.froc import TrueLesion
from dicomnode.networks.lesion_finder import FIELD_OF_RADIUS, FoundInferer, LesionFinder
from dicomnode.networks.transforms import ToWorkingGridd
from dicomnode.pipeline.bundle_files import read_json, read_manifest
from dicomnode.pipeline.manifest import Lesions
from dicomnode.pipeline.tensors import to_metatensor
from dicomnode.training.marks import SiteMarks
from scripts.scenes import AIR_HU, SPACING, Scene, scenes_in

log = logging.getLogger("lesions.site")

Balls = list[dict[str, Any]]

_TO_RAS = np.array([-1.0, -1.0, 1.0])
_APART_MM = 4.0
"""A candidate this near to a mark, beyond its radius, is the mark."""


class Unmarked(Enum):
    """What is there where nothing is marked, of types that the site marks."""

    NEGATIVE = "negative"
    """No lesion: whoever marked saw to it that nothing is left."""
    SUSPECTED = "suspected"
    """No lesion, but where the bundle as it was would mark one: that counts as nothing."""
    UNKNOWN = "unknown"
    """Anything: only marks are learned from."""


def rule_of(name: str) -> Unmarked:
    """The rule of that name.

    Raises:
        StudyError: there is none.
    """
    try:
        return Unmarked(name)
    except ValueError as exc:
        known = ", ".join(rule.value for rule in Unmarked)
        raise StudyError(f"{name!r} is no rule: {known}") from exc


@dataclass(frozen=True)
class SiteBundle:
    """What training has to know of the bundle that is trained."""

    pred: Lesions
    kinds: Mapping[str, int]
    """Name of a type -> its place among the network's kinds."""
    least: Mapping[int, float]
    """Kind -> score from which on the bundle marks."""
    inferer: FoundInferer


def read_bundle(root: Path) -> SiteBundle:
    """The bundle's types and how it runs its network."""
    pred = read_manifest(root).outputs.pred
    assert isinstance(pred, Lesions)
    parser = ConfigParser()
    parser.read_config(root / "configs" / "inference.json")
    steps: Any = read_json(root / "configs" / "inference.json")["postprocessing"]
    (numbers,) = (step["types"] for step in steps["transforms"] if "types" in step)
    kinds = {pred.types[n].name: kind for kind, n in enumerate(numbers) if n in pred.types}
    rate = pred.false_positives_per_volume
    return SiteBundle(
        pred=pred,
        kinds=kinds,
        least={kind: pred.points_of(n)[rate] for kind, n in enumerate(numbers) if n in pred.types},
        inferer=parser.get_parsed_content("inferer"),
    )


def write_site_scenes(
    folder: Path, site: Path, bundle: SiteBundle, network: LesionFinder, rule: Unmarked
) -> list[Scene]:
    """The site's CTs as scenes; what is there and has not changed is not read again.

    Args:
        folder: of the scenes.
        site: marked volumes, as `dicomnode evaluate` reads them.
        bundle: that is trained.
        network: with the bundle's weights as they were, which suspect.
        rule: of what is not marked.
    """
    marks = SiteMarks(site, bundle.pred, {})
    kept = folder / "marks"
    kept.mkdir(parents=True, exist_ok=True)
    for case in marks.cases:
        path, stamp = kept / f"{case.name}.json", _stamp(site, case, marks)
        if path.exists() and json.loads(path.read_text())["stamp"] == stamp:
            continue
        told = _read(case, marks, bundle, network, folder)
        path.write_text(json.dumps({"stamp": stamp, **told}))
        log.info("site.read %s: %d lesions", case.name, len(told["lesions"]))
    for left in folder.glob("*.json"):
        left.unlink()
    told = {case.name: json.loads((kept / f"{case.name}.json").read_text()) for case in marks.cases}
    _write_told(folder, told, range(network.candidates.kinds), rule)
    return scenes_in(folder)


def _stamp(site: Path, case: Case, marks: SiteMarks) -> str:
    """Another one where the truth of a volume may have changed."""
    digest = hashlib.sha256()
    for name in (*TABLES, FILE, "labels.json"):
        if (site / name).is_file():
            digest.update((site / name).read_bytes())
    if case.name in marks.truths.masks:
        file = marks.truths.masks[case.name].stat()
        digest.update(f"{file.st_size} {file.st_mtime_ns}".encode())
    return digest.hexdigest()


def _read(
    case: Case, marks: SiteMarks, bundle: SiteBundle, network: LesionFinder, folder: Path
) -> dict[str, Balls]:
    """Write the voxels of one scene; return its lesions and what is to be ignored or suspected."""
    volume, true = marks.read(case)
    hu, origin = _on_working_grid(volume)
    np.save(folder / f"{case.name}_hu.npy", hu.numpy().round().astype(np.int16))
    told: dict[str, Balls] = {"lesions": [], "ignored": [], "suspected": []}
    for one in as_sought(true, marks.name_of):
        is_known = one.counts and one.kind in bundle.kinds
        told["lesions" if is_known else "ignored"].append(
            _ball(bundle.kinds.get(one.kind, 0), _middle(one) * _TO_RAS - origin, _diameter(one))
        )
    device = next(network.parameters()).device
    with torch.inference_mode():
        found = bundle.inferer(hu[None, None].to(device), network)
    for point, kind, score, field in zip(
        *(found[key].tolist() for key in ("points", "kinds", "scores", "fields")), strict=True
    ):
        if score >= bundle.least.get(kind, 2.0) and not _is_marked(point, told["lesions"]):
            told["suspected"].append(_ball(kind, np.array(point), 2 * field / FIELD_OF_RADIUS))
    return told


def _on_working_grid(volume: Volume) -> tuple[torch.Tensor, npt.NDArray[np.float64]]:
    """HU `(x, y, z)` in RAS, and where its voxel 0 lies in RAS mm."""
    grid = ToWorkingGridd("image", spacing=SPACING, fill=AIR_HU)
    image = grid.upright(to_metatensor(volume, 3))
    origin = np.asarray(image.affine[:3, 3], float)
    return image.as_subclass(torch.Tensor)[0].clamp(AIR_HU, 3071), origin


def _middle(one: TrueLesion) -> npt.NDArray[np.float64]:
    return (np.asarray(one.low_mm) + np.asarray(one.high_mm)) / 2


def _diameter(one: TrueLesion) -> float:
    """Of a ball that is about as large; the height of a box, often one slice, tells nothing."""
    sides = np.subtract(one.high_mm, one.low_mm)
    return float(sides.max() if one.is_sphere else np.sqrt(sides[0] * sides[1]))


def _is_marked(point: Sequence[float], lesions: Balls) -> bool:
    return any(
        np.linalg.norm(np.subtract(point, one["centre"])) <= one["diameter"] / 2 + _APART_MM
        for one in lesions
    )


def _ball(kind: int, centre: npt.NDArray[np.float64], diameter: float) -> dict[str, Any]:
    return {
        "kind": kind,
        "number": 1,
        "centre": centre.tolist(),
        "diameter": diameter,
        "organ": 0,
        "plan_z": 0.0,
    }


def _write_told(
    folder: Path, told: Mapping[str, Mapping[str, Balls]], kinds: Sequence[int], rule: Unmarked
) -> None:
    """What training reads of each scene."""
    marked = {ball["kind"] for one in told.values() for ball in one["lesions"]}
    unknown = [kind for kind in kinds if rule is Unmarked.UNKNOWN or kind not in marked]
    for name, one in told.items():
        suspected = one["suspected"] if rule is Unmarked.SUSPECTED else []
        scene = {
            "lesions": one["lesions"],
            "ignored": [*one["ignored"], *(ball for ball in suspected if ball["kind"] in marked)],
            "unknown_kinds": unknown,
        }
        (folder / f"{name}.json").write_text(json.dumps(scene))
