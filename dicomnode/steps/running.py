"""One job: from its images to recorded results."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Protocol, TypedDict, TypeVar

from dicomnode import __version__
from dicomnode.assembly.headers import read_header
from dicomnode.domain.device_memory import MemoryLine, Shortage
from dicomnode.domain.errors import (
    BundleInvalid,
    DicomNodeError,
    DiskFault,
    InputRefused,
    InstanceUnreadable,
    Interrupted,
    NotWanted,
    StudyError,
    VolumeError,
)
from dicomnode.domain.files import ImageFile
from dicomnode.domain.identifiers import InstanceUid, JobId
from dicomnode.domain.instances import InstanceHeader
from dicomnode.domain.jobs import Job, JobState
from dicomnode.domain.outcomes import RunOutcome
from dicomnode.domain.results import EncodedObject, ResultKind, result_folder
from dicomnode.domain.studies import ClosingReason
from dicomnode.domain.triage import Flag
from dicomnode.encode.derivation import Derivation, Predecessor
from dicomnode.pipeline.admission import Seat
from dicomnode.pipeline.child import Loading
from dicomnode.pipeline.discovery import AlgorithmDescription
from dicomnode.rules.alerting import flag_of, rule_named
from dicomnode.steps.admitting import predicted
from dicomnode.steps.forms import kinds_to_make, parcels_of
from dicomnode.steps.inference import RunTask, load_in_child, read_outcome, run_in_child
from dicomnode.steps.node import Node
from dicomnode.store.closing import held_instances, snapshot
from dicomnode.store.encoded import made_before
from dicomnode.store.jobs import (
    end_job_by_error,
    load_job,
    retry_job,
    rule_set_text,
    start_job,
)
from dicomnode.store.lesions import priors_of
from dicomnode.store.memory_use import note_wait
from dicomnode.store.outcomes import record_outcome
from dicomnode.store.predecessors import settle_predecessor
from dicomnode.store.unfinished import UnfinishedJob

DEADLINE_SLACK = timedelta(minutes=5)
LOOK_FOR_CANCEL_S = 0.5
# A disk that is full or fails is no fault of the job: about four hours, rather than three tries.
TRIES_FOR_DISK = 32
LONGEST_DELAY_S = 600.0

R = TypeVar("R")
_Images = Mapping[str, Sequence[ImageFile]]


class Children(Protocol):
    """Runs functions in processes that can be killed; `pipeline.child.InferenceChildren` is one."""

    def submit(
        self,
        function: Callable[..., R],
        args: Sequence[object],
        *,
        timeout_s: float,
        device: str = "",
        first: Loading | None = None,
    ) -> Future[R]:
        """Call `function(device, *args)` on that device; cancelling the future kills the call.

        `first` is done in the same process before, within a limit of its own.
        """
        ...


class Ran(TypedDict):
    """How a try ended, as the engine remembers it."""

    made: bool
    retry_s: float | None


def run_job(node: Node, children: Children, job_id: JobId) -> Ran:
    """Run a job in a child process. May be repeated: equal inputs make equal files.

    Every way to fail ends in the job's row, with a reason; nothing is raised for it.

    Raises:
        Interrupted: the node is stopping.
    """
    settle_predecessor(node.database, job_id)
    job = load_job(node.database, job_id)
    try:
        known = _algorithm(node, job)
        if known.source.calibrations is not None:
            node.files.keep_current(known.source.calibrations)
        images = _images(node, job)
        with node.files.at_hand([image for held in images.values() for image in held]):
            if not _run_once(node, children, job, known, images=images):
                return Ran(made=False, retry_s=None)
        node.files.hand_back(_results(node, job_id), partial(_still_mine, node))
    except NotWanted:
        return Ran(made=False, retry_s=None)
    except Interrupted:
        raise
    except DicomNodeError as exc:
        return _end_try(node, job, exc)
    return Ran(made=True, retry_s=None)


def _shortage(seat: Seat, need: tuple[int, MemoryLine] | None) -> Shortage | None:
    """What a run has to heed on a device that is too small for it."""
    if need is None or seat.budget_bytes is None or not seat.is_too_small:
        return None
    return Shortage(need_bytes=need[0], budget_bytes=seat.budget_bytes, line=need[1])


def _wait_for_device(node: Node, job: JobId, why: str) -> bool:
    """Write down why it waits; False once a person has taken the job back."""
    if why:
        note_wait(node.database, job, why)
    return not _is_cancelled(node, job)


def _run_once(
    node: Node, children: Children, job: Job, known: AlgorithmDescription, *, images: _Images
) -> bool:
    """When its turn has come, until it has ended; False if the job is not to be run any more."""
    need = predicted(node, job, known, on_cuda=node.admission.on_cuda)
    waits = partial(_wait_for_device, node, job.id)
    with node.admission.seat(need and need[0], waits) as seat:
        limit_s = known.time_limit_s * node.settings.flow.time_limit_factor
        load_s = node.settings.flow.load_limit_s
        now = node.clock()
        deadline = now + timedelta(seconds=load_s + limit_s) + DEADLINE_SLACK
        if not start_job(node.database, job.id, deadline=deadline, now=now, worker=node.worker):
            return False
        task = _task(node, job, images, _shortage(seat, need))
        # On a device that is too small the run decides where the network goes.
        load = (known.source, task.shortage is None)
        running = children.submit(
            run_in_child,
            (known.source, task),
            timeout_s=limit_s,
            device=seat.device,
            first=Loading(function=load_in_child, args=load, limit_s=load_s),
        )
        _wait(running, cancelled=lambda: _is_cancelled(node, job.id))
        return True


def _still_mine(node: Node) -> None:
    """Raises `TakenOver` if this process has lost its work: every write begins by asking that."""
    with node.database.writing():
        pass


def _results(node: Node, job: JobId) -> Path:
    return result_folder(node.settings.data_dir, job)


def _images(node: Node, job: Job) -> _Images:
    """Input name -> the files of its series."""
    return {
        name: held_instances(node.database, job.revision_id, series)
        for name, series in job.inputs.items()
    }


def _algorithm(node: Node, job: Job) -> AlgorithmDescription:
    known = node.algorithms.get(job.algorithm)
    if known is None:
        fault = node.broken.get(job.algorithm, "it is not installed any more")
        raise BundleInvalid(f"algorithm {job.algorithm!r} cannot be used: {fault}")
    return known


def _wait(running: Future[RunOutcome], *, cancelled: Callable[[], bool]) -> None:
    """Until the run has ended; a person's cancelling kills it."""
    while not running.done():
        wait([running], timeout=LOOK_FOR_CANCEL_S)
        if not running.done() and cancelled():
            running.cancel()
    try:
        running.result()
    except CancelledError:
        if cancelled():
            raise StudyError("cancelled by a person") from None
        # The node is stopping. Ending the step as anything else would end the job.
        raise Interrupted("the node was stopped during the run") from None


def _is_cancelled(node: Node, job_id: JobId) -> bool:
    return load_job(node.database, job_id).state is JobState.CANCELLED


def _task(node: Node, job: Job, images: _Images, shortage: Shortage | None) -> RunTask:
    closed = snapshot(node.database, job.revision_id)
    priors = priors_of(node.database, job) if node.settings.lesions.follow_up else None
    revised = job.predecessor.objects if job.predecessor else ()
    return RunTask(
        inputs={name: tuple(one.path for one in held) for name, held in images.items()},
        derivation=Derivation(
            job_key=job.id,
            revision=job.revision,
            made_at=job.created_at,
            software_versions=(f"dicomnode {__version__}",),
            predecessors=_reports_among(revised),
            earlier_runs=_reports_among(made_before(node.database, job.id)),
            complete=closed.reason is not ClosingReason.HARD_LIMIT,
        ),
        out=_results(node, job.id),
        memory_bytes=node.settings.flow.memory_bytes,
        shortage=shortage,
        output=node.settings.output,
        lesions=node.settings.lesions,
        priors=priors,
        kinds=kinds_to_make(node.settings, job.destinations),
    )


def _reports_among(earlier: Sequence[EncodedObject]) -> tuple[Predecessor, ...]:
    return tuple(
        Predecessor(
            study_uid=report.study_uid,
            series_uid=report.series_uid,
            sop_class_uid=report.sop_class_uid,
            sop_instance_uid=report.sop_instance_uid,
            kind=report.kind,
        )
        for kind in (ResultKind.SR, ResultKind.LABELMAP_REPORT)
        for report in earlier
        if report.kind is kind
    )


def _end_try(node: Node, job: Job, error: DicomNodeError) -> Ran:
    now = node.clock()
    most = TRIES_FOR_DISK if isinstance(error, DiskFault) else node.settings.flow.max_attempts
    if error.retryable and job.attempt < most:
        delay_s = _delay_s(node, job.attempt)
        retry_job(
            node.database,
            job.id,
            failed_attempt=job.attempt,
            error=error,
            delay_s=delay_s,
            now=now,
        )
        return Ran(made=False, retry_s=delay_s)
    node.files.let_go(_results(node, job.id))
    refused = isinstance(error, VolumeError | InputRefused)
    state = JobState.REFUSED if refused else JobState.FAILED
    end_job_by_error(node.database, job.id, state, error, now)
    return Ran(made=False, retry_s=None)


def _delay_s(node: Node, failed_attempt: int) -> float:
    return min(node.settings.flow.retry_s * 2.0 ** min(failed_attempt - 1, 30), LONGEST_DELAY_S)


def record_job(node: Node, job_id: JobId) -> list[str]:
    """Put what the run left on disk into the index; return the destinations to send it to."""
    job = load_job(node.database, job_id)
    folder = _results(node, job_id)
    node.files.bring_back(folder)
    outcome = read_outcome(folder)
    parcels = parcels_of(outcome.objects, node.settings, job.destinations)
    kept = record_outcome(
        node.database,
        job,
        outcome,
        node.clock(),
        parcels=parcels,
        headers=_headers_of(outcome),
        flag=_flag(node, job, outcome),
    )
    node.files.let_go(folder)
    return list(job.destinations) if kept else []


def _flag(node: Node, job: Job, outcome: RunOutcome) -> Flag | None:
    """What the alerts of the job's rule say, in the version of the rules it was made by."""
    text = rule_set_text(node.database, job.rule_set_digest)
    rule = rule_named(text, job.rule_name) if text is not None else None
    return flag_of(rule, outcome.findings) if rule is not None else None


def _headers_of(outcome: RunOutcome) -> dict[InstanceUid, InstanceHeader]:
    headers = {}
    for made in outcome.objects:
        # Searches can do without; what is wrong with the file, its delivery will tell.
        with suppress(InstanceUnreadable, DiskFault):
            headers[made.sop_instance_uid] = read_header(made.path)
    return headers


def try_again(node: Node, job: UnfinishedJob) -> float | None:
    """Queue a job whose workflow met an error of none of our kinds; the delay of its next try.

    The index may have been on a full disk just then, or the outcome not readable for a moment.
    None: it has had all its tries.
    """
    if job.attempt >= node.settings.flow.max_attempts:
        return None
    delay_s = _delay_s(node, job.attempt)
    error = StudyError("its workflow met an error; see the node's log")
    retry_job(
        node.database,
        JobId(job.id),
        failed_attempt=job.attempt,
        error=error,
        delay_s=delay_s,
        now=node.clock(),
    )
    return delay_s


def give_up_job(node: Node, job: UnfinishedJob, engine_state: str) -> None:
    """Fail a job whose workflow ended without saying how, e.g. having killed the node thrice."""
    error = StudyError(f"its workflow ended as {engine_state}; see the node's log, then rerun it")
    end_job_by_error(node.database, JobId(job.id), JobState.FAILED, error, node.clock())
