"""`demo`: the main job on real input, in a minute or two."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from dicomnode.cli.common import console, progress_bar
from dicomnode.cli.stories import print_story

if TYPE_CHECKING:
    from dicomnode.store.story import JobTold


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder to write to; an earlier demonstration in it is removed.")
    ] = Path("demo_out"),
    pacs: Annotated[str, typer.Option(help="`embedded`, or `orthanc` if it is installed.")] = (
        "embedded"
    ),
    timeout: Annotated[float, typer.Option(help="Seconds to wait for each study.")] = 240.0,
) -> None:
    """Send a real radiograph and a real CT to a node, and show what came back to the PACS."""
    from dicomnode.demo import run_demo
    from dicomnode.logs import configure_logging

    if pacs not in ("embedded", "orthanc"):
        raise typer.BadParameter("embedded or orthanc", param_hint="--pacs")
    configure_logging("error")
    with progress_bar() as bar:
        task = bar.add_task("starting", total=None)

        def say(words: str) -> None:
            bar.update(task, description=words)
            bar.console.print(words, style="dim")

        results = run_demo(
            out.resolve(), with_orthanc=pacs == "orthanc", timeout_s=timeout, say=say
        )
    for result in results:
        print_story(result.told)
    console.print("\nFrom C-STORE to results confirmed by the PACS", style="bold")
    for result in results:
        for job in result.told.jobs:
            console.print(_table(result.study.name, result.seconds, job))
    console.print("\nLook at the overlays:")
    for result in results:
        for overlay in result.overlays:
            console.print(f"  {overlay}")
    console.print("SEG, SR and findings.json lie beside them. Research use only.", style="dim")


def _table(study: str, seconds: float, job: "JobTold") -> Table:
    """What one job found, a line for each number."""
    objects = ", ".join(f"{one.kind} {one.state}" for one in job.deliveries)
    title = f"\n{study} by {job.algorithm}, {seconds:.0f} s\n{objects}"
    table = Table(title=title, title_justify="left")
    table.add_column("finding", min_width=22)
    table.add_column("number")
    for finding in job.findings:
        for place, number in enumerate(finding.numbers):
            table.add_row("" if place else finding.name, number)
    return table
