"""`dicomnode evaluate` for bundles of segments: run on every pair, compared with the truth."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dicomnode.algorithm import RunContext
from dicomnode.domain.codes import ANATOMICAL_STRUCTURE
from dicomnode.domain.errors import PipelineError, StudyError
from dicomnode.domain.findings import SegmentFinding
from dicomnode.encode.preview import draw_overlay
from dicomnode.evaluate.names import meanings_for, unmeant
from dicomnode.evaluate.pairs import Pair, read_image, read_pairs, read_truth
from dicomnode.evaluation.masks import (
    Agreement,
    Fit,
    fit_of,
    limits_of_agreement,
    mean_interval,
)
from dicomnode.evaluation.ranking import Interval
from dicomnode.pipeline.bundle import BundleAlgorithm
from dicomnode.pipeline.manifest import Segments

_TRUTH = (255, 255, 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentedCase:
    """One image after the run."""

    pair: Pair
    refused: str
    """Why there is nothing to score; empty if there is."""
    fits: Mapping[str, Fit]
    """Segment -> how well it fits, for every segment that the truth knows."""
    seconds: float
    picture: bytes = b""
    """PNG: what was found in colour, the truth white."""

    @property
    def worst(self) -> float:
        """The lowest Dice of a segment that is there; 1 if none is."""
        known = [fit.dice for fit in self.fits.values() if fit.true_ml > 0]
        return min(known, default=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFigures:
    """What was measured of one segment, over the cases whose truth holds it."""

    name: str
    cases: int
    dice: Interval
    asd_mm: Interval
    hd95_mm: Interval
    error_ml: Interval
    """Found minus true volume."""
    limits_ml: Agreement
    missed: int
    """Cases with it in which nothing was found."""
    absent: int
    """Cases without it."""
    false_ml: Interval
    """Volume found in those."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentSummary:
    """A whole evaluation."""

    cases: tuple[SegmentedCase, ...]
    segments: tuple[SegmentFigures, ...]
    unmeant: Sequence[str] = ()
    """Labels of the truth that are none of the bundle's segments."""

    @property
    def refused(self) -> Mapping[str, str]:
        """Image -> why it was refused."""
        return {case.pair.name: case.refused for case in self.cases if case.refused}


def evaluate_segments(
    algorithm: BundleAlgorithm,
    data: Path,
    *,
    device: str,
    draws: int,
    tick: Callable[[Sequence[Pair]], Iterable[Pair]],
) -> SegmentSummary:
    """Run the bundle on every pair below `data` and compare.

    Raises:
        StudyError: no pairs, or labels that the bundle does not give.
    """
    pred = algorithm.manifest.outputs.pred
    if pred.kind != "segments":
        raise StudyError(f"{algorithm.identity.name} gives no segments")
    pairs, said = read_pairs(data)
    labels = _meanings(pred, said)
    cases = [_scored(algorithm, pair, labels, device) for pair in tick(pairs)]
    names = list(dict.fromkeys(labels.values()))
    figures = tuple(_figures(name, cases, draws) for name in names)
    left_out = unmeant(said, labels)
    return SegmentSummary(cases=tuple(cases), segments=figures, unmeant=left_out)


def _meanings(pred: Segments, said: Mapping[int, str]) -> dict[int, str]:
    """Label in the truth -> segment. Several labels may mean one segment (lobes of a lung)."""
    if not said:
        first = 1 if pred.encoding == "channels" else 0
        return {number + first: segment.name for number, segment in pred.segments.items()}
    return meanings_for(said, {segment.name for segment in pred.segments.values()})


def _scored(
    algorithm: BundleAlgorithm, pair: Pair, labels: Mapping[int, str], device: str
) -> SegmentedCase:
    input_name, spec = next(iter(algorithm.needs.items()))
    began = time.monotonic()
    try:
        image = read_image(pair, sorted(spec.modalities)[0])
        truth = read_truth(pair.truth, image.grid)
        began = time.monotonic()
        with TemporaryDirectory() as scratch:
            context = RunContext(device=device, scratch=Path(scratch))
            findings = algorithm.run({input_name: image}, context)
            seconds = time.monotonic() - began
            found = {one.name: one for one in findings if isinstance(one, SegmentFinding)}
            nothing = np.zeros(image.grid.shape, dtype=bool)
            fits, drawn = {}, []
            for name in dict.fromkeys(labels.values()):
                true = np.isin(truth, [label for label, means in labels.items() if means == name])
                mask = found[name].mask if name in found else nothing
                fits[name] = fit_of(mask, true, image.grid.spacing_mm, image.grid.voxel_mm3)
                drawn += [replace(found[name], measurements=())] if name in found else []
                drawn += [_truth_finding(name, true)] if true.any() else []
            picture = b""
            if drawn:
                path = draw_overlay(image, drawn, Path(scratch) / "drawn.png", title=pair.name)
                picture = path.read_bytes()
    except PipelineError as exc:
        reason = f"{type(exc).__name__}: {exc}"
        seconds = time.monotonic() - began
        return SegmentedCase(pair=pair, refused=reason, fits={}, seconds=seconds)
    return SegmentedCase(pair=pair, refused="", fits=fits, seconds=seconds, picture=picture)


def _truth_finding(
    name: str, mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> SegmentFinding:
    return SegmentFinding(
        name=f"{name}, truth",
        category=ANATOMICAL_STRUCTURE,
        type=ANATOMICAL_STRUCTURE,
        laterality=None,
        color=_TRUTH,
        mask=mask,
    )


def _figures(name: str, cases: Sequence[SegmentedCase], draws: int) -> SegmentFigures:
    read = [case for case in cases if name in case.fits]
    there = [case for case in read if case.fits[name].true_ml > 0]
    without = [case for case in read if case.fits[name].true_ml == 0]

    def over(chosen: Sequence[SegmentedCase], value: Callable[[Fit], float]) -> Interval:
        values = np.array([value(case.fits[name]) for case in chosen], dtype=np.float64)
        return mean_interval(values, [case.pair.patient for case in chosen], draws=draws)

    found = np.array([case.fits[name].found_ml for case in there])
    true = np.array([case.fits[name].true_ml for case in there])
    return SegmentFigures(
        name=name,
        cases=len(there),
        dice=over(there, lambda fit: fit.dice),
        asd_mm=over(there, lambda fit: fit.asd_mm),
        hd95_mm=over(there, lambda fit: fit.hd95_mm),
        error_ml=over(there, lambda fit: fit.error_ml),
        limits_ml=limits_of_agreement(found, true),
        missed=sum(case.fits[name].found_ml == 0 for case in there),
        absent=len(without),
        false_ml=over(without, lambda fit: fit.found_ml),
    )
