"""Commands by which a person sees and steers jobs: queue, rerun, cancel, dismiss, resend, pause."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from dicomnode.cli.common import SettingsPath, console, settings_from
from dicomnode.cli.stories import JOB_DIGITS
from dicomnode.domain.errors import StudyError
from dicomnode.domain.matching import Priority

_URGENCY = {one.value: one.name.lower() for one in Priority}
JobArgument = Annotated[
    str, typer.Argument(help="Job id, or its first digits as `dicomnode queue` shows them.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(queue)
    steering = (rerun, rerun_failed, cancel, dismiss, resend, resend_refused, pause, resume)
    for command in steering:
        app.command(rich_help_panel="Steering")(command)


def queue(
    settings: SettingsPath = None,
    limit: Annotated[int, typer.Option(help="At most so many that wait.")] = 20,
) -> None:
    """Show which models run where, what waits, and why.

    Example: dicomnode queue
    """
    from dicomnode.index import existing_database
    from dicomnode.store.workers import queue_told

    told = queue_told(existing_database(settings_from(settings)), datetime.now(UTC), limit=limit)
    if told.pause is not None:
        console.print(f"models are paused by {told.pause.by}: {told.pause.reason}", style="yellow")
    table = Table(box=None)
    # What a command takes is never broken; the rest gives way on a narrow terminal.
    table.add_column("job", no_wrap=True, min_width=JOB_DIGITS)
    columns = ("accession", "algorithm", "priority", "state", "try", "worker")
    for column in (*columns, "why it waits"):
        table.add_column(column, overflow="fold")
    for job in (*told.running, *told.waiting):
        why = "; ".join(part for part in (job.waits_for, job.reason) if part)
        urgency = _URGENCY.get(job.priority, str(job.priority))
        row = (job.id[:JOB_DIGITS], job.accession_number, job.algorithm, urgency, job.state)
        table.add_row(*row, str(job.attempt), job.worker, why)
    console.print(table if table.row_count else "nothing runs, nothing waits")
    left = told.waiting_count - len(told.waiting)
    if left > 0:
        console.print(f"and {left} more that wait")


def rerun(job: JobArgument, settings: SettingsPath = None) -> None:
    """Run a job that has ended once more. The node takes it up within seconds.

    Equal inputs and models make the same objects again, so nothing is doubled in the PACS.
    Example: dicomnode rerun 219034871
    """
    from dicomnode.index import existing_database
    from dicomnode.store.jobs import rerun_job
    from dicomnode.store.naming import job_called

    database = existing_database(settings_from(settings))
    named = job_called(database, job)
    rerun_job(database, named, datetime.now(UTC))
    console.print(f"job {named} is queued")


def rerun_failed(
    algorithm: Annotated[str, typer.Option(help="Of this algorithm alone.")] = "",
    settings: SettingsPath = None,
) -> None:
    """Run every job that failed once more, when the fault that they met is mended.

    Example: dicomnode rerun-failed --algorithm lung_ct
    """
    from dicomnode.index import existing_database
    from dicomnode.store.jobs import rerun_failed as queue_failed

    database = existing_database(settings_from(settings))
    count = queue_failed(database, datetime.now(UTC), algorithm or None)
    console.print("1 job is queued" if count == 1 else f"{count} jobs are queued")


def cancel(job: JobArgument, settings: SettingsPath = None) -> None:
    """Take back a job that waits or runs; a running model is stopped.

    Example: dicomnode cancel 219034871
    """
    from dicomnode.index import existing_database
    from dicomnode.store.jobs import cancel_job
    from dicomnode.store.naming import job_called

    database = existing_database(settings_from(settings))
    named = job_called(database, job)
    cancel_job(database, named, datetime.now(UTC))
    console.print(f"job {named} is cancelled")


def dismiss(job: JobArgument, settings: SettingsPath = None) -> None:
    """Take a job that failed or was refused off the list of trouble.

    Example: dicomnode dismiss 219034871
    """
    from dicomnode.index import existing_database
    from dicomnode.store.jobs import dismiss_job
    from dicomnode.store.naming import job_called

    database = existing_database(settings_from(settings))
    named = job_called(database, job)
    dismiss_job(database, named, datetime.now(UTC))
    console.print(f"job {named} is dismissed")


def resend(
    job: JobArgument,
    destination: Annotated[str, typer.Argument(help="Name of the destination.")],
    settings: SettingsPath = None,
) -> None:
    """Send a job's results to a destination once more.

    Example: dicomnode resend 219034871 pacs
    """
    from dicomnode.index import existing_database
    from dicomnode.store.deliveries import resend as put_back
    from dicomnode.store.jobs import load_job
    from dicomnode.store.naming import job_called

    chosen = settings_from(settings)
    if chosen.destination(destination) is None:
        raise StudyError(f"no destination is called {destination!r}")
    database = existing_database(chosen)
    found = load_job(database, job_called(database, job))
    count = put_back(database, found, destination, datetime.now(UTC))
    if not count:
        raise StudyError(f"job {job} has no results for {destination!r}")
    console.print(f"{count} objects will be sent to {destination}")


def resend_refused(
    destination: Annotated[str, typer.Argument(help="Name of the destination.")],
    settings: SettingsPath = None,
) -> None:
    """Send once more whatever a destination refused, was given up for, or has not proven to keep.

    Example: dicomnode resend-refused pacs
    """
    from dicomnode.index import existing_database
    from dicomnode.store.deliveries import resend_refused as put_back

    chosen = settings_from(settings)
    if chosen.destination(destination) is None:
        raise StudyError(f"no destination is called {destination!r}")
    count = put_back(existing_database(chosen), destination, datetime.now(UTC))
    console.print(f"{count} objects will be sent to {destination}")


def pause(
    reason: Annotated[str, typer.Option(help="Why, for whoever finds it paused.")] = "",
    settings: SettingsPath = None,
) -> None:
    """Start no more models, on any worker; what runs goes on, images are received as before.

    Example: dicomnode pause --reason "new graphics card"
    """
    from getpass import getuser

    from dicomnode.index import existing_database
    from dicomnode.store.workers import pause_inference

    database = existing_database(settings_from(settings))
    pause_inference(database, by=getuser(), reason=reason, now=datetime.now(UTC))
    console.print("models are paused; `dicomnode resume` lets them go on")


def resume(settings: SettingsPath = None) -> None:
    """Let models go on after `pause`.

    Example: dicomnode resume
    """
    from dicomnode.index import existing_database
    from dicomnode.store.workers import resume_inference

    resume_inference(existing_database(settings_from(settings)), datetime.now(UTC))
    console.print("models go on")
