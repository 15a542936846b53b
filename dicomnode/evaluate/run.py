"""One evaluation from end to end."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dicomnode import __version__
from dicomnode.domain.errors import StudyError
from dicomnode.evaluate.page import write_report
from dicomnode.evaluate.scoring import classes_of, score
from dicomnode.evaluate.summary import Summary, summarise
from dicomnode.evaluate.truths import Labelled, lists_positives_alone, read_truths
from dicomnode.pipeline.bundle import BundleAlgorithm
from dicomnode.pipeline.discovery import BrokenAlgorithm, load_algorithm
from dicomnode.settings import Settings
from dicomnode.steps.installed import algorithms_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked for on the command line."""

    algorithm: str
    data: Path
    out: Path
    split: str
    like_nih: bool
    box_frame: int
    box_labels: Mapping[str, str]
    draws: int
    device: str


def evaluate_folder(
    settings: Settings,
    asked: Asked,
    tick: Callable[[Iterable[Labelled]], Iterable[Labelled]],
) -> Summary:
    """Score the bundle on the folder, write the report, return its figures.

    Raises:
        StudyError: no such algorithm, none of classes, or no labelled images.
    """
    algorithm = _bundle(settings, asked.algorithm)
    wanted = classes_of(algorithm)
    images = read_truths(asked.data, box_frame=(asked.box_frame, asked.box_frame))
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
        named_only=lists_positives_alone(images),
        like_nih=asked.like_nih,
        box_labels={**names, **asked.box_labels},
        draws=asked.draws,
    )
    write_report(summary, asked.out, about=_about(algorithm, asked, summary))
    return summary


def _bundle(settings: Settings, name: str) -> BundleAlgorithm:
    known = algorithms_of(settings).get(name)
    if known is None or isinstance(known, BrokenAlgorithm):
        fault = f": {known.fault}" if known else "; see `dicomnode algorithms`"
        raise StudyError(f"algorithm {name!r} cannot be used{fault}")
    loaded = load_algorithm(known.source)
    if not isinstance(loaded, BundleAlgorithm):
        raise StudyError(f"{name} is no bundle; only bundles of classes are evaluated")
    return loaded


def _about(algorithm: BundleAlgorithm, asked: Asked, summary: Summary) -> list[tuple[str, str]]:
    identity = algorithm.identity
    weighting = "to the frequencies of ChestX-ray14" if asked.like_nih else "none: as the folder is"
    speed = f"{np.median(summary.seconds):.2f}" if summary.seconds else "-"
    return [
        ("Algorithm", f"{identity.name} {identity.version}"),
        ("Use", identity.intended_use),
        ("Model (SHA-256)", identity.model_digest),
        ("Images", f"{summary.images} of {summary.patients} patients"),
        ("Part", asked.split or "all of the folder"),
        ("Weighting", weighting),
        ("Seconds an image, median", f"{speed} on {asked.device}, from the file on"),
        ("Made by", f"dicomnode {__version__}"),
    ]
