"""`demo`: the main job on real input, in a minute or two."""

import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from dicomnode.cli.common import console, progress_bar
from dicomnode.cli.stories import print_story

if TYPE_CHECKING:
    from dicomnode.demo import DemoResult, Pages
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
    stay: Annotated[
        bool | None,
        typer.Option(help="Keep the node and its pages up until Ctrl-C; by default at a terminal."),
    ] = None,
) -> None:
    """Send a real radiograph and a real CT to a node, and show what came back to the PACS."""
    from dicomnode.demo import DemoFailed, demonstration
    from dicomnode.logs import configure_logging

    if pacs not in ("embedded", "orthanc"):
        raise typer.BadParameter("embedded or orthanc", param_hint="--pacs")
    configure_logging("error")
    with ExitStack() as running:
        with progress_bar() as bar:
            task = bar.add_task("starting", total=None)

            def say(words: str) -> None:
                bar.update(task, description=words)
                bar.console.print(words, style="dim")

            shown = running.enter_context(
                demonstration(
                    out.resolve(),
                    with_orthanc=pacs == "orthanc",
                    with_pages=sys.stdout.isatty() if stay is None else stay,
                    timeout_s=timeout,
                    say=say,
                )
            )
        _print_results(shown.results)
        if shown.pages is not None:
            _stay(shown.pages, shown.ended)
            if shown.ended.is_set():
                raise DemoFailed(f"the node has ended by itself; see {shown.log}")


def _print_results(results: "tuple[DemoResult, ...]") -> None:
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


def _stay(pages: "Pages", ended: threading.Event) -> None:
    from dicomnode.app import wait_for_signal

    console.print("\nThe node still runs. Look around in a browser:", style="bold")
    console.print(f"  {pages.address}")
    console.print(f"  name {pages.name}, password {pages.password}")
    console.print("Study: pages Studies and Results. An invented report came with the radiograph:")
    console.print("page SQL, question mentioned_but_not_by_model, label effusion; page Reports.")
    console.print("In OHIF: run this once in another terminal, then Open in viewer on its page:")
    # Whole, for a wrapped path cannot be copied.
    console.print(
        f"  {Path(sys.argv[0])} viewer --install --settings {pages.settings}", soft_wrap=True
    )
    console.print("Ctrl-C stops node and PACS.", style="dim")
    wait_for_signal(ended)


def _table(study: str, seconds: float, job: "JobTold") -> Table:
    """What one job found, a line for each number."""
    objects = ", ".join(f"{one.kind} {one.state}" for one in job.deliveries)
    title = f"\n{study} by {job.algorithm}, {seconds:.0f} s\n{objects}"
    table = Table(title=title, title_justify="left")
    table.add_column("finding", min_width=22)
    table.add_column("number")
    for finding in job.findings:
        if finding.kind == "class" and finding.score is not None:
            table.add_row(finding.name, f"probability {finding.score:.2f}, {finding.text}")
        for place, number in enumerate(finding.numbers):
            table.add_row("" if place else finding.name, number)
    return table
