"""The node's results on its own sample studies, with the findings they were written from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

from dicomnode.algorithm import Algorithm, AlgorithmIdentity, InputSpec, RunContext
from dicomnode.domain.findings import Finding, MeasurementFinding, SegmentFinding
from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid
from dicomnode.domain.results import USUAL_KINDS, EncodedObject, ResultKind
from dicomnode.domain.volumes import Volume
from dicomnode.encode.derivation import Derivation
from dicomnode.encode.results import encode_results
from dicomnode.pipeline.discovery import AlgorithmSource, load_algorithm
from dicomnode.settings import OutputSettings
from dicomnode.shipped import shipped
from dicomnode.steps.inference import RunTask, run_task
from dicomnode.testing.findings import PHANTOM_ALGORITHM

DERIVATION = Derivation(
    job_key="viewer",
    revision=1,
    made_at=datetime(2024, 1, 31, 12, tzinfo=UTC),
    software_versions=("dicomnode",),
)
SAMPLES = Path(str(files("dicomnode.testing") / "samples"))


@dataclass(frozen=True, kw_only=True)
class Case:
    """One study: what the algorithm said, and the objects that say it."""

    volume: Volume
    findings: tuple[Finding, ...]
    files: tuple[Path, ...]
    """Source images and results."""
    series: Mapping[ResultKind, SeriesUid]
    results: tuple[EncodedObject, ...] = ()

    @property
    def study(self) -> StudyUid:
        return self.volume.study_uid

    @property
    def images(self) -> tuple[InstanceUid, ...]:
        """One a slice."""
        return tuple(frame.sop_instance_uid for frame in self.volume.frames)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.volume.grid.shape[1:]

    @property
    def organs(self) -> tuple[SegmentFinding, ...]:
        return tuple(one for one in self.findings if isinstance(one, SegmentFinding))

    @property
    def measured(self) -> tuple[MeasurementFinding, ...]:
        return tuple(one for one in self.findings if isinstance(one, MeasurementFinding))


class _Remembering:
    """An algorithm that keeps what it was given and what it said."""

    def __init__(self, algorithm: Algorithm) -> None:
        self._algorithm = algorithm
        self.findings: tuple[Finding, ...] = ()
        self.volume: Volume | None = None

    @property
    def identity(self) -> AlgorithmIdentity:
        return self._algorithm.identity

    @property
    def needs(self) -> Mapping[str, InputSpec]:
        return self._algorithm.needs

    @property
    def time_limit_s(self) -> float:
        return self._algorithm.time_limit_s

    def run(self, inputs: Mapping[str, Volume], context: RunContext) -> Sequence[Finding]:
        self.volume = next(iter(inputs.values()))
        self.findings = tuple(self._algorithm.run(inputs, context))
        return self.findings


def run_on_sample(algorithm: str, sample: str, out: Path) -> Case:
    """Run a shipped algorithm on a shipped study, as the node does."""
    return run_on(algorithm, tuple(sorted((SAMPLES / sample).glob("*.dcm"))), sample, out)


def run_on(algorithm: str, images: tuple[Path, ...], name: str, out: Path) -> Case:
    """Run a shipped algorithm on a series, as the node does."""
    loaded = load_algorithm(AlgorithmSource(root=shipped("algorithms") / algorithm))
    remembering = _Remembering(loaded)
    task = RunTask(
        inputs={next(iter(loaded.needs)): images},
        derivation=replace(DERIVATION, job_key=f"viewer {name}"),
        out=out,
        output=OutputSettings(),
    )
    outcome = run_task(remembering, task, "cpu", lambda _fraction, _stage: None)
    volume = remembering.volume
    assert volume is not None
    return Case(
        volume=volume,
        findings=remembering.findings,
        files=(*images, *(made.path for made in outcome.objects)),
        series={made.kind: made.series_uid for made in outcome.objects},
        results=outcome.objects,
    )


def with_findings(
    case: Case,
    findings: tuple[Finding, ...],
    name: str,
    out: Path,
    kinds: frozenset[ResultKind] = USUAL_KINDS,
) -> Case:
    """The same images with results of another algorithm; `files` are those results alone."""
    made = encode_results(
        findings,
        case.volume,
        identity=PHANTOM_ALGORITHM,
        derivation=replace(DERIVATION, job_key=name),
        out=out,
        settings=OutputSettings(),
        kinds=kinds,
    )
    return Case(
        volume=case.volume,
        findings=findings,
        files=tuple(each.path for each in made if each.kind in kinds),
        series={each.kind: each.series_uid for each in made},
    )
