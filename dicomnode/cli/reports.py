"""`label`: radiology reports become labels."""

from pathlib import Path
from typing import Annotated

import typer

from dicomnode.cli.common import console, progress_bar
from dicomnode.domain.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(label)


def label(
    source: Annotated[Path | None, typer.Argument(help="CSV file of reports.")] = None,
    out: Annotated[Path | None, typer.Option(help="CSV file of labels.")] = None,
    id_column: Annotated[str, typer.Option(help="Column that names a report.")] = "uid",
    text_columns: Annotated[
        str, typer.Option(help="Columns of text; findings and impression are read as sections.")
    ] = "findings,impression",
    policy: Annotated[
        str, typer.Option(help="What a hedged mention counts as: strict, chestxray8 or openi.")
    ] = "strict",
    windows_only: Annotated[bool, typer.Option(help="Faster: no dependency graph.")] = False,
    lexicon: Annotated[
        list[Path] | None, typer.Option(help="A lexicon file of your own; may be repeated.")
    ] = None,
    mentions: Annotated[
        Path | None, typer.Option(help="JSON lines: every mention with its span and rule.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 1,
    explain: Annotated[
        str | None, typer.Option(help="Explain this text instead of reading a file.")
    ] = None,
    check: Annotated[bool, typer.Option(help="Run the lexicons' own test sentences.")] = False,
) -> None:
    """Label reports: 1 positive, 0 negative, -1 uncertain, blank not mentioned. Needs no database.

    Examples: dicomnode label reports.csv --out labels.csv --policy strict;
    dicomnode label --explain "No effusion. Possible pneumonia in the left lower lobe."
    """
    from dicomnode.reports import MinerSetup, check_lexicon, label_csv, open_miner
    from dicomnode.reports import explain as explained

    setup = MinerSetup(policy=policy, graph=not windows_only, lexicons=tuple(lexicon or ()))
    if explain is not None:
        console.print(str(explained(explain, open_miner(setup))), markup=False, soft_wrap=True)
        return
    if check:
        faults = check_lexicon(open_miner(setup))
        if faults:
            raise ConfigError(faults)
        console.print("every test sentence comes out as its lexicon says")
        return
    if source is None or out is None:
        raise ConfigError(["a CSV file and --out are needed, or --explain TEXT, or --check"])
    with progress_bar() as bar:
        task = bar.add_task("labelling", total=None)
        made = label_csv(
            source,
            out,
            id_column=id_column,
            text_columns=text_columns.split(","),
            setup=setup,
            workers=workers,
            mentions=mentions,
            progress=lambda rows: bar.update(task, description=f"{rows} reports"),
        )
    console.print(f"{made.rows} reports labelled into {out}")
    if made.flags is not None:
        console.print(f"{made.flagged} could not be read; the reasons are in {made.flags}")
