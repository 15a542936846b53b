"""`algorithms`, `check`, `doctor` and `db`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from dicomnode.cli.common import SettingsPath, console, progress_bar, settings_from
from dicomnode.domain.errors import ConfigError

if TYPE_CHECKING:
    from dicomnode.checks import Finding

database = typer.Typer(help="The index database.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(algorithms)
    app.command()(check)
    app.command()(doctor)


@database.command()
def upgrade(settings: SettingsPath = None) -> None:
    """Bring the database to the schema of this version; never backwards.

    SQLite is upgraded by itself when the node starts. Example: dicomnode db upgrade
    """
    from dicomnode.store.database import Database
    from dicomnode.store.schema import upgrade as bring_up

    chosen = settings_from(settings)
    reached = bring_up(Database(chosen.index_url, chosen.data_dir))
    console.print(f"the index is at schema {reached}")


@database.command()
def backup(
    out: Annotated[Path, typer.Argument(help="File to write.")], settings: SettingsPath = None
) -> None:
    """Write a sound copy of the SQLite index while the node goes on; then copy the data folder.

    Example: dicomnode db backup /backup/index-2026-11-29.sqlite
    """
    from dicomnode.index import existing_database
    from dicomnode.store.copying import backup_sqlite

    backup_sqlite(existing_database(settings_from(settings)), out)
    console.print(f"the index is in {out}; files in the data folder are to be copied after it")


@database.command()
def copy(
    settings: SettingsPath = None,
    to: Annotated[
        str,
        typer.Option(
            envvar="DICOMNODE_COPY_TO",
            help="URL of the empty database; better by the variable, since it holds a password.",
        ),
    ] = "",
) -> None:
    """Move the index to another database, every row compared; the node must be stopped.

    Example: DICOMNODE_COPY_TO=postgresql+psycopg://... dicomnode db copy
    """
    from dicomnode.app import only_one
    from dicomnode.index import existing_database
    from dicomnode.store.copying import copy_index
    from dicomnode.store.database import Database

    known = settings_from(settings)
    if not to.startswith(("sqlite:///", "postgresql+psycopg://")):
        fault = "DICOMNODE_COPY_TO: a URL of sqlite:/// or postgresql+psycopg:// is needed"
        raise ConfigError([fault])
    with only_one(known.data_dir / "node.lock"), progress_bar() as bar:
        task = bar.add_task("copying", total=None)
        copied = copy_index(
            existing_database(known),
            Database(to, known.data_dir),
            lambda table, done: bar.update(task, description=f"{table}: {done} rows"),
        )
    console.print(f"{sum(copied.values())} rows in {len(copied)} tables copied and compared")
    console.print("now set DICOMNODE_DATABASE_URL to the new database and start the node")


@database.command()
def adopt(settings: SettingsPath = None) -> None:
    """Index images that came after a copy of the index was made; the node must be stopped.

    Part of restoring a backup. Example: dicomnode db adopt
    """
    from dicomnode.app import only_one
    from dicomnode.index import existing_database
    from dicomnode.receive.adoption import adopt_folders
    from dicomnode.receive.landing import LandingSite
    from dicomnode.receiving import now
    from dicomnode.store.landing import SqlInstanceIndex

    known = settings_from(settings)
    with only_one(known.data_dir / "node.lock"):
        index = SqlInstanceIndex(existing_database(known), receiver=f"{known.ae_title}@adoption")
        site = LandingSite(known.data_dir, index, spool="adoption-spool")
        adopted = adopt_folders(site, index.knows, now)
    console.print(
        f"{adopted.instances} images of {adopted.associations} associations have rows now"
    )
    if adopted.unreadable:
        console.print(f"{adopted.unreadable} files could not be read", style="red")


def algorithms(settings: SettingsPath = None) -> None:
    """List the algorithms of this installation, broken ones with their fault."""
    from dicomnode.pipeline.discovery import BrokenAlgorithm
    from dicomnode.steps.installed import algorithms_of

    table = Table(box=None)
    for column in ("name", "version", "reads", "what it is"):
        table.add_column(column, overflow="fold")
    for name, known in sorted(algorithms_of(settings_from(settings)).items()):
        if isinstance(known, BrokenAlgorithm):
            table.add_row(name, "", "", f"cannot be used: {known.fault}", style="red")
            continue
        reads = ", ".join("/".join(sorted(need.modalities)) for need in known.needs.values())
        what = f"{known.identity.title}. {known.identity.intended_use}"
        table.add_row(name, known.identity.version, reads, what)
    console.print(table)


def check(settings: SettingsPath = None) -> None:
    """Try everything the settings name: database, disk, rules, models, peers by C-ECHO.

    All faults are shown at once. Example: dicomnode check --settings dicomnode.toml
    """
    from dicomnode.checks import check_settings

    _report(check_settings(settings_from(settings)))


def doctor() -> None:
    """Look at the installation itself: Python packages, decoders, devices, disk, ports."""
    from dicomnode.checks import check_installation

    _report(check_installation())


def _report(findings: "list[Finding]") -> None:
    table = Table(box=None)
    for column in ("", "what", "result"):
        table.add_column(column, overflow="fold")
    for one in findings:
        mark = Text("ok", "green") if one.is_good else Text("FAULT", "red")
        table.add_row(mark, one.what, one.words)
    console.print(table)
    faults = sum(not one.is_good for one in findings)
    if faults:
        console.print("1 fault" if faults == 1 else f"{faults} faults", style="red")
        raise typer.Exit(1)
    console.print("no fault", style="green")
