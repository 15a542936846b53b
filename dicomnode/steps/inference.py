"""One run of one algorithm: read, infer, encode, check. Runs in a child process; knows no database.

The same code serves the node's jobs and `dicomnode run`.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import TypeAdapter

from dicomnode.algorithm import Algorithm, AlgorithmIdentity, LesionLimits, Loadable, RunContext
from dicomnode.domain.device_memory import Shortage
from dicomnode.domain.findings import Finding, LesionFinding
from dicomnode.domain.follow_up import Priors
from dicomnode.domain.outcomes import RunOutcome, record_of
from dicomnode.domain.results import OUTCOME_FILE, PREVIEW_FILE, USUAL_KINDS, ResultKind
from dicomnode.domain.volumes import Volume
from dicomnode.encode.derivation import Derivation, ResultUids
from dicomnode.encode.preview import draw_overlay
from dicomnode.encode.results import encode_results
from dicomnode.logs import silence_readers
from dicomnode.pipeline.discovery import AlgorithmSource, load_algorithm
from dicomnode.pipeline.follow_up import follow_up
from dicomnode.pipeline.peak import peak_of
from dicomnode.pipeline.volume import read_series
from dicomnode.settings import LesionSettings, OutputSettings

_FORMS = {
    ResultKind.SECONDARY_CAPTURE: "the secondary capture",
    ResultKind.GSPS: "the presentation state",
    ResultKind.KOS: "the key object selection",
}

_OUTCOME = TypeAdapter(RunOutcome)

Progress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTask:
    """Everything a run needs, handed to the child process."""

    inputs: Mapping[str, tuple[Path, ...]]
    """Input name -> the files of its series; the first is the one findings lie on."""
    derivation: Derivation
    """`software_versions` of the node; the bundle's own are added here."""
    out: Path
    """Folder for the objects, the preview and `findings.json`, which is written last."""
    output: OutputSettings
    lesions: LesionSettings = field(default_factory=LesionSettings)
    priors: Priors | None = None
    """Earlier studies of the patient; None: lesions are not compared."""
    kinds: frozenset[ResultKind] = USUAL_KINDS
    """What is wanted of the results; SEG and SR are always made."""
    shortage: Shortage | None = None
    """Set where the device is known to be too small for the whole."""
    memory_bytes: int | None = None
    """The host's memory that the run may take; None: what is free."""


def load_in_child(device: str, source: AlgorithmSource, with_network: bool) -> None:
    """Load what `run_in_child` keeps, ahead of it, for a child process.

    Raises:
        BundleInvalid, OutOfMemory: as the run would.
    """
    silence_readers()
    algorithm = load_algorithm(source)
    if with_network and isinstance(algorithm, Loadable):
        algorithm.load(device)


def run_in_child(device: str, source: AlgorithmSource, task: RunTask) -> RunOutcome:
    """`run_task` for a child process, which keeps the algorithm loaded between calls."""
    silence_readers()
    return run_task(load_algorithm(source), task, device, lambda _fraction, _stage: None)


def run_task(algorithm: Algorithm, task: RunTask, device: str, progress: Progress) -> RunOutcome:
    """Read the inputs, run, encode and check; leave everything in `task.out`.

    Raises:
        VolumeError, AlgorithmError, EncodeError: nothing usable is left behind.
    """
    task.out.mkdir(parents=True, exist_ok=True)
    timer = _Timer()
    with timer.stage("read"):
        progress(0.0, "reading")
        volumes = {name: read_series(paths) for name, paths in task.inputs.items()}
    source = next(iter(volumes.values()))
    with (
        timer.stage("infer"),
        TemporaryDirectory(dir=task.out, prefix=".scratch-") as scratch,
        peak_of(device) as peak,
    ):
        progress(0.2, "running")
        context = RunContext(
            device=device,
            scratch=Path(scratch),
            progress=progress,
            memory_bytes=task.memory_bytes,
            shortage=task.shortage,
            lesions=LesionLimits(
                false_positives_per_volume=task.lesions.false_positives_per_volume,
                most=task.lesions.most,
            ),
        )
        findings = algorithm.run(volumes, context)
        # What was cut or computed elsewhere says nothing of what the whole takes.
        peak_bytes = None if context.notes else peak()
    source = replace(source, warnings=(*source.warnings, *context.notes))
    followed = None
    if task.priors is not None and _can_follow(findings, source, task.priors):
        with timer.stage("compare"):
            progress(0.7, "comparing with earlier studies")
            uids = ResultUids.of(task.derivation, algorithm.identity, source)
            new = {one.name: uids.tracking(one.name) for one in findings}
            followed = follow_up(findings, source, task.priors, new)
            findings = followed.findings
    failed: list[str] = []
    with timer.stage("encode"):
        progress(0.8, "writing results")
        objects = encode_results(
            findings,
            source,
            identity=algorithm.identity,
            derivation=task.derivation,
            out=task.out,
            settings=task.output,
            kinds=task.kinds,
            do_without=lambda kind, why: failed.append(f"{_FORMS[kind]} was not made: {why}"),
        )
    with timer.stage("draw"):
        progress(0.9, "drawing")
        preview = draw_overlay(source, findings, task.out / PREVIEW_FILE)
    outcome = RunOutcome(
        **_identity(algorithm.identity),
        device=device,
        findings=tuple(
            replace(record_of(one), lesion=followed.lesions.get(one.name) if followed else None)
            for one in findings
        ),
        objects=objects,
        preview=preview,
        # Reports say it of the algorithm: here it is for the story.
        warnings=(*source.warnings, *failed, *filter(None, [algorithm.identity.calibrated])),
        seconds=timer.seconds,
        voxels=sum(prod(volume.grid.shape) for volume in volumes.values()),
        peak_bytes=peak_bytes,
        body=followed.body if followed else None,
        compared=followed.compared if followed else (),
    )
    write_outcome(outcome, task.out)
    progress(1.0, "done")
    return outcome


def _can_follow(findings: Sequence[Finding], source: Volume, priors: Priors) -> bool:
    """Lesions in a CT; or none, where earlier ones had some."""
    if source.modality != "CT" or source.grid.frame_of_reference_uid is None:
        return False
    return bool(priors.studies) or any(isinstance(one, LesionFinding) for one in findings)


def _identity(identity: AlgorithmIdentity) -> dict[str, str]:
    return {
        "algorithm": identity.name,
        "algorithm_version": identity.version,
        "model_digest": identity.model_digest,
    }


def write_outcome(outcome: RunOutcome, out: Path) -> Path:
    """Write `findings.json`, flushed before it gets its name; paths in it are relative to `out`."""
    portable = replace(
        outcome,
        objects=tuple(replace(made, path=made.path.relative_to(out)) for made in outcome.objects),
        preview=outcome.preview.relative_to(out) if outcome.preview else None,
    )
    path = out / OUTCOME_FILE
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(_OUTCOME.dump_python(portable, mode="json"), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return path


def read_outcome(out: Path) -> RunOutcome:
    """What an earlier run in this folder left."""
    outcome = _OUTCOME.validate_json((out / OUTCOME_FILE).read_bytes())
    return replace(
        outcome,
        objects=tuple(replace(made, path=out / made.path) for made in outcome.objects),
        preview=out / outcome.preview if outcome.preview else None,
    )


class _Timer:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 3)
