"""A calibration from the index: stored probabilities held against labels mined from reports."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from dicomnode.domain.errors import BundleInvalid, StudyError
from dicomnode.domain.events import Event, EventName, FactValue
from dicomnode.domain.exporting import LabelValue
from dicomnode.evaluation.recalibration import Recalibration, TooFew, recalibrate
from dicomnode.pipeline.bundle_files import read_identity, read_manifest
from dicomnode.pipeline.calibrations import (
    Calibration,
    ClassCalibration,
    calibrated,
    keep_calibration,
    put_in_force,
    read_calibration,
    versions_in,
)
from dicomnode.pipeline.manifest import Manifest
from dicomnode.settings import Settings
from dicomnode.steps.installed import algorithms_of, calibrations_of
from dicomnode.store.database import Database
from dicomnode.store.events import log_event
from dicomnode.store.stored_scores import StoredScore, stored_scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What was found; `calibration` is None where nothing is to be changed."""

    classes: Mapping[str, Recalibration]
    refused: Mapping[str, str]
    """Class -> why nothing was fitted."""
    left_out: Mapping[str, int]
    """Why scores could not be used -> how many."""
    calibration: Calibration | None
    path: Path | None


def fit_calibration(
    database: Database, settings: Settings, algorithm: str, *, site: str, now: datetime, draws: int
) -> Fitted:
    """Fit every reported class that has enough labels; keep those that help as a new version.

    Nothing is put in force.

    Raises:
        StudyError: no such algorithm, none of classes, or no scores beside reports.
    """
    root = bundle_root(settings, algorithm)
    manifest = read_manifest(root)
    pred = manifest.outputs.pred
    if pred.kind != "classes":
        raise StudyError(f"{algorithm} gives no classes that could be calibrated")
    folder = calibrations_of(settings, algorithm)
    digests = _known_digests(root, manifest, folder)
    names = {_label_of(one.name): one.name for one in pred.classes.values() if one.reported}
    used, left_out = _usable(list(stored_scores(database, algorithm)), names, digests)
    if not used:
        raise StudyError(
            f"no study has both a probability of {algorithm} and a report with labels "
            f"({dict(left_out) or 'nothing is stored'})"
        )
    classes, refused = _fitted(used, draws)
    for name in names.values():
        if name not in used:
            refused[name] = "no report says anything of it"
    helping = {name: one for name, one in classes.items() if one.helps}
    calibration, path = None, None
    if helping:
        rows = [row for name in helping for row in used[name]]
        calibration = Calibration.model_validate(
            {
                "schema": 1,
                "algorithm": algorithm,
                "version": max(versions_in(folder), default=0) + 1,
                "site": site,
                "made_at": now,
                "model_digest": plain_digest(root, manifest),
                "studies": len({row.study_uid for row, _ in rows}),
                "patients": len({row.patient for row, _ in rows}),
                "classes": {
                    name: ClassCalibration(slope=one.slope, shift=one.shift)
                    for name, one in helping.items()
                },
                "figures": {name: _plain(asdict(one)) for name, one in classes.items()},
            }
        )
        path = keep_calibration(folder, calibration)
    return Fitted(
        classes=classes, refused=refused, left_out=left_out, calibration=calibration, path=path
    )


def bundle_root(settings: Settings, algorithm: str) -> Path:
    """The folder of an installed bundle, whatever its calibration.

    Raises:
        StudyError: there is none of this name.
    """
    known = algorithms_of(settings).get(algorithm)
    if known is None or known.source.root is None:
        raise StudyError(f"no bundle {algorithm!r} is installed; see `dicomnode algorithms`")
    return known.source.root


def plain_digest(root: Path, manifest: Manifest) -> str:
    """The digest of the algorithm without any calibration."""
    return read_identity(root, manifest).model_digest


_Undo = Mapping[str, ClassCalibration]


def _known_digests(root: Path, manifest: Manifest, folder: Path) -> dict[str, _Undo]:
    """Digest in the index -> what had been changed by the calibration then in force."""
    base = plain_digest(root, manifest)
    known: dict[str, _Undo] = {base: {}}
    for version in versions_in(folder):
        calibration, digest = read_calibration(folder, version)
        if calibration.model_digest == base:
            changed = calibrated(manifest, calibration, digest)
            known[plain_digest(root, changed)] = calibration.classes
    return known


_Row = tuple[StoredScore, float]
"""A score, and its logit without any calibration."""


def _usable(
    scores: list[StoredScore], names: Mapping[str, str], digests: Mapping[str, _Undo]
) -> tuple[dict[str, list[_Row]], Counter[str]]:
    used: dict[str, list[_Row]] = defaultdict(list)
    left_out: Counter[str] = Counter()
    for one in scores:
        if one.label not in names:
            continue
        if one.said is LabelValue.UNCERTAIN:
            left_out["the report is uncertain"] += 1
        elif one.model_digest not in digests:
            left_out["made by another version of the model"] += 1
        else:
            name = names[one.label]
            undo = digests[one.model_digest].get(name)
            likely = min(max(one.probability, 1e-9), 1 - 1e-9)
            logit = math.log(likely / (1 - likely))
            used[name].append((one, (logit - undo.shift) / undo.slope if undo else logit))
    return used, left_out


def _fitted(
    used: Mapping[str, list[_Row]], draws: int
) -> tuple[dict[str, Recalibration], dict[str, str]]:
    classes, refused = {}, {}
    for name, rows in used.items():
        logits = np.array([logit for _, logit in rows])
        truth = np.array([float(row.said is LabelValue.POSITIVE) for row, _ in rows])
        patients = np.unique([row.patient for row, _ in rows], return_inverse=True)[1]
        try:
            classes[name] = recalibrate(logits, truth, patients, draws=draws)
        except TooFew as exc:
            refused[name] = str(exc)
    return classes, refused


def _plain(value: object) -> object:
    """As JSON has it; what is not finite is null."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value


def _label_of(name: str) -> str:
    """A class's name as reports have labels (see the view `ai_label`)."""
    return name.lower().replace(" ", "_")


def apply_calibration(
    database: Database, settings: Settings, algorithm: str, version: int | None, *, now: datetime
) -> None:
    """Put a version in force, or with None go back to the model as it was shipped; logged.

    Raises:
        StudyError: there is no such algorithm.
        BundleInvalid: the version does not fit the model that is installed; nothing is changed.
    """
    folder = calibrations_of(settings, algorithm)
    facts: dict[str, FactValue] = {"algorithm": algorithm, "version": version}
    if version is not None:
        root = bundle_root(settings, algorithm)
        manifest = read_manifest(root)
        calibration, digest = read_calibration(folder, version)
        if calibration.model_digest != plain_digest(root, manifest):
            raise BundleInvalid(
                f"calibration {version} was made for another version of {algorithm}"
            )
        calibrated(manifest, calibration, digest)
        facts["sha256"] = digest
    put_in_force(folder, version)
    log_event(database, Event(name=EventName.CALIBRATION_CHANGED, facts=facts), now)
