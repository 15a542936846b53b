"""`evaluate`: how good a bundle is on a labelled folder."""

from pathlib import Path
from typing import Annotated

import typer

from dicomnode.cli.common import (
    SettingsPath,
    console,
    pairs_from,
    progress_bar,
    settings_from,
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(evaluate)


def evaluate(
    algorithm: Annotated[str, typer.Argument(help="As `dicomnode algorithms` lists it.")],
    data: Annotated[
        Path,
        typer.Argument(
            help="Folder of images and labels, or as `dicomnode export dataset` writes it.",
            exists=True,
            file_okay=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="The report, `.html` added if need be; a JSON file goes beside it.")
    ],
    split: Annotated[
        str, typer.Option(help="Score the rows with this value of the column `split` alone.")
    ] = "",
    like_nih: Annotated[
        bool, typer.Option(help="Weight images to the frequencies of ChestX-ray14.")
    ] = False,
    box_frame: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Side in pixels of the frame that boxes are given in; without it the picture's "
            "own for an export, else 1024.",
        ),
    ] = None,
    box_label: Annotated[
        list[str] | None,
        typer.Option(help="CLASS=LABEL: which label's boxes a class is held against."),
    ] = None,
    lesion_type: Annotated[
        list[str] | None,
        typer.Option(
            help="TRUTH=TYPE: which type of the bundle a type of the truth is; =TYPE for lesions "
            "without one."
        ),
    ] = None,
    margin: Annotated[
        float, typer.Option(min=0, help="Millimetres by which a mark may lie outside of a lesion.")
    ] = 0.0,
    draws: Annotated[int, typer.Option(min=1, help="Bootstrap draws for each interval.")] = 1000,
    device: Annotated[str, typer.Option(help="`cpu`, `cuda:0` ...")] = "cpu",
    settings: SettingsPath = None,
) -> None:
    """Score a bundle on labelled images.

    Classes of radiographs: ROC AUC, calibration, subgroups, boxes. Segments: Dice, surface
    distances, volume errors, worst cases. Lesions: FROC, by size and type, operating points.
    The folder's layout: docs/evaluation.md.

    Example: dicomnode evaluate cxr_thorax ./dataset --split test --out report.html
    """
    from dicomnode.evaluate.run import Asked, evaluate_folder
    from dicomnode.logs import configure_logging

    chosen = settings_from(settings)
    configure_logging("error")
    asked = Asked(
        algorithm=algorithm,
        data=data,
        out=_report(out),
        split=split,
        like_nih=like_nih,
        box_frame=box_frame,
        box_labels=pairs_from("--box-label", "CLASS=LABEL", box_label),
        lesion_types=pairs_from("--lesion-type", "TRUTH=TYPE", lesion_type),
        margin_mm=margin,
        draws=draws,
        device=device,
    )
    with progress_bar() as bar:
        said = evaluate_folder(chosen, asked, bar.track)
    console.print(said)


def _report(out: Path) -> Path:
    """The file as it was named, `.html` added where a browser would not know it otherwise."""
    return out if out.suffix.lower() in {".html", ".htm"} else out.with_name(f"{out.name}.html")
