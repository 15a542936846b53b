"""What `train` needs of a kind of truth: patients divided, and bundles judged by those held out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dicomnode.evaluate.run import Tick
from dicomnode.evaluation.ranking import Interval
from dicomnode.pipeline.bundle import BundleAlgorithm


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked for on the command line."""

    algorithm: str
    data: Path
    out: Path
    hold_out: float
    values: Mapping[str, str]
    """Of keys of the bundle's configuration."""
    dev: float
    """Share of patients that operating points are read from; of lesions alone."""
    lesion_types: Mapping[str, str]
    """Type in the truth -> type of the bundle; of lesions alone."""
    draws: int
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of one bundle."""

    name: str
    cases: int
    """Images, or lesions, that it was counted on."""
    value: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What was found on patients held out."""

    title: str
    figures: tuple[Figure, ...]
    """The same names in the same order for every bundle that one division judges."""


class Judge(Protocol):
    """Figures of a bundle on patients held out.

    Implemented by `outlined.OutlinesHeldOut` (segments) and `marked.MarksHeldOut` (lesions).
    """

    def __call__(self, algorithm: BundleAlgorithm, report: Path) -> Judged:
        """The figures; the whole report is written to `report`."""
        ...


class Settle(Protocol):
    """What follows from new weights. Implemented by `points.PointsFromDev` (lesions)."""

    def __call__(self, shipped: Path, trained: Path, changed: Path) -> str:
        """Lay files for the bundle into `changed`, and say in a sentence what they are.

        `shipped` is the bundle as it was, `trained` with its new weights.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """A site's folder, divided by patient."""

    learned: Path
    """Folder for the bundle's training."""
    said: str
    """A sentence on what is learned from, for every SR; empty: the bundle's training says it."""
    told: tuple[str, ...] = ()
    """Lines for the person who waits, before training begins."""
    judge: Judge | None = None
    """None: nobody is held out."""
    settle: Settle | None = None
    """None: nothing follows from the weights."""


class Divide(Protocol):
    """Divides a folder of one kind of truth, and checks that there is something to learn from.

    Implemented by `outlined.divide_outlined` (segments) and `marked.divide_marked` (lesions).
    """

    def __call__(self, asked: Asked, algorithm: BundleAlgorithm, tick: Tick) -> Division:
        """The parts, below `asked.out`; `algorithm` is the bundle as it was.

        Raises:
            StudyError: the folder cannot be used.
        """
        ...
