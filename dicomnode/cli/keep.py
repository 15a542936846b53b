"""`keep`: what goes by the quotas, and studies that are kept from them."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from dicomnode.cli.common import SettingsPath, console, settings_from

app = typer.Typer(help="Which images are kept, and which go by the quotas of \\[keep].")

StudyArgument = Annotated[str, typer.Argument(help="StudyInstanceUID.")]


@app.command()
def plan(settings: SettingsPath = None) -> None:
    """Show what would go now; changes nothing. The node itself looks every hour.

    Example: dicomnode keep plan
    """
    from dicomnode.app import open_node
    from dicomnode.index import open_database
    from dicomnode.steps.quotas import plan_removals

    chosen = settings_from(settings)
    database = open_database(chosen)
    planned = plan_removals(open_node(chosen, database))
    table = Table("study", "last image", "images", "MB", "because")
    for one in planned:
        study = one.study
        table.add_row(
            study.study_uid,
            f"{study.received_at:%Y-%m-%d}",
            str(study.instances),
            f"{study.size_bytes / 1e6:.0f}",
            one.because,
        )
    console.print(table if planned else "nothing would go")


@app.command()
def run(settings: SettingsPath = None) -> None:
    """Remove now what `plan` shows, instead of within the hour.

    Example: dicomnode keep run
    """
    from dicomnode.app import open_node
    from dicomnode.index import open_database
    from dicomnode.steps.quotas import plan_removals, remove_images

    chosen = settings_from(settings)
    node = open_node(chosen, open_database(chosen))
    planned = plan_removals(node)
    remove_images(node)
    console.print(f"the images of {len(planned)} studies are gone")


@app.command()
def pin(study: StudyArgument, settings: SettingsPath = None) -> None:
    """Keep the images of a study whatever the quotas say.

    Example: dicomnode keep pin 1.2.840.113619.2.1
    """
    _pin(study, settings, pinned=True)
    console.print(f"the images of {study} stay")


@app.command()
def unpin(study: StudyArgument, settings: SettingsPath = None) -> None:
    """Let the quotas count for a study again.

    Example: dicomnode keep unpin 1.2.840.113619.2.1
    """
    _pin(study, settings, pinned=False)
    console.print(f"quotas count for {study} again")


def _pin(study: str, settings: SettingsPath, *, pinned: bool) -> None:
    from getpass import getuser

    from dicomnode.domain.audit import Deed
    from dicomnode.index import open_database
    from dicomnode.store.audit import record_deed
    from dicomnode.store.quotas import pin_study

    database = open_database(settings_from(settings))
    now = datetime.now(UTC)
    with database.as_one():
        pin_study(database, study, now, pinned=pinned)
        what = "study.pinned" if pinned else "study.unpinned"
        record_deed(database, Deed(who=getuser(), address="", what=what, on=study), now)
