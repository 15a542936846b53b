"""Operating points of a bundle of lesions, read anew from patients that training did not see."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicomnode.evaluate.lesion_figures import operating_points
from dicomnode.evaluate.lesion_truths import read_lesion_truths
from dicomnode.evaluate.lesions import detect, hold_type
from dicomnode.evaluate.run import Tick
from dicomnode.evaluation.froc import Marked
from dicomnode.pipeline.bundle import load_bundle
from dicomnode.pipeline.bundle_files import read_json, read_manifest
from dicomnode.pipeline.manifest import Lesions

DICOM = "configs/dicom.json"

AS_SHIPPED = "Operating points and outlines are as shipped."
"""Said where too few are there to read points from."""
LEAST_VOLUMES = 4
"""With fewer, the point for one false mark a volume would rest on that few marks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PointsFromDev:
    """Points from one part of a site's patients. Implements `judging.Settle`."""

    folder: Path
    people: str
    """How many volumes of how many patients those are, in words."""
    marked: Collection[str]
    """Types that the site marks: of others a false mark cannot be told from a true one."""
    device: str
    tick: Tick

    def __call__(self, shipped: Path, trained: Path, changed: Path) -> str:
        """Leave `dicom.json` of `shipped` with new points in `changed`.

        A type that is not marked, or for which too few marks were made, keeps its points.
        """
        pred = read_manifest(shipped).outputs.pred
        assert isinstance(pred, Lesions)
        truths = read_lesion_truths(self.folder)
        volumes = detect(
            load_bundle(trained),
            pred,
            self.folder,
            truths,
            named={},
            device=self.device,
            tick=self.tick,
        )
        read = [one for one in volumes if not one.refused]
        new = {
            number: points
            for number, one in pred.types.items()
            if one.name in self.marked
            and (points := _points(pred, number, hold_type(one.name, read, 0.0)))
        }
        target = changed / DICOM
        target.parent.mkdir(parents=True, exist_ok=True)
        raw = with_points(read_json(shipped / DICOM), new)
        target.write_text(json.dumps(raw, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if not new:
            return AS_SHIPPED
        names = ", ".join(pred.types[number].name for number in new)
        return (
            f"Operating points of {names} from {self.people} who were not learned from; all others "
            "and the outlines are as shipped."
        )


def _points(pred: Lesions, number: int, marked: Marked) -> Mapping[float, float]:
    """New points for the rates that there were; none without the one that holds."""
    points = operating_points(marked)
    rates = [rate for rate in pred.points_of(number) if rate in points]
    if pred.false_positives_per_volume not in rates:
        return {}
    return {rate: points[rate] for rate in rates}


def with_points(
    dicom: Mapping[str, Any], new: Mapping[int, Mapping[float, float]]
) -> dict[str, Any]:
    """`dicom.json` with other points of some types.

    Points of all types together follow the type whose points they were, or which is the only one.
    """
    raw: dict[str, Any] = json.loads(json.dumps(dicom))
    pred = raw["outputs"]["pred"]
    types, together = pred["types"], pred["operating_points"]
    for number, points in new.items():
        one = types[str(number)]
        written = {f"{rate:g}": score for rate, score in points.items()}
        if len(types) == 1 or one.get("operating_points") == together:
            pred["operating_points"] = written
        one["operating_points"] = written
    return raw
