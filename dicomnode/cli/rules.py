"""`rules check` and `rules explain`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from dicomnode.cli.common import SettingsPath, console, files_below, progress_bar, settings_from

app = typer.Typer(help="Check rule files and see what they would do.", no_args_is_help=True)

RuleFile = Annotated[Path, typer.Argument(help="TOML file of rules.")]


@app.command()
def check(file: RuleFile, settings: SettingsPath = None) -> None:
    """Load a rule file as the node would; every fault is listed with its line.

    Example: dicomnode rules check rules.toml
    """
    from dicomnode.app import algorithms_of, rules_loader
    from dicomnode.rules.watching import WatchedRules

    chosen = settings_from(settings)
    rules = WatchedRules(file, rules_loader(chosen, algorithms_of(chosen), str(file))).refresh()
    enabled = sum(rule.enabled for rule in rules.rules)
    console.print(f"{file}: {len(rules.rules)} rules, {enabled} enabled; no fault")


@app.command()
def explain(
    file: RuleFile,
    dicom_dir: Annotated[
        Path, typer.Argument(help="Folder with one or more studies.", exists=True)
    ],
    settings: SettingsPath = None,
) -> None:
    """Say for each study in a folder why each rule does or does not match, per condition.

    Nothing is run or sent. Example: dicomnode rules explain rules.toml ./study
    """
    from dicomnode.app import algorithms_of, rules_loader, usable
    from dicomnode.offline import snapshots_of
    from dicomnode.rules.explaining import explain as in_words
    from dicomnode.rules.matching import match
    from dicomnode.rules.watching import WatchedRules

    chosen = settings_from(settings)
    found_here = algorithms_of(chosen)
    algorithms = usable(found_here)
    rules = WatchedRules(file, rules_loader(chosen, found_here, str(file))).refresh()
    needs = {name: known.needs for name, known in algorithms.items()}
    with progress_bar() as bar:
        found = snapshots_of(bar.track(files_below(dicom_dir)), datetime.now(UTC))
    for path, reason in found.unreadable:
        console.print(f"left out {path}: {reason}", style="yellow")
    for snapshot in found.snapshots:
        whole = "" if snapshot.series_uid is None else f", series {snapshot.series_uid} alone"
        console.print(f"\nstudy {snapshot.study_uid}{whole}", style="bold")
        console.print(in_words(match(rules, snapshot, needs=needs)))
