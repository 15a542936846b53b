"""`export` and `keyimages`: what leaves the node for research."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from dicomnode.cli.common import SettingsPath, console, progress_bar, settings_from
from dicomnode.domain.exporting import Fit

app = typer.Typer(help="What leaves the node for research.", no_args_is_help=True)

OutFolder = Annotated[Path, typer.Argument(help="Folder to write; a stopped export goes on in it.")]


def register(root: typer.Typer) -> None:
    """Add the commands."""
    root.add_typer(app, name="export")
    root.command()(keyimages)


@app.command()
def dataset(
    out: OutFolder,
    settings: SettingsPath = None,
    size: Annotated[int, typer.Option(help="Pixels along each side.", min=64, max=4096)] = 1024,
    fit: Annotated[Fit, typer.Option(help="How an oblong image becomes a square one.")] = Fit.PAD,
    with_unlabelled: Annotated[
        bool, typer.Option(help="Take studies without a readable report too.")
    ] = False,
) -> None:
    """Frontal radiographs as de-identified pictures with labels, boxes, parts and a card.

    Named by keyed digests: the key is export.key in the data folder, or DICOMNODE_EXPORT_KEY.
    Example: dicomnode export dataset ./chest-2026
    """
    from dicomnode.export.dataset import DatasetOptions
    from dicomnode.export.pseudonyms import open_pseudonyms
    from dicomnode.export.run import export_dataset
    from dicomnode.index import existing_database
    from dicomnode.store.export_cases import study_count

    known = settings_from(settings)
    database = existing_database(known)
    options = DatasetOptions(size=size, fit=fit, with_unlabelled=with_unlabelled)
    with progress_bar() as bar:
        task = bar.add_task("exporting", total=study_count(database, options.modalities))
        made = export_dataset(
            database,
            out,
            options=options,
            pseudonyms=open_pseudonyms(known.data_dir, os.environ),
            now=datetime.now(UTC),
            progress=lambda: bar.advance(task),
        )
    console.print(
        f"{made.images} images of {made.patients} patients in {out}; {made.left_out} left out: "
        f"see README.md and left_out.csv there"
    )


@app.command()
def dicom(
    out: OutFolder,
    study: Annotated[
        list[str] | None, typer.Option(help="StudyInstanceUID; may be repeated. None: every study.")
    ] = None,
    settings: SettingsPath = None,
    dates: Annotated[
        bool, typer.Option(help="Move dates by days that only the key tells, instead of removing.")
    ] = False,
    characteristics: Annotated[
        bool, typer.Option(help="Keep age (90 and more as 90), sex, size and weight.")
    ] = False,
    with_burned_in: Annotated[
        bool, typer.Option(help="Take images that say that text is burned into them.")
    ] = False,
) -> None:
    """Images as DICOM files without identity, by the basic profile of PS3.15 and its options.

    Named by keyed digests: the key is export.key in the data folder, or DICOMNODE_EXPORT_KEY.
    Example: dicomnode export dicom ./trial --dates --study 1.2.840.113619.2.1
    """
    from getpass import getuser

    from dicomnode.domain.audit import Deed
    from dicomnode.domain.identifiers import StudyUid
    from dicomnode.export.deidentify import Profile
    from dicomnode.export.dicom import DicomOptions, export_dicom
    from dicomnode.export.pseudonyms import open_pseudonyms
    from dicomnode.index import existing_database
    from dicomnode.store.audit import record_deed
    from dicomnode.store.export_cases import study_uids

    known = settings_from(settings)
    database = existing_database(known)
    profile = Profile(dates=dates, characteristics=characteristics)
    chosen = map(StudyUid, study) if study else study_uids(database)
    with progress_bar() as bar:
        task = bar.add_task("exporting", total=len(study) if study else None)
        made = export_dicom(
            database,
            out,
            chosen,
            options=DicomOptions(profile=profile, with_burned_in=with_burned_in),
            pseudonyms=open_pseudonyms(known.data_dir, os.environ),
            progress=lambda: bar.advance(task),
        )
    facts = {"images": made.images, "studies": len(made.studies)}
    deed = Deed(who=getuser(), address="", what="export.dicom", facts=facts)
    record_deed(database, deed, datetime.now(UTC))
    console.print(
        f"{made.images} images of {len(made.studies)} studies in {out}; "
        f"{made.left_out.total()} left out: see left_out.csv there"
    )
    if made.unsure:
        console.print(
            f"{made.unsure} images may have text burned in: look at them before you hand them on "
            "(column warning of files.csv)",
            style="yellow",
        )


def keyimages(
    out: OutFolder,
    settings: SettingsPath = None,
    label: Annotated[str | None, typer.Option(help="Only of this label, e.g. nodule.")] = None,
    sentences: Annotated[
        bool, typer.Option(help="Write the sentences, which may hold names, beside the pictures.")
    ] = True,
) -> None:
    """The images that reports point to ("series 4, image 56"), 256 x 256, with their sentence.

    Example: dicomnode keyimages ./key-images --label nodule
    """
    from dicomnode.export.keyimages import export_key_images
    from dicomnode.export.pseudonyms import open_pseudonyms
    from dicomnode.index import existing_database

    known = settings_from(settings)
    with progress_bar() as bar:
        task = bar.add_task("looking for images", total=None)
        made = export_key_images(
            existing_database(known),
            out,
            label=label,
            with_sentences=sentences,
            pseudonyms=open_pseudonyms(known.data_dir, os.environ),
            progress=lambda: bar.advance(task),
        )
    console.print(
        f"{made.references} references, {made.resolved} of them found: {made.pictures} pictures "
        f"in {out}; unresolved.csv says why the others were not"
    )
