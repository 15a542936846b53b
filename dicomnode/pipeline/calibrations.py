"""Calibrations of a site: versioned files, one of which may be in force, and what they change.

They lie in one folder for each algorithm: `0001.json`, `0002.json` ..., never changed, and
`in_force.json`, which names one of them with its digest.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dicomnode.domain.errors import BundleInvalid
from dicomnode.pipeline.manifest import Digest, ImageClass, Label, Manifest, Name

_IN_FORCE = "in_force.json"
_LONGEST_USE = 1024


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassCalibration(_Part):
    """new logit = slope x logit + shift, of the calibrated logit that `dicom.json` makes."""

    slope: Annotated[float, Field(gt=0)]
    shift: float


class Calibration(_Part):
    """What a site's own labels say of one model's probabilities."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    algorithm: Name
    version: Annotated[int, Field(ge=1)]
    site: Label
    made_at: datetime
    model_digest: Digest
    """Of the algorithm as it is without any calibration."""
    studies: Annotated[int, Field(ge=1)]
    patients: Annotated[int, Field(ge=1)]
    classes: Annotated[Mapping[Label, ClassCalibration], Field(min_length=1)]
    """Class -> what is changed; the others stay as they are."""
    figures: Mapping[str, object]
    """How it was judged; for people."""


class InForce(_Part):
    """Which version is in force."""

    version: Annotated[int, Field(ge=1)]
    sha256: Digest


def read_calibration(folder: Path, version: int) -> tuple[Calibration, str]:
    """One version, and the SHA-256 of its file.

    Raises:
        BundleInvalid: there is no such file, or it is none.
    """
    path = folder / _file_of(version)
    try:
        content = path.read_bytes()
        return Calibration.model_validate_json(content), hashlib.sha256(content).hexdigest()
    except OSError as exc:
        raise BundleInvalid(f"{folder.name} has no calibration {version}") from exc
    except ValidationError as exc:
        raise BundleInvalid(f"calibration {version} of {folder.name} is damaged") from exc


def versions_in(folder: Path) -> list[int]:
    """The versions there are."""
    names = (re.fullmatch(r"(\d{4})\.json", path.name) for path in folder.glob("*.json"))
    return sorted(int(found.group(1)) for found in names if found)


def version_in_force(folder: Path) -> InForce | None:
    """Which version is in force; None: the model as it was shipped.

    Raises:
        BundleInvalid: the file that says so is damaged.
    """
    try:
        return InForce.model_validate_json((folder / _IN_FORCE).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as exc:
        raise BundleInvalid(f"{folder.name}: {_IN_FORCE} of its calibrations is damaged") from exc


def keep_calibration(folder: Path, calibration: Calibration) -> Path:
    """Write a version; an earlier one is never written over.

    Raises:
        FileExistsError: that version is there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _file_of(calibration.version)
    with path.open("x", encoding="utf-8") as stream:
        json.dump(calibration.model_dump(mode="json", by_alias=True), stream, indent=1)
        stream.write("\n")
    return path


def put_in_force(folder: Path, version: int | None) -> None:
    """Have a version applied from the next job on; None: none.

    Raises:
        BundleInvalid: there is no such version.
    """
    path = folder / _IN_FORCE
    if version is None:
        path.unlink(missing_ok=True)
        return
    _, digest = read_calibration(folder, version)
    part = path.with_suffix(".part")
    part.write_text(InForce(version=version, sha256=digest).model_dump_json() + "\n", "utf-8")
    part.replace(path)


def with_calibration(manifest: Manifest, folder: Path | None, model_digest: str) -> Manifest:
    """The manifest under the calibration in force; itself without one.

    Args:
        manifest: as the bundle says.
        folder: of the algorithm's calibrations.
        model_digest: of the algorithm without any calibration.

    Raises:
        BundleInvalid: the calibration in force does not fit; the message says what to do.
    """
    chosen = version_in_force(folder) if folder is not None else None
    if folder is None or chosen is None:
        return manifest
    calibration, digest = read_calibration(folder, chosen.version)
    if digest != chosen.sha256:
        raise BundleInvalid(f"calibration {chosen.version} of {manifest.name} has been changed")
    if calibration.model_digest != model_digest:
        raise BundleInvalid(
            f"calibration {chosen.version} of {manifest.name} was made for another version of the "
            f"model; fit a new one, or run: dicomnode calibrate off {manifest.name}"
        )
    return calibrated(manifest, calibration, digest)


def calibrated(manifest: Manifest, calibration: Calibration, digest: str) -> Manifest:
    """The manifest with other temperatures, biases and operating points, and words that say so.

    Operating points move with the probabilities: the same images are called positive.

    Raises:
        BundleInvalid: a class is not there, or is not reported.
    """
    pred = manifest.outputs.pred
    if pred.kind != "classes":
        raise BundleInvalid(f"{manifest.name} gives no classes that could be calibrated")
    known = {one.name: number for number, one in pred.classes.items() if one.reported}
    unknown = sorted(set(calibration.classes) - set(known))
    if unknown:
        raise BundleInvalid(f"{manifest.name} reports no class {unknown[0]!r}")
    classes = dict(pred.classes)
    for name, change in calibration.classes.items():
        classes[known[name]] = _changed(classes[known[name]], change)
    told = (
        f"Recalibrated at {calibration.site} on {calibration.studies} studies of "
        f"{calibration.patients} patients with labels mined from their reports "
        f"({', '.join(calibration.classes)}; calibration {calibration.version} of "
        f"{calibration.made_at:%Y-%m-%d}, SHA-256 {digest[:16]})."
    )
    outputs = manifest.outputs.model_copy(
        update={"pred": pred.model_copy(update={"classes": classes})}
    )
    return manifest.model_copy(
        update={
            "outputs": outputs,
            "intended_use": f"{manifest.intended_use[: _LONGEST_USE - len(told) - 1]} {told}",
            "calibrated": told,
        }
    )


def _changed(one: ImageClass, change: ClassCalibration) -> ImageClass:
    point = math.log(one.operating_point / (1 - one.operating_point))
    moved = change.slope * point + change.shift
    return one.model_copy(
        update={
            "temperature": one.temperature / change.slope,
            "bias": one.bias + change.shift * one.temperature / change.slope,
            # The ends would be no probability any more.
            "operating_point": min(max(1 / (1 + math.exp(-moved)), 1e-9), 1 - 1e-9),
        }
    )


def _file_of(version: int) -> str:
    return f"{version:04d}.json"
