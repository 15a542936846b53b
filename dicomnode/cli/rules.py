"""`rules check`, `rules explain` and `rules dry-run`."""

from dataclasses import replace
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

    Alerts on findings that the algorithm never reports are named too.

    Example: dicomnode rules check rules.toml
    """
    from dicomnode.rules.watching import WatchedRules
    from dicomnode.steps.installed import algorithms_of, idle_alerts_of, rules_loader

    chosen = settings_from(settings)
    found_here = algorithms_of(chosen)
    rules = WatchedRules(file, rules_loader(chosen, found_here, str(file))).refresh()
    enabled = sum(rule.enabled for rule in rules.rules)
    counted = f"{file}: {len(rules.rules)} rules, {enabled} enabled"
    if idle := idle_alerts_of(rules, found_here):
        for line in idle:
            console.print(line, style="yellow")
        console.print(f"{counted}; no other fault")
        raise typer.Exit(1)
    console.print(f"{counted}; no fault")


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
    from dicomnode.offline import snapshots_of
    from dicomnode.rules.explaining import explain as in_words
    from dicomnode.rules.matching import match
    from dicomnode.rules.watching import WatchedRules
    from dicomnode.steps.installed import algorithms_of, rules_loader, usable

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


@app.command("dry-run")
def dry_run(
    file: RuleFile,
    settings: SettingsPath = None,
    last: Annotated[int, typer.Option(help="Studies of the past, the newest first.", min=1)] = 200,
) -> None:
    """Say what a rule file would have done with the last studies, beside the one in force.

    Reads the index only. Example: dicomnode rules dry-run new_rules.toml --last 500
    """
    from dicomnode.index import existing_database
    from dicomnode.steps.ruling import RuleDesk, in_words

    known = settings_from(settings)
    desk = RuleDesk.of(known)
    new = replace(desk.load, file=str(file))(file.read_text(encoding="utf-8"))
    database = existing_database(known)
    tried = desk.try_on_history(database, new, last=last)
    for line in in_words(tried):
        console.print(line)
