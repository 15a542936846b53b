"""`dicomnode evaluate` for bundles of lesions: every detection held against the truth, as FROC."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from dicomnode.algorithm import RunContext
from dicomnode.domain.errors import PipelineError, StudyError
from dicomnode.domain.volumes import Volume
from dicomnode.evaluate.key_slices import KeyCase, is_deep_lesion, read_key_cases
from dicomnode.evaluate.lesion_figures import LesionFigures, figures_of_type
from dicomnode.evaluate.lesion_images import Case, read_case, read_cases
from dicomnode.evaluate.lesion_truths import Truths, lesions_of_case, read_lesion_truths
from dicomnode.evaluate.lesion_types import (
    NameOf,
    as_sought,
    names_of,
    not_sought,
    read_lesion_types,
    why_none,
)
from dicomnode.evaluation.froc import FoundLesion, Marked, TrueLesion, mark
from dicomnode.pipeline.bundle import BundleAlgorithm
from dicomnode.pipeline.lesions import Candidate
from dicomnode.pipeline.manifest import Lesions

ANY = "any type"
"""All types taken together, and lesions whose type the truth does not tell."""

Crop = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadVolume:
    """One volume after the run."""

    case: Case
    series_uid: str = ""
    refused: str = ""
    """Why there is nothing to count; empty if there is."""
    lesions: tuple[TrueLesion, ...] = ()
    """What is known; `kind` is the bundle's name of the type, or empty."""
    found: tuple[FoundLesion, ...] = ()
    """Every detection, also of types and scores that are not reported."""
    not_sought: tuple[str, ...] = ()
    """Types of those that are known and that the bundle does not look for."""
    crops: tuple[Crop, ...] = ()
    """Slice through each of `lesions`, in Hounsfield units."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionSummary:
    """A whole evaluation."""

    volumes: tuple[ReadVolume, ...]
    types: tuple[LesionFigures, ...]
    other_rows: int
    """Rows of the tables about volumes that are not in the folder."""

    @property
    def refused(self) -> Mapping[str, str]:
        """Volume -> why it was refused."""
        return {one.case.name: one.refused for one in self.volumes if one.refused}

    @property
    def not_sought(self) -> Sequence[str]:
        """Type in the truth, once for each lesion of it that was left out."""
        return [kind for one in self.volumes for kind in one.not_sought]


def evaluate_lesions(
    algorithm: BundleAlgorithm,
    data: Path,
    *,
    named: Mapping[str, str],
    margin_mm: float,
    device: str,
    draws: int,
    tick: Callable[[Sequence[Case]], Iterable[Case]],
    split: str = "",
) -> LesionSummary:
    """Run the bundle on every volume below `data` and count; of DeepLesion on every key slice.

    Args:
        algorithm: a bundle of lesions.
        data: the folder.
        named: type in the truth -> type of the bundle; "" stands for lesions without one.
        margin_mm: by how much a mark may lie outside of a lesion and hit it.
        device: where to run.
        draws: for each interval.
        tick: shows how far it is.
        split: part of DeepLesion (`evaluate.key_slices`); empty: all of it.

    Raises:
        StudyError: no volumes, no truth, or none that the bundle looks for.
    """
    pred = algorithm.manifest.outputs.pred
    if pred.kind != "lesions":
        raise StudyError(f"{algorithm.identity.name} detects no lesions")
    if is_deep_lesion(data):
        cases, others = read_key_cases(data, split)
        name_of = names_of(pred, {**read_lesion_types(data), **named})
        of_name = {one.case.name: one for one in cases}
        volumes = tuple(
            _read_key(algorithm, pred, of_name[case.name], name_of, device=device)
            for case in tick([one.case for one in cases])
        )
    else:
        truths = read_lesion_truths(data)
        volumes = detect(algorithm, pred, data, truths, named=named, device=device, tick=tick)
        known = {name for one in volumes for name in (one.case.name, one.series_uid)}
        others = sum(row.volume not in known for row in truths.rows)
    read = [one for one in volumes if not one.refused]
    if not any(lesion.counts for one in read for lesion in one.lesions):
        raise StudyError(_why_none(volumes, pred))
    return LesionSummary(
        volumes=volumes,
        types=tuple(
            figures_of_type(name, marked, [one.case.patient for one in read], points, draws)
            for name, marked, points in _held_against(pred, read, margin_mm)
        ),
        other_rows=others,
    )


def detect(
    algorithm: BundleAlgorithm,
    pred: Lesions,
    data: Path,
    truths: Truths,
    *,
    named: Mapping[str, str],
    device: str,
    tick: Callable[[Sequence[Case]], Iterable[Case]],
) -> tuple[ReadVolume, ...]:
    """Every volume below `data` with what the bundle finds in it and what `truths` say of it.

    Args: as `evaluate_lesions`.

    Raises:
        StudyError: no volumes, or a type is named that the bundle has not.
    """
    name_of = names_of(pred, {**read_lesion_types(data), **named})
    cases = read_cases(data)
    return tuple(
        _read(algorithm, pred, case, truths, name_of, device=device) for case in tick(cases)
    )


def _why_none(volumes: Sequence[ReadVolume], pred: Lesions) -> str:
    for one in volumes:
        if one.not_sought:
            return why_none(pred, one.not_sought)
    refused = [f"; {one.case.name} was refused: {one.refused}" for one in volumes if one.refused]
    return "no lesion of the truth lies in a volume that was read" + "".join(refused[:1])


def _read(
    algorithm: BundleAlgorithm,
    pred: Lesions,
    case: Case,
    truths: Truths,
    name_of: NameOf,
    *,
    device: str,
) -> ReadVolume:
    try:
        volume = read_case(case, _modality(algorithm))
        true = lesions_of_case(truths, case, volume)
        candidates, seconds = _candidates(algorithm, volume, device)
    except PipelineError as exc:
        return ReadVolume(case=case, refused=f"{type(exc).__name__}: {exc}")
    found = tuple(_found(one, case.name, pred) for one in candidates)
    return _held(case, volume, true, found, name_of=name_of, seconds=seconds)


def _read_key(
    algorithm: BundleAlgorithm, pred: Lesions, one: KeyCase, name_of: NameOf, *, device: str
) -> ReadVolume:
    """A key slice: of what is found around it, what reaches it."""
    try:
        volume = one.volume(_modality(algorithm))
        candidates, seconds = _candidates(algorithm, volume, device)
    except PipelineError as exc:
        return ReadVolume(case=one.case, refused=f"{type(exc).__name__}: {exc}")
    height = one.height_mm
    found = tuple(
        replace(told, point_mm=(*told.point_mm[:2], height))
        for each in candidates
        if each.box[0][2] <= height <= each.box[1][2]
        for told in (_found(each, one.case.name, pred),)
    )
    return _held(one.case, volume, one.lesions(), found, name_of=name_of, seconds=seconds)


def _modality(algorithm: BundleAlgorithm) -> str:
    """Of what is no DICOM."""
    return sorted(next(iter(algorithm.needs.values())).modalities)[0]


def _candidates(
    algorithm: BundleAlgorithm, volume: Volume, device: str
) -> tuple[Sequence[Candidate], float]:
    """Every detection, and the seconds that it took."""
    began = time.monotonic()
    with TemporaryDirectory() as scratch:
        context = RunContext(device=device, scratch=Path(scratch))
        candidates = algorithm.candidates({next(iter(algorithm.needs)): volume}, context)
    return candidates, time.monotonic() - began


def _held(
    case: Case,
    volume: Volume,
    true: Sequence[TrueLesion],
    found: tuple[FoundLesion, ...],
    *,
    name_of: NameOf,
    seconds: float,
) -> ReadVolume:
    sought = as_sought(true, name_of)
    return ReadVolume(
        case=case,
        series_uid=str(volume.series_uid),
        lesions=tuple(sought),
        found=found,
        not_sought=not_sought(true, name_of),
        crops=tuple(crop_around(volume, one) for one in sought),
        seconds=seconds,
    )


def _found(one: Candidate, volume: str, pred: Lesions) -> FoundLesion:
    middle = one.box.mean(0)
    return FoundLesion(
        volume=volume,
        point_mm=(float(middle[0]), float(middle[1]), float(middle[2])),
        score=one.score,
        kind=pred.types[one.type].name,
        size_mm=one.long_mm,
    )


def _held_against(
    pred: Lesions, read: Sequence[ReadVolume], margin_mm: float
) -> Iterable[tuple[str, Marked, Mapping[float, float]]]:
    """Each type by itself, then all together, with the operating points that hold.

    Together: whatever type a mark was called.
    """
    names = [one.case.name for one in read]
    lesions = [lesion for one in read for lesion in one.lesions]
    found = [mark for one in read for mark in one.found]
    there = {lesion.kind for lesion in lesions if lesion.counts}
    numbers = {one.name: number for number, one in pred.types.items()}
    for name in (one for one in numbers if one in there):
        yield name, hold_type(name, read, margin_mm), pred.points_of(numbers[name])
    if there - set(numbers) or len(there) > 1:
        left = {one.name for one in pred.types.values() if one.reported and "" in there}
        marks = [one for one in found if one.kind in there | left]
        held = mark(names, lesions, marks, margin_mm=margin_mm)
        yield ANY, held, pred.operating_points


def hold_type(name: str, read: Sequence[ReadVolume], margin_mm: float) -> Marked:
    """Marks of one type against lesions of that type.

    On a lesion of another known type they are false, on one whose type is not known neither.
    """
    lesions = [
        replace(one, counts=one.counts and one.kind == name)
        for volume in read
        for one in volume.lesions
        if one.kind in (name, "") or not one.counts
    ]
    marks = [one for volume in read for one in volume.found if one.kind == name]
    return mark([one.case.name for one in read], lesions, marks, margin_mm=margin_mm)


_CROP_MM = 100.0
_CROP_PIXELS = 128


def crop_around(volume: Volume, lesion: TrueLesion) -> Crop:
    """The slice through a lesion's middle, 100 mm wide, nearest voxels; air outside.

    (rows, columns) of 128, the lesion's middle in the middle.
    """
    middle = (np.asarray(lesion.low_mm) + np.asarray(lesion.high_mm)) / 2
    at = np.linalg.solve(volume.grid.affine_lps_mm, np.append(middle, 1))[:3]
    reach = (np.arange(_CROP_PIXELS) + 0.5) / _CROP_PIXELS * _CROP_MM - _CROP_MM / 2
    rows, columns = (
        np.rint(at[axis] + reach / volume.grid.spacing_mm[axis]).astype(int) for axis in (1, 2)
    )
    plane = volume.array[int(np.clip(np.rint(at[0]), 0, len(volume.array) - 1))]
    inside = np.outer(
        (rows >= 0) & (rows < plane.shape[0]), (columns >= 0) & (columns < plane.shape[1])
    )
    held = plane[np.ix_(rows.clip(0, plane.shape[0] - 1), columns.clip(0, plane.shape[1] - 1))]
    return np.where(inside, held, np.float32(-1000)).astype(np.float32)
