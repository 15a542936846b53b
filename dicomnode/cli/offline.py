"""`run` and `send`: without a node, without a database."""

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, TaskID
from rich.table import Table

from dicomnode.cli.common import SettingsPath, console, files_below, progress_bar, settings_from
from dicomnode.domain.outcomes import FindingRecord
from dicomnode.settings import Form


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(run)
    app.command()(send)


def run(
    algorithm: Annotated[str, typer.Argument(help="As `dicomnode algorithms` lists it.")],
    dicom_dir: Annotated[Path, typer.Argument(help="Folder with one or more series.", exists=True)],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    device: Annotated[str, typer.Option(help="`cpu`, `cuda:0` ...")] = "cpu",
    form: Annotated[
        list[Form] | None, typer.Option(help="What to write besides SEG and SR; may be repeated.")
    ] = None,
    settings: SettingsPath = None,
) -> None:
    """Run an algorithm on the fitting series of a folder: SEG, SR, findings.json and overlay.png.

    Needs no database and sends nothing. Example: dicomnode run lung_ct ./study --out ./results
    --form SC --form GSPS
    """
    from dicomnode.logs import configure_logging
    from dicomnode.offline_run import Skipped, fitting_series, run_series

    chosen = settings_from(settings)
    configure_logging("error")
    with progress_bar() as bar:
        plan = fitting_series(chosen, algorithm, bar.track(files_below(dicom_dir)))
    for one in plan.skipped:
        console.print(f"left out {one.what}: {one.reason}", style="yellow")
    outcomes = []
    for series in plan.series:
        with progress_bar() as bar:
            task = bar.add_task(f"{algorithm} on {series.description}", total=1.0)
            made = run_series(
                chosen,
                plan,
                series,
                out=out / series.folder,
                device=device,
                progress=partial(_show, bar, task),
                forms=form or (),
            )
        if isinstance(made, Skipped):
            console.print(f"refused {made.what}: {made.reason}", style="red")
        else:
            outcomes.append((series, made))
    if not outcomes:
        console.print("no series was read", style="red")
        raise typer.Exit(1)
    table = Table(title=f"{algorithm}: written below {out}", title_justify="left", box=None)
    for column in ("folder", "series", "finding", "numbers"):
        table.add_column(column, overflow="fold")
    for series, made in outcomes:
        for finding in made.findings:
            table.add_row(series.folder, series.description, finding.name, told(finding))
    console.print(table)


def told(finding: FindingRecord) -> str:
    """What was measured, scored or said of a finding, in a line of words."""
    from dicomnode.encode.wording import number_told

    if finding.kind == "caption":
        return finding.text or ""
    if finding.kind == "class" and finding.score is not None:
        return f"probability {finding.score:.2f}, {finding.text}"
    numbers = [number_told(one, finding.name) for one in finding.measurements]
    if finding.kind == "lesion" and finding.score is not None:
        numbers.insert(0, f"score {finding.score:.2f}")
    return ", ".join(numbers)


def _show(bar: Progress, task: TaskID, fraction: float, stage: str) -> None:
    bar.update(task, completed=fraction, description=stage)


def send(
    folder: Annotated[Path, typer.Argument(help="DICOM files, or a folder of them.", exists=True)],
    destination: Annotated[str, typer.Argument(help="A destination's name, or AE@host:port.")],
    settings: SettingsPath = None,
) -> None:
    """Send DICOM files by C-STORE, and print the answer to each that was not plain success.

    Example: dicomnode send ./results ARCHIVE@127.0.0.1:4242
    """
    from dicomnode.deliver.send import send_objects
    from dicomnode.logs import configure_logging
    from dicomnode.offline_run import destination_named, objects_in

    chosen = settings_from(settings)
    configure_logging("error")
    peer = destination_named(chosen, destination)
    objects, left_out = objects_in(files_below(folder))
    for path, reason in left_out:
        console.print(f"left out {path}: {reason}", style="yellow")
    failed = 0
    with progress_bar() as bar:
        task = bar.add_task(f"to {peer.ae_title}", total=len(objects))
        for start in range(0, len(objects), 50):
            part = objects[start : start + 50]
            outcomes = send_objects(
                part, peer, own_ae=chosen.ae_title, clock=lambda: datetime.now().astimezone()
            )
            bar.advance(task, len(part))
            for outcome in outcomes:
                if outcome.error is not None:
                    failed += 1
                    console.print(f"{outcome.sop_instance_uid}: {outcome.error}", style="red")
                elif outcome.receipt is not None and outcome.receipt.is_warning:
                    console.print(
                        f"{outcome.sop_instance_uid}: kept with warning "
                        f"0x{outcome.receipt.status:04X}",
                        style="yellow",
                    )
    console.print(f"{len(objects) - failed} of {len(objects)} sent to {peer.ae_title}")
    if failed:
        raise typer.Exit(1)
