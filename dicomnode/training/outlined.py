"""A site's outlined images, and bundles of segments judged by them."""

from dataclasses import dataclass
from pathlib import Path

from dicomnode.evaluate.run import Tick, report_segments
from dicomnode.pipeline.bundle import BundleAlgorithm
from dicomnode.pipeline.manifest import Segments
from dicomnode.training.judging import Asked, Division, Figure, Judged
from dicomnode.training.parts import divide

_TITLE = "Dice on patients held out, with 95 % intervals"


def divide_outlined(asked: Asked, algorithm: BundleAlgorithm, tick: Tick) -> Division:
    """Implements `judging.Divide`."""
    pred = algorithm.manifest.outputs.pred
    assert isinstance(pred, Segments)
    first = 1 if pred.encoding == "channels" else 0
    meanings = {number + first: one.name for number, one in pred.segments.items()}
    parts = divide(asked.data, asked.out, meanings=meanings, share=asked.hold_out)
    learned, held_out = parts.learned, parts.held_out
    return Division(
        learned=learned.folder,
        said=f"Trained further on {learned.images} labelled images of {learned.patients} "
        "patients of this site.",
        judge=None
        if held_out is None
        else OutlinesHeldOut(folder=held_out.folder, asked=asked, tick=tick),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlinesHeldOut:
    """Dice of every segment. Implements `judging.Judge`."""

    folder: Path
    asked: Asked
    tick: Tick

    def __call__(self, algorithm: BundleAlgorithm, report: Path) -> Judged:
        """The figures; the whole report is written to `report`."""
        summary = report_segments(
            algorithm,
            self.folder,
            report,
            device=self.asked.device,
            draws=self.asked.draws,
            tick=self.tick,
        )
        figures = tuple(
            Figure(name=one.name, cases=one.cases, value=one.dice) for one in summary.segments
        )
        return Judged(title=_TITLE, figures=figures)
