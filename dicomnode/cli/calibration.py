"""`calibrate fit`, `calibrate list`, `calibrate use` and `calibrate off`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from dicomnode.cli.common import SettingsPath, console, settings_from
from dicomnode.domain.errors import StudyError

if TYPE_CHECKING:
    from dicomnode.evaluation.ranking import Interval
    from dicomnode.steps.calibrating import Fitted

app = typer.Typer(
    help="Bring a model's probabilities to what your own reports say.", no_args_is_help=True
)

Algorithm = Annotated[str, typer.Argument(help="As `dicomnode algorithms` lists it.")]


@app.command()
def fit(
    algorithm: Algorithm,
    site: Annotated[str, typer.Option(help="Your site's name; it will stand in every SR.")],
    draws: Annotated[int, typer.Option(help="Bootstrap draws for each interval.")] = 500,
    settings: SettingsPath = None,
) -> None:
    """Hold stored probabilities against labels mined from reports; write a new version.

    Nothing is changed until a version is put to use.
    Example: dicomnode calibrate fit cxr_thorax --site "General Hospital"
    """
    from dicomnode.index import open_database
    from dicomnode.steps.calibrating import fit_calibration

    chosen = settings_from(settings)
    found = fit_calibration(
        open_database(chosen), chosen, algorithm, site=site, now=datetime.now(UTC), draws=draws
    )
    _show(found)
    if found.calibration is None:
        console.print("No class would be better for it; nothing was written.")
        return
    version = found.calibration.version
    console.print(f"Written: {found.path}")
    if found.path is not None:
        _draw(found, found.path.with_suffix(".png"))
    console.print(f"To apply it: dicomnode calibrate use {algorithm} {version}")


@app.command("list")
def list_versions(algorithm: Algorithm, settings: SettingsPath = None) -> None:
    """List the versions there are, and which is in force.

    Example: dicomnode calibrate list cxr_thorax
    """
    from dicomnode.pipeline.calibrations import read_calibration, version_in_force, versions_in
    from dicomnode.steps.installed import calibrations_of

    folder = calibrations_of(settings_from(settings), algorithm)
    in_force = version_in_force(folder)
    table = Table("version", "site", "made", "studies", "patients", "classes", "")
    for version in versions_in(folder):
        one, _ = read_calibration(folder, version)
        table.add_row(
            str(version),
            one.site,
            f"{one.made_at:%Y-%m-%d}",
            str(one.studies),
            str(one.patients),
            ", ".join(one.classes),
            "in force" if in_force is not None and in_force.version == version else "",
        )
    console.print(table)
    if in_force is None:
        console.print("None is in force: the model works as it was shipped.")


@app.command()
def use(
    algorithm: Algorithm,
    version: Annotated[int, typer.Argument(help="As `dicomnode calibrate list` shows it.")],
    settings: SettingsPath = None,
) -> None:
    """Put a version in force, a later or an earlier one; it holds from the next job on.

    Example: dicomnode calibrate use cxr_thorax 2
    """
    from dicomnode.index import open_database
    from dicomnode.steps.calibrating import apply_calibration

    chosen = settings_from(settings)
    apply_calibration(open_database(chosen), chosen, algorithm, version, now=datetime.now(UTC))
    console.print(f"Calibration {version} of {algorithm} is in force from the next job on.")


@app.command()
def off(algorithm: Algorithm, settings: SettingsPath = None) -> None:
    """Go back to the model as it was shipped; the versions stay.

    Example: dicomnode calibrate off cxr_thorax
    """
    from dicomnode.index import open_database
    from dicomnode.steps.calibrating import apply_calibration

    chosen = settings_from(settings)
    apply_calibration(open_database(chosen), chosen, algorithm, None, now=datetime.now(UTC))
    console.print(f"{algorithm} works as it was shipped from the next job on.")


def _draw(found: "Fitted", out: Path) -> None:
    from dicomnode.evaluate.reliability import draw_reliability

    try:
        draw_reliability(found.classes, out)
        console.print(f"Reliability: {out}")
    except StudyError as exc:
        # The figures stand in the table and in the file.
        console.print(str(exc), style="yellow")


def _show(found: "Fitted") -> None:
    table = Table(
        *("class", "positive / studies", "method", "calibration error before", "after"),
        *("fall of the log loss", "helps"),
        box=None,
    )
    for column in table.columns:
        column.overflow = "fold"
    for name, one in found.classes.items():
        table.add_row(
            name,
            f"{one.positive} / {one.studies}",
            one.method,
            _interval(one.before.error),
            _interval(one.after.error),
            _interval(one.gain),
            "yes" if one.helps else "no",
        )
    console.print(table)
    for name, one in found.classes.items():
        if not one.helps:
            console.print(f"{name} stays as it is: no evidence that this helps")
    for name, why in found.refused.items():
        console.print(f"{name} was not fitted: {why}")
    for why, count in sorted(found.left_out.items()):
        console.print(f"left out {count}: {why}")


def _interval(value: "Interval") -> str:
    return f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})"
