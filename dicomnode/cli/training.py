"""`train`: a shipped bundle trained further on a site's own labelled images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from dicomnode.cli.common import (
    SettingsPath,
    console,
    pairs_from,
    progress_bar,
    settings_from,
)

if TYPE_CHECKING:
    from dicomnode.training.judging import Judged


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(train)


def train(
    algorithm: Annotated[str, typer.Argument(help="As `dicomnode algorithms` lists it.")],
    data: Annotated[
        Path,
        typer.Argument(
            help="Labelled images, as `dicomnode evaluate` reads them.",
            exists=True,
            file_okay=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the new bundle, reports, checkpoints.")],
    hold_out: Annotated[
        float,
        typer.Option(min=0, max=0.9, help="Share of patients kept from training, to judge by."),
    ] = 0.2,
    set_value: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE of the bundle's configs/retrain.json."),
    ] = None,
    dev: Annotated[
        float,
        typer.Option(
            min=0,
            max=0.9,
            help="Share of patients that operating points are read from, who are neither learned "
            "from nor held out. Of lesions alone.",
        ),
    ] = 0.15,
    lesion_type: Annotated[
        list[str] | None,
        typer.Option(
            help="TRUTH=TYPE: which type of the bundle a type of the truth is; =TYPE for lesions "
            "without one."
        ),
    ] = None,
    draws: Annotated[int, typer.Option(help="Bootstrap draws for each interval.")] = 1000,
    device: Annotated[str, typer.Option(help="For judging: `cpu`, `cuda:0` ...")] = "cpu",
    settings: SettingsPath = None,
) -> None:
    """Train a bundle further on your own labelled images, and judge it by patients held out.

    Stopped, it goes on when called again. What comes out is a bundle to add; nothing is switched.

    Example: dicomnode train body_ct ./outlined --out ./trained --set seconds=7200
    """
    from dicomnode.logs import configure_logging
    from dicomnode.training.judging import Asked
    from dicomnode.training.run import train as train_further

    chosen = settings_from(settings)
    configure_logging("error")
    asked = Asked(
        algorithm=algorithm,
        data=data,
        out=out,
        hold_out=hold_out,
        values=pairs_from("--set", "KEY=VALUE", set_value),
        dev=dev,
        lesion_types=pairs_from("--lesion-type", "TRUTH=TYPE", lesion_type),
        draws=draws,
        device=device,
    )
    with progress_bar() as bar:
        done = train_further(chosen, asked, bar.track, _tell)
    if done.judged is not None:
        console.print(_compared(*done.judged))
        console.print(f"reports: {out / 'before.html'}, {out / 'after.html'}")
    console.print(f"version {done.version}; to use it:")
    console.print(f"  dicomnode models add {done.bundle} --activate")


def _tell(line: str) -> None:
    console.print(line, soft_wrap=True)


def _compared(before: "Judged", after: "Judged") -> Table:
    from dicomnode.evaluate.html import with_interval

    table = Table(box=None, title=before.title)
    for column in ("", "n", "before", "after"):
        table.add_column(column)
    for old, new in zip(before.figures, after.figures, strict=True):
        table.add_row(old.name, str(old.cases), with_interval(old.value), with_interval(new.value))
    return table
