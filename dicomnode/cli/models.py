"""`models`: bundles from elsewhere, in versions that can be activated and rolled back."""

import socket
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from dicomnode.cli.common import SettingsPath, console, files_below, progress_bar, settings_from
from dicomnode.domain.audit import Deed
from dicomnode.domain.events import Event, EventName
from dicomnode.settings import Settings

if TYPE_CHECKING:
    from dicomnode.models.shelf import Shelf, Version

app = typer.Typer(help="Models from elsewhere, in versions.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the model, as `dicomnode models list` has it.")]
Key = Annotated[str, typer.Argument(help="Version, or how it begins.")]


def _shelf(settings: Settings) -> "Shelf":
    from dicomnode.models.shelf import Shelf

    return Shelf(settings.models_dir)


def _note(settings: Settings, name: EventName, version: "Version | None", model: str = "") -> None:
    """In the event log and, under the machine's name, in the audit trail."""
    from dicomnode.index import open_database
    from dicomnode.store.audit import record_deed
    from dicomnode.store.events import log_event

    model = version.name if version is not None else model
    facts = {"model": model, "version": version.key if version is not None else ""}
    now = datetime.now(UTC)
    database = open_database(settings)
    log_event(database, Event(name=name, facts=facts), now)
    deed = Deed(who="", address=socket.gethostname(), what=name.value, on=model, facts=facts)
    record_deed(database, deed, now)


@app.command("list")
def list_models(settings: SettingsPath = None) -> None:
    """List added models with their versions, and which one is active.

    Shipped algorithms and those of configured folders are in `dicomnode algorithms`.
    """
    shelf = _shelf(settings_from(settings))
    table = Table(box=None)
    for column in ("model", "version", "", "active since"):
        table.add_column(column, overflow="fold")
    for name in shelf.names():
        since = dict(shelf.history(name))
        for version in shelf.of(name):
            state = "active" if version.is_active else ""
            moment = since.get(version.key, "") if version.is_active else ""
            table.add_row(name, version.key, state, moment[:19])
    if table.row_count:
        console.print(table)
    else:
        console.print("no model has been added; `dicomnode models add BUNDLE` adds one")


@app.command()
def verify(
    name: Annotated[str, typer.Argument(help="One model; by default all.")] = "",
    settings: SettingsPath = None,
) -> None:
    """Read every listed file of added and shipped models and compare its SHA-256.

    Example: dicomnode models verify spleen_ct_segmentation
    """
    from dicomnode.models.shelf import Version, check_version
    from dicomnode.shipped import shipped

    chosen = settings_from(settings)
    shelf = _shelf(chosen)
    roots = [shipped("algorithms"), *chosen.algorithms.roots]
    found = [version for model in shelf.names() for version in shelf.of(model)]
    found += [
        Version(name=path.parent.parent.name, key="", root=path.parent.parent, is_active=True)
        for root in roots
        for path in sorted(root.glob("*/configs/dicom.json"))
    ]
    wrong = 0
    checked = [version for version in found if name in ("", version.name)]
    for version in checked:
        fault = check_version(version)
        wrong += bool(fault)
        words = fault or "every listed file is the one that was listed"
        label = f"{version.name} {version.key}".strip()
        console.print(f"{label}: {words}", style="red" if fault else "green")
    if not checked:
        console.print(f"no model {name!r}", style="red")
    if wrong or not checked:
        raise typer.Exit(1)


@app.command()
def templates() -> None:
    """List the Model Zoo's bundles that can be added without writing a `dicom.json`."""
    from dicomnode.models.templates import template_named
    from dicomnode.models.templates import templates as known

    for name in known():
        template = template_named(name)
        if template is not None:
            console.print(f"{name}: {template.dicom['title']} ({template.source})")


@app.command()
def add(
    bundle: Annotated[
        Path, typer.Argument(help="A folder or zip file, or nnU-Net's.", exists=True)
    ],
    dicom_json: Annotated[
        Path | None,
        typer.Option(help="What its channels mean, instead of its own dicom.json.", exists=True),
    ] = None,
    template: Annotated[str, typer.Option(help="One of `dicomnode models templates`.")] = "",
    orientation: Annotated[
        str, typer.Option(help="Of a model of nnU-Net: how its training files lay, e.g. RAS.")
    ] = "",
    trust_code: Annotated[
        bool, typer.Option(help="Let its configuration import Python code of the bundle itself.")
    ] = False,
    activate_it: Annotated[
        bool, typer.Option("--activate/--keep", help="Use it from now on, or only keep it.")
    ] = False,
    settings: SettingsPath = None,
) -> None:
    """Add a MONAI bundle: unpacked, checked, weights to safetensors, loaded once, kept.

    Example: dicomnode models add spleen_ct_segmentation_v0.5.9.zip --activate
    """
    from dicomnode.logs import configure_logging
    from dicomnode.models.adding import Asked, add_bundle
    from dicomnode.models.unpacking import Limits
    from dicomnode.pipeline.bundle import try_loading

    chosen = settings_from(settings)
    configure_logging("error")
    shelf = _shelf(chosen)
    asked = Asked(
        source=bundle,
        dicom_json=dicom_json,
        template=template,
        orientation=orientation,
        trust_code=trust_code,
    )
    limits = Limits(total_bytes=int(chosen.algorithms.largest_gb * 1e9))
    with progress_bar() as bar:
        bar.add_task("reading, converting and loading", total=None)
        added = add_bundle(shelf, asked, limits, partial(try_loading, "cpu"))
    for note in added.notes:
        console.print(note)
    _note(chosen, EventName.MODEL_ADDED, added.version)
    console.print(f"{added.version.name} {added.version.key} is kept", style="green")
    if activate_it:
        _activated(chosen, shelf, added.version)


@app.command()
def convert(
    layout: Annotated[str, typer.Argument(help="Whose layout it is: an installed converter.")],
    weights: Annotated[Path, typer.Argument(help="The weights' file.", exists=True)],
    out: Annotated[Path, typer.Argument(help="Folder for the bundle; not there yet.")],
    name: Annotated[str, typer.Option(help="The bundle's name; by default the folder's.")] = "",
) -> None:
    """Make a bundle of weights that come in somebody else's layout; every class is off at first.

    Example: dicomnode models convert torchxrayvision weights.pt /srv/algorithms/cxr_xrv
    """
    from dicomnode.models.converters import convert_to_bundle

    convert_to_bundle(layout, weights, out, name or out.name)
    console.print(f"{out} is a bundle now; evaluate it before you switch a class on", style="green")


@app.command()
def activate(name: Name, version: Key, settings: SettingsPath = None) -> None:
    """Use a version from the next run on; the node need not be stopped.

    Example: dicomnode models activate spleen_ct_segmentation 0.5.9
    """
    chosen = settings_from(settings)
    shelf = _shelf(chosen)
    _activated(chosen, shelf, shelf.find(name, version))


def _activated(settings: Settings, shelf: "Shelf", version: "Version") -> None:
    shelf.activate(version, datetime.now(UTC))
    _note(settings, EventName.MODEL_ACTIVATED, version)
    console.print(f"{version.name} {version.key} is active", style="green")


@app.command()
def rollback(name: Name, settings: SettingsPath = None) -> None:
    """Go back to the version that was active before this one, or to the one that is shipped.

    Example: dicomnode models rollback spleen_ct_segmentation
    """
    from dicomnode.shipped import shipped

    chosen = settings_from(settings)
    is_shipped = (shipped("algorithms") / name).is_dir()
    version = _shelf(chosen).roll_back(name, datetime.now(UTC), is_shipped=is_shipped)
    if version is None:
        _note(chosen, EventName.MODEL_DEACTIVATED, None, name)
        console.print(f"the shipped {name} is used again", style="green")
        return
    _note(chosen, EventName.MODEL_ACTIVATED, version)
    console.print(f"{version.name} {version.key} is active again", style="green")


@app.command()
def deactivate(name: Name, settings: SettingsPath = None) -> None:
    """Use no added version any more; a shipped model of the same name comes back.

    Example: dicomnode models deactivate lung_ct
    """
    chosen = settings_from(settings)
    _shelf(chosen).deactivate(name, datetime.now(UTC))
    _note(chosen, EventName.MODEL_DEACTIVATED, None, name)
    console.print(f"no added version of {name} is active", style="green")


@app.command()
def remove(name: Name, version: Key, settings: SettingsPath = None) -> None:
    """Delete a version that is not active.

    Example: dicomnode models remove spleen_ct_segmentation 0.5.8
    """
    chosen = settings_from(settings)
    shelf = _shelf(chosen)
    found = shelf.find(name, version)
    shelf.remove(found)
    _note(chosen, EventName.MODEL_REMOVED, found)
    console.print(f"{name} {found.key} is gone")


@app.command()
def compare(
    name: Name,
    first: Key,
    second: Key,
    data: Annotated[Path, typer.Argument(help="Folder with studies.", exists=True)],
    out: Annotated[Path, typer.Option(help="Folder for the report and its pictures.")],
    device: Annotated[str, typer.Option(help="`cpu`, `cuda:0` ...")] = "cpu",
    settings: SettingsPath = None,
) -> None:
    """Run two versions on the same studies: Dice between them, volumes, pictures.

    A version `shipped` is the one that came with this program.
    Example: dicomnode models compare lung_ct shipped 1.1.0 ./studies --out ./compared
    """
    from dicomnode.logs import configure_logging
    from dicomnode.models.comparing import compare_versions
    from dicomnode.shipped import shipped

    chosen = settings_from(settings)
    configure_logging("error")
    shelf = _shelf(chosen)
    roots = [
        shipped("algorithms") / name if key == "shipped" else shelf.find(name, key).root
        for key in (first, second)
    ]
    with progress_bar() as bar:
        found = compare_versions(
            roots[0], roots[1], files_below(data), out, device=device, tick=bar.track
        )
    for each in found:
        if each.refused:
            console.print(f"{each.series}: not read: {each.refused}", style="yellow")
            continue
        least = min(each.segments, key=lambda a: a.dice)
        console.print(f"{each.series}: Dice at least {least.dice:.3f} ({least.name})")
    console.print(f"written to {out / 'comparison.html'}")
