"""`demo`: the main job on real input, in a minute or two."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from dicomnode.cli.common import console, progress_bar
from dicomnode.cli.stories import print_story


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
    table = Table(title="\nFrom C-STORE to results confirmed by the PACS", title_justify="left")
    for column in ("study", "finding", "numbers"):
        table.add_column(column, overflow="fold")
    for result in results:
        print_story(result.told)
        for job in result.told.jobs:
            objects = ", ".join(f"{one.kind} {one.state}" for one in job.deliveries)
            about = f"{result.study.name}, {result.seconds:.0f} s\n{job.algorithm}\n{objects}"
            names = "\n".join(
                name
                for finding in job.findings
                for name in (finding.name, *[""] * (len(finding.numbers) - 1))
            )
            numbers = "\n".join(number for one in job.findings for number in one.numbers)
            table.add_row(about, names, numbers, end_section=True)
    console.print(table)
    console.print("\nLook at the overlays:")
    for result in results:
        for overlay in result.overlays:
            console.print(f"  {overlay}")
    console.print("SEG, SR and findings.json lie beside them. Research use only.", style="dim")
