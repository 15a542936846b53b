"""Running an algorithm on a folder and sending files, without a node."""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from dicomnode import __version__
from dicomnode.assembly.headers import read_header
from dicomnode.domain.errors import (
    ConfigError,
    InstanceUnreadable,
    InvalidUid,
    PipelineError,
    StudyError,
)
from dicomnode.domain.outcomes import RunOutcome
from dicomnode.domain.results import USUAL_KINDS, EncodedObject, ResultKind
from dicomnode.domain.studies import SeriesFacts
from dicomnode.encode.derivation import Derivation
from dicomnode.offline import read_folder
from dicomnode.pipeline.discovery import AlgorithmSource, BrokenAlgorithm, load_algorithm
from dicomnode.pipeline.heap import keep_freed_memory
from dicomnode.settings import Confirm, Destination, Form, Settings
from dicomnode.steps.inference import Progress, RunTask, run_task
from dicomnode.steps.installed import algorithms_of


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSeries:
    """One series to run on."""

    facts: SeriesFacts
    files: tuple[Path, ...]

    @property
    def description(self) -> str:
        """For people."""
        words = next(iter(self.facts.values.get("SeriesDescription", ())), "")
        return f"{self.facts.modality} {words}".strip()

    @property
    def folder(self) -> str:
        """Name of its result folder; from a digest, since a peer chose the UID."""
        return hashlib.sha256(self.facts.series_uid.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A series or file that is not run on, and why."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What `run` will do."""

    source: AlgorithmSource
    input_name: str
    series: tuple[PlannedSeries, ...]
    skipped: tuple[Skipped, ...]


def fitting_series(settings: Settings, name: str, paths: Iterable[Path]) -> Plan:
    """The series below a folder whose modality the algorithm reads.

    Raises:
        StudyError: there is no such algorithm, or it is broken, or needs several inputs.
    """
    known = algorithms_of(settings).get(name)
    if known is None or isinstance(known, BrokenAlgorithm):
        fault = f": {known.fault}" if known else "; see `dicomnode algorithms`"
        raise StudyError(f"algorithm {name!r} cannot be used{fault}")
    if len(known.needs) != 1:
        raise StudyError(f"{name} needs {len(known.needs)} inputs; run it by a rule in the node")
    input_name, spec = next(iter(known.needs.items()))
    folder = read_folder(paths)
    series, skipped = [], [Skipped(what=str(p), reason=why) for p, why in folder.unreadable]
    for uid, facts in folder.series.items():
        planned = PlannedSeries(facts=facts, files=folder.files[uid])
        if facts.modality in spec.modalities:
            series.append(planned)
        else:
            reason = f"{name} reads {', '.join(sorted(spec.modalities))}"
            skipped.append(Skipped(what=planned.description, reason=reason))
    return Plan(
        source=known.source, input_name=input_name, series=tuple(series), skipped=tuple(skipped)
    )


def run_series(
    settings: Settings,
    plan: Plan,
    series: PlannedSeries,
    *,
    out: Path,
    device: str,
    progress: Progress,
    forms: Collection[Form] = (),
) -> RunOutcome | Skipped:
    """Run on one series; what the algorithm or the images refuse comes back with the reason.

    SEG and SR are always made, and whatever else is in `forms`.
    """
    keep_freed_memory()
    task = RunTask(
        inputs={plan.input_name: series.files},
        derivation=Derivation(
            job_key=f"offline {series.facts.series_uid}",
            revision=1,
            made_at=datetime.now(UTC).replace(microsecond=0),
            software_versions=(f"dicomnode {__version__}",),
        ),
        out=out,
        memory_bytes=settings.flow.memory_bytes,
        output=settings.output,
        lesions=settings.lesions,
        kinds=USUAL_KINDS.union(form.kind for form in forms),
    )
    try:
        return run_task(load_algorithm(plan.source), task, device, progress)
    except PipelineError as exc:
        return Skipped(what=series.description, reason=f"{type(exc).__name__}: {exc}")


def destination_named(settings: Settings, name: str) -> Destination:
    """A configured destination, or one written as `AE@host:port`.

    Raises:
        ConfigError: it is neither.
    """
    known = settings.destination(name)
    if known is not None:
        return known
    ae_title, _, address = name.partition("@")
    host, _, port = address.rpartition(":")
    if not (ae_title and host and port.isdigit()):
        raise ConfigError([f"{name!r} is no configured destination and not AE@host:port"])
    try:
        return Destination(
            name="named", ae_title=ae_title, host=host, port=int(port), confirm=Confirm.NONE
        )
    except ValidationError as exc:
        faults = [
            f"{name!r}: {fault['msg'].removeprefix('Value error, ')}" for fault in exc.errors()
        ]
        raise ConfigError(faults) from exc


def objects_in(
    paths: Sequence[Path],
) -> tuple[list[EncodedObject], list[tuple[Path, str]]]:
    """DICOM files as objects to send, and the other files with the reason."""
    objects, left_out = [], []
    for path in paths:
        try:
            header = read_header(path)
        except (InstanceUnreadable, InvalidUid) as exc:
            left_out.append((path, str(exc)))
            continue
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        objects.append(
            EncodedObject(
                kind=ResultKind.OTHER,
                sop_instance_uid=header.sop_instance_uid,
                sop_class_uid=next(iter(header.series_values.get("SOPClassUID", ())), ""),
                study_uid=header.study_uid,
                series_uid=header.series_uid,
                path=path,
                sha256=digest,
            )
        )
    return objects, left_out
