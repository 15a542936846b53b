"""One evaluation from end to end."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from dicomnode import __version__
from dicomnode.domain.errors import StudyError
from dicomnode.evaluate.ablation import read_ablation
from dicomnode.evaluate.html import with_interval
from dicomnode.evaluate.key_slices import is_deep_lesion
from dicomnode.evaluate.lesions import LesionSummary, evaluate_lesions
from dicomnode.evaluate.lesions_page import sensitivities_said, write_lesions_report
from dicomnode.evaluate.page import write_report
from dicomnode.evaluate.pairs import patients_of
from dicomnode.evaluate.scoring import classes_of, score
from dicomnode.evaluate.segments import SegmentSummary, evaluate_segments
from dicomnode.evaluate.segments_page import write_segments_report
from dicomnode.evaluate.summary import Summary, summarise
from dicomnode.evaluate.truths import read_truths
from dicomnode.pipeline.bundle import BundleAlgorithm
from dicomnode.pipeline.discovery import BrokenAlgorithm, load_algorithm
from dicomnode.settings import Settings
from dicomnode.steps.installed import algorithms_of

_T = TypeVar("_T")


class Tick(Protocol):
    """Goes through what there is to do and shows how far it is; `rich`'s `Progress.track`."""

    def __call__(self, sequence: Iterable[_T]) -> Iterable[_T]:
        """What was given, one by one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked for on the command line."""

    algorithm: str
    data: Path
    out: Path
    split: str
    like_nih: bool
    box_frame: int | None
    box_labels: Mapping[str, str]
    lesion_types: Mapping[str, str]
    margin_mm: float
    draws: int
    device: str


def evaluate_folder(settings: Settings, asked: Asked, tick: Tick) -> str:
    """Score the bundle on the folder, write the report, say what was read and the chief figures.

    Raises:
        StudyError: no such algorithm, its findings cannot be evaluated, or no labelled images.
    """
    algorithm = _bundle(settings, asked.algorithm)
    kind = algorithm.manifest.outputs.pred.kind
    if kind == "segments":
        return _segments(algorithm, asked, tick)
    if kind == "lesions":
        return _lesions(algorithm, asked, tick)
    summary = _classes(algorithm, asked, tick)
    return _said(f"{summary.images} images", summary.patients, summary.refused, asked.out)


def _said(read: str, patients: int, refused: Mapping[str, str], out: Path) -> str:
    return f"{read} of {patients} patients, {len(refused)} refused; written to {out}"


def _segments(algorithm: BundleAlgorithm, asked: Asked, tick: Tick) -> str:
    summary = report_segments(
        algorithm, asked.data, asked.out, device=asked.device, draws=asked.draws, tick=tick
    )
    patients = patients_of([case.pair for case in summary.cases])
    dice = [
        f"  {one.name}: Dice {with_interval(one.dice)}, n {one.cases}" for one in summary.segments
    ]
    not_scored = [f"  not scored: {', '.join(summary.unmeant)}"] if summary.unmeant else []
    said = _said(f"{len(summary.cases)} images", patients, summary.refused, asked.out)
    return "\n".join([said, *dice, *not_scored])


def report_segments(
    algorithm: BundleAlgorithm, data: Path, out: Path, *, device: str, draws: int, tick: Tick
) -> SegmentSummary:
    """Score a bundle of segments on the outlined images below `data`, and write the report `out`.

    Raises:
        StudyError: no pairs, or labels that the bundle does not give.
    """
    summary = evaluate_segments(algorithm, data, device=device, draws=draws, tick=tick)
    read = [case for case in summary.cases if not case.refused]
    patients = patients_of([case.pair for case in summary.cases])
    speed = f"{np.median([case.seconds for case in read]):.1f}" if read else "-"
    about = _about(
        algorithm,
        ("Images", f"{len(summary.cases)} of {patients} patients"),
        ("Seconds an image, median", f"{speed} on {device}, without reading and drawing"),
    )
    write_segments_report(summary, out, about=about)
    return summary


def _lesions(algorithm: BundleAlgorithm, asked: Asked, tick: Tick) -> str:
    summary = report_lesions(
        algorithm,
        asked.data,
        asked.out,
        named=asked.lesion_types,
        margin_mm=asked.margin_mm,
        device=asked.device,
        draws=asked.draws,
        tick=tick,
        split=asked.split,
    )
    patients = len({one.case.patient for one in summary.volumes})
    said = _said(f"{len(summary.volumes)} volumes", patients, summary.refused, asked.out)
    return "\n".join([said, *(f"  {sensitivities_said(one)}" for one in summary.types)])


def report_lesions(
    algorithm: BundleAlgorithm,
    data: Path,
    out: Path,
    *,
    named: Mapping[str, str],
    margin_mm: float,
    device: str,
    draws: int,
    tick: Tick,
    split: str = "",
) -> LesionSummary:
    """Score a bundle of lesions on the marked volumes below `data`, and write the report `out`.

    Args: as `evaluate_lesions`.

    Raises:
        StudyError: no volumes, no truth, or none that the bundle looks for.
    """
    summary = evaluate_lesions(
        algorithm,
        data,
        named=named,
        margin_mm=margin_mm,
        device=device,
        draws=draws,
        tick=tick,
        split=split,
    )
    patients = len({one.case.patient for one in summary.volumes})
    seconds = [one.seconds for one in summary.volumes if not one.refused]
    around = f" widened by {margin_mm:g} mm" if margin_mm else ""
    key = [("A volume", "a key slice of DeepLesion: rates are false positives an image")]
    about = _about(
        algorithm,
        ("Volumes", f"{len(summary.volumes)} of {patients} patients"),
        *(key if is_deep_lesion(data) else []),
        ("A hit", f"the middle of a mark lies in the lesion's ball or box{around}"),
        ("Seconds a volume, median", f"{np.median(seconds):.1f} on {device}, without reading"),
    )
    write_lesions_report(summary, out, about=about)
    return summary


def _classes(algorithm: BundleAlgorithm, asked: Asked, tick: Tick) -> Summary:
    wanted = classes_of(algorithm)
    images = read_truths(asked.data, box_frame=asked.box_frame)
    chosen = [image for image in images if not asked.split or image.split == asked.split]
    if not chosen:
        raise StudyError(f"no image of {asked.data} is of the split {asked.split!r}")
    others = [image for image in images if asked.split and image.split != asked.split]
    scored = score(algorithm, chosen, device=asked.device, tick=tick)
    names = {one.name: one.name for one in wanted.classes.values() if one.boxes is not None}
    summary = summarise(
        scored,
        wanted,
        others,
        like_nih=asked.like_nih,
        box_labels={**names, **asked.box_labels},
        draws=asked.draws,
    )
    weighting = "to the frequencies of ChestX-ray14" if asked.like_nih else "none: as the folder is"
    speed = f"{np.median(summary.seconds):.2f}" if summary.seconds else "-"
    about = _about(
        algorithm,
        ("Images", f"{summary.images} of {summary.patients} patients"),
        ("Part", asked.split or "all of the folder"),
        ("Weighting", weighting),
        ("Seconds an image, median", f"{speed} on {asked.device}, from the file on"),
    )
    ablation = read_ablation(algorithm.root)
    write_report(summary, asked.out, about=about, ablation=ablation)
    return summary


def _bundle(settings: Settings, name: str) -> BundleAlgorithm:
    known = algorithms_of(settings).get(name)
    if known is None or isinstance(known, BrokenAlgorithm):
        fault = f": {known.fault}" if known else "; see `dicomnode algorithms`"
        raise StudyError(f"algorithm {name!r} cannot be used{fault}")
    loaded = load_algorithm(known.source)
    if not isinstance(loaded, BundleAlgorithm):
        raise StudyError(f"{name} is no bundle; only bundles are evaluated")
    return loaded


def _about(algorithm: BundleAlgorithm, *facts: tuple[str, str]) -> list[tuple[str, str]]:
    """What a report says of itself; `facts`: what it is about besides the model."""
    identity = algorithm.identity
    return [
        ("Algorithm", f"{identity.name} {identity.version}"),
        ("Use", identity.intended_use),
        ("Model (SHA-256)", identity.model_digest),
        *facts,
        ("Made by", f"dicomnode {__version__}"),
    ]
