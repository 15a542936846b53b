"""`keep`: what goes by the quotas, and studies that are kept from them."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from dicomnode.cli.common import SettingsPath, console, settings_from

app = typer.Typer(help="Which images are kept, and which go by the quotas of \\[keep].")

WhatArgument = Annotated[
    str, typer.Argument(help="StudyInstanceUID, or the number of an object in quarantine.")
]


@app.command()
def plan(settings: SettingsPath = None) -> None:
    """Show what would go now; changes nothing. The node itself looks every hour.

    Example: dicomnode keep plan
    """
    from dicomnode.app import open_node
    from dicomnode.index import existing_database
    from dicomnode.steps.quotas import FILES, STUDIES, plan_discards, plan_removals

    chosen = settings_from(settings)
    node = open_node(chosen, existing_database(chosen))
    planned, discards = plan_removals(node), plan_discards(node)
    if planned:
        console.print("Studies whose images go", style="italic")
    for one in planned:
        study = one.study
        size = f"images: {study.instances}, {study.size_bytes / 1e6:.0f} MB"
        console.print(f"last image {study.received_at:%Y-%m-%d}, {size}: {one.because}")
        # A UID that is to be copied stands alone and is never broken.
        console.print(f"  {study.study_uid}", soft_wrap=True)
    objects = Table("in quarantine", "since", "kind", "kB", "because")
    for each in discards:
        known = each.quarantined
        objects.add_row(
            str(known.number),
            f"{known.at:%Y-%m-%d}",
            known.kind.value,
            f"{known.size_bytes / 1e3:.0f}",
            each.because,
        )
    if discards:
        console.print(objects)
    if not planned and not discards:
        console.print("nothing would go")
    if len(planned) >= STUDIES or len(discards) >= FILES:
        console.print("There may be more: so many go at a time, and then the node looks again.")


@app.command()
def run(settings: SettingsPath = None) -> None:
    """Remove now what `plan` shows, instead of within the hour.

    Example: dicomnode keep run
    """
    from dicomnode.app import open_node
    from dicomnode.index import existing_database
    from dicomnode.steps.quotas import apply_quotas, plan_discards, plan_removals

    chosen = settings_from(settings)
    node = open_node(chosen, existing_database(chosen))
    planned, discards = plan_removals(node), plan_discards(node)
    may_be_more = apply_quotas(node)
    console.print(f"the images of {len(planned)} studies are gone")
    if discards:
        console.print(f"{len(discards)} objects of the quarantine are gone")
    if may_be_more:
        console.print("There may be more: run it again, or the node goes on within the hour.")


@app.command()
def pin(what: WhatArgument, settings: SettingsPath = None) -> None:
    """Keep the images of a study, or an object in quarantine, whatever the quotas say.

    Example: dicomnode keep pin 1.2.840.113619.2.1
    """
    _pin(what, settings, pinned=True)
    console.print(f"{_name(what)} stay")


@app.command()
def unpin(what: WhatArgument, settings: SettingsPath = None) -> None:
    """Let the quotas count for a study, or an object in quarantine, again.

    Example: dicomnode keep unpin 1.2.840.113619.2.1
    """
    _pin(what, settings, pinned=False)
    console.print(f"quotas count for {_name(what)} again")


@app.command()
def dismiss(
    number: Annotated[int, typer.Argument(help="Number of an object in quarantine.")],
    settings: SettingsPath = None,
) -> None:
    """Take an object in quarantine off the list of what needs a person; quotas may then ask for it.

    Example: dicomnode keep dismiss 17
    """
    from getpass import getuser

    from dicomnode.domain.audit import Deed
    from dicomnode.index import existing_database
    from dicomnode.store.audit import record_deed
    from dicomnode.store.quarantine import dismiss_quarantine

    database = existing_database(settings_from(settings))
    now = datetime.now(UTC)
    with database.as_one():
        dismiss_quarantine(database, number, now)
        deed = Deed(who=getuser(), address="", what="quarantine.dismiss", on=str(number))
        record_deed(database, deed, now)
    console.print(f"object {number} is dismissed")


def _is_number(what: str) -> bool:
    """UIDs have dots."""
    return what.isdecimal() and len(what) < 12


def _name(what: str) -> str:
    return f"the bytes of object {what}" if _is_number(what) else f"the images of {what}"


def _pin(what: str, settings: SettingsPath, *, pinned: bool) -> None:
    from getpass import getuser

    from dicomnode.domain.audit import Deed
    from dicomnode.index import existing_database
    from dicomnode.store.audit import record_deed
    from dicomnode.store.quarantine import pin_quarantined
    from dicomnode.store.quotas import pin_study

    database = existing_database(settings_from(settings))
    now = datetime.now(UTC)
    with database.as_one():
        if _is_number(what):
            pin_quarantined(database, int(what), now, pinned=pinned)
        else:
            pin_study(database, what, now, pinned=pinned)
        subject = "quarantine" if _is_number(what) else "study"
        deed = f"{subject}.pinned" if pinned else f"{subject}.unpinned"
        record_deed(database, Deed(who=getuser(), address="", what=deed, on=what), now)
