"""`reports`: the archive of reports; brought in, read again, looked at."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from dicomnode.cli.common import SettingsPath, console, progress_bar, settings_from
from dicomnode.domain.errors import ConfigError

if TYPE_CHECKING:
    from dicomnode.reports.opening import MinerSetup
    from dicomnode.settings import Settings
    from dicomnode.store.report_telling import ReportTold

app = typer.Typer(help="The archive of reports: import, read again, look at.", no_args_is_help=True)

PolicyOption = Annotated[
    str | None, typer.Option(help="strict, chestxray8 or openi; without it as in the settings.")
]
LexiconOption = Annotated[
    list[Path] | None,
    typer.Option(help="A lexicon file of your own; without it as in the settings."),
]
WorkersOption = Annotated[int, typer.Option(help="Processes that mine.", min=1)]

VALUES = {1: "positive", 0: "negative", -1: "uncertain", None: "not mentioned"}
STYLES = {"present": "bold red", "absent": "green", "uncertain": "yellow"}


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="CSV, JSON lines, or a folder of .txt files.")],
    settings: SettingsPath = None,
    id_column: Annotated[str, typer.Option(help="Column that names a report.")] = "uid",
    text_columns: Annotated[
        str, typer.Option(help="Columns of text; findings and impression are read as sections.")
    ] = "findings,impression",
    column: Annotated[
        list[str] | None,
        typer.Option(help="NAME=COLUMN for patient_id, accession_number, study_date, ..."),
    ] = None,
    collection: Annotated[
        str | None, typer.Option(help="Goes before every id; without it the file's name.")
    ] = None,
    encoding: Annotated[str, typer.Option(help="E.g. latin-1 or shift_jis.")] = "utf-8",
    policy: PolicyOption = None,
    lexicon: LexiconOption = None,
    workers: WorkersOption = 1,
) -> None:
    """Bring reports into the index and label them. Stopped half-way, the same command goes on.

    Columns called patient_id, patient_birth_date, patient_sex, accession_number, study_uid,
    study_date, modality, referring_unit, status and issued_at are taken as such.
    Example: dicomnode reports import reports.csv --column accession_number=acc --workers 2
    """
    from dicomnode.index import open_database
    from dicomnode.reports.bulk import Layout, read_bulk
    from dicomnode.steps.report_archive import import_reports

    known = settings_from(settings)
    layout = Layout(
        collection=collection or source.name,
        id_column=id_column,
        text_columns=tuple(text_columns.split(",")),
        renamed=_renamed(column or []),
        encoding=encoding,
    )
    with progress_bar() as bar:
        task = bar.add_task("importing", total=None)
        made = import_reports(
            open_database(known),
            read_bulk(source, layout),
            setup=_setup(known, policy, lexicon),
            workers=workers,
            clock=_now,
            progress=lambda rows: bar.update(task, description=f"{rows} reports"),
        )
    console.print(
        f"{made.rows} rows: {made.new} new, {made.superseding} later versions, "
        f"{made.duplicates} there already, {made.outdated} outdated, {made.bad_rows} no report; "
        f"{made.mined} mined"
    )
    for row in made.bad or []:
        console.print(f"  row {row.number}: {row.reason}", style="yellow")
    if made.bad_rows > len(made.bad or []):
        console.print(f"  ... and {made.bad_rows - len(made.bad or [])} more", style="yellow")
    for one in made.odd or []:
        console.print(f"  report {one.report_id}: {one.remarks}", style="yellow")
    if made.odd_reports > len(made.odd or []):
        console.print(
            f"  ... and {made.odd_reports - len(made.odd or [])} more: "
            "dicomnode sql reports_with_remarks",
            style="yellow",
        )


def _renamed(pairs: list[str]) -> dict[str, str]:
    from dicomnode.reports.bulk import ABOUT

    renamed = dict(pair.partition("=")[::2] for pair in pairs)
    names = {*ABOUT, "status", "issued_at"}
    wrong = sorted(name for name in renamed if name not in names)
    if wrong:
        raise ConfigError(
            [f"--column {name}: none of {', '.join(sorted(names))}" for name in wrong]
        )
    return renamed


@app.command()
def remine(
    settings: SettingsPath = None,
    policy: PolicyOption = None,
    lexicon: LexiconOption = None,
    workers: WorkersOption = 1,
) -> None:
    """Read every report again, after a change of lexicon or policy. Earlier labels are kept.

    The new labels count once all reports are read. Stopped half-way, the same command goes on.
    Example: dicomnode reports remine --workers 2
    """
    from dicomnode.index import existing_database
    from dicomnode.steps.report_archive import remine_reports

    known = settings_from(settings)
    with progress_bar() as bar:
        task = bar.add_task("reading", total=None)
        version = remine_reports(
            existing_database(known),
            setup=_setup(known, policy, lexicon),
            workers=workers,
            clock=_now,
            progress=lambda done: bar.update(task, description=f"{done} reports"),
        )
    console.print(f"version {version} counts now; see what changed: dicomnode reports differences")


@app.command()
def versions(settings: SettingsPath = None) -> None:
    """List what labels were made by.

    Example: dicomnode reports versions
    """
    from dicomnode.index import existing_database
    from dicomnode.store.report_telling import versions as told

    table = Table(box=None)
    for name in ("version", "policy", "lexicon", "miner", "first used", "read", "in force for"):
        table.add_column(name)
    for one in told(existing_database(settings_from(settings))):
        used = one.first_used_at.astimezone().strftime("%Y-%m-%d %H:%M")
        read, in_force = str(one.reports_read), str(one.reports_in_force)
        table.add_row(str(one.id), one.policy, one.lexicon, one.miner, used, read, in_force)
    console.print(table)


@app.command()
def differences(
    before: Annotated[int, typer.Argument(help="A version, as `reports versions` lists them.")],
    after: Annotated[int, typer.Argument(help="Another one.")],
    settings: SettingsPath = None,
) -> None:
    """Say how labels changed between two versions, with the words of some reports.

    Example: dicomnode reports differences 1 2
    """
    from dicomnode.index import existing_database
    from dicomnode.store.report_telling import differences as found
    from dicomnode.store.report_telling import report

    database = existing_database(settings_from(settings))
    changes = found(database, before, after)
    if not changes:
        console.print("no label differs on the reports that both versions have read")
    for change in changes:
        was, now = VALUES[change.before], VALUES[change.after]
        console.print(f"{change.name}: {was} -> {now} in {change.reports} reports", style="bold")
        for number in change.examples:
            sentences = _sentences_on(report(database, number), change.name)
            console.print(f"  report {number}: {' / '.join(sentences) or '(no mention now)'}")


def _sentences_on(told: "ReportTold", label: str) -> list[str]:
    return list(dict.fromkeys(each.sentence for each in told.mentions if each.label == label))[:3]


@app.command("list")
def list_(
    settings: SettingsPath = None,
    limit: Annotated[int, typer.Option(help="How many.")] = 20,
    unmatched: Annotated[
        bool, typer.Option("--unmatched", help="Only those without a study, with the reason.")
    ] = False,
) -> None:
    """List the latest reports.

    Example: dicomnode reports list --unmatched
    """
    from dicomnode.index import existing_database
    from dicomnode.store.report_telling import latest_reports

    table = Table(box=None)
    for name in ("report", "came", "status", "study", "positive"):
        table.add_column(name, overflow="fold")
    database = existing_database(settings_from(settings))
    for line in latest_reports(database, limit, unmatched=unmatched):
        study = line.study_uid or line.match_note or "not looked up yet"
        said = ", ".join(line.positive or (f"({flag})" for flag in line.flags))
        came = f"{line.source} {line.received_at.astimezone():%Y-%m-%d %H:%M}"
        table.add_row(str(line.id), came, line.status, study, said)
    console.print(table)


@app.command()
def show(
    number: Annotated[int, typer.Argument(help="Report, as `reports list` shows it.")],
    settings: SettingsPath = None,
) -> None:
    """Show a report with its labels and the words that decided them.

    Example: dicomnode reports show 17
    """
    from dicomnode.index import existing_database
    from dicomnode.store.report_telling import report

    told = report(existing_database(settings_from(settings)), number)
    study = told.line.study_uid or told.line.match_note or "not looked up yet"
    console.print(f"report {number} ({told.line.status}), study: {study}")
    for index, part in enumerate(told.parts):
        console.print(f"\n{part.name}", style="bold")
        words = Text(part.text)
        for each in told.mentions:
            if each.part == index:
                words.stylize(STYLES[each.assertion], each.start, each.end)
        console.print(words, soft_wrap=True)
    console.print()
    table = Table(box=None)
    for name in ("label", "value", "words", "rule", "sentence"):
        table.add_column(name, overflow="fold")
    for label in told.labels:
        decides = told.mentions[label.mention] if label.mention is not None else None
        why = (decides.words, decides.rule or "plain", decides.sentence) if decides else ()
        table.add_row(label.name, VALUES[label.value], *why)
    console.print(table)
    console.print(f"read by: {told.version or 'nobody yet'}")
    if told.line.flags:
        console.print(f"could not be read: {', '.join(told.line.flags)}", style="yellow")
    if told.remarks:
        console.print(f"odd: {told.remarks}", style="yellow")


@app.command()
def refused(settings: SettingsPath = None) -> None:
    """List HL7 messages and SRs that could not be taken, each with its reason and its file.

    Example: dicomnode reports refused
    """
    from dicomnode.index import existing_database
    from dicomnode.store.refused_reports import waiting_refused

    waiting = waiting_refused(existing_database(settings_from(settings)), 1000)
    if not waiting:
        console.print("no message is refused", style="green")
        return
    table = Table(box=None)
    for name in ("message", "last refused", "times", "bytes", "why", "file"):
        table.add_column(name, overflow="fold")
    for each in waiting:
        last = each.last_at.astimezone().strftime("%Y-%m-%d %H:%M")
        numbers = (str(each.times), str(each.size_bytes))
        table.add_row(str(each.id), last, *numbers, each.reason, str(each.path))
    console.print(table)
    console.print("after a fix: dicomnode reports retry NUMBER, or --all; else reports dismiss")


@app.command()
def retry(
    number: Annotated[
        int | None, typer.Argument(help="Message, as `reports refused` lists it.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All that are refused.")] = False,
    settings: SettingsPath = None,
) -> None:
    """Read refused messages again, after a fix of settings or program.

    What is taken is kept in the index; the file of a message is removed, an SR stays where it is.
    Example: dicomnode reports retry 3
    """
    from dicomnode.index import existing_database
    from dicomnode.steps.refused_reports import retry_refused

    if (number is None) is not every:
        raise ConfigError(["say which message, or --all"])
    known = settings_from(settings)
    fields = known.reports.hl7.accession
    tried = retry_refused(existing_database(known), fields, _now, number)
    for one in tried:
        if one.reason:
            console.print(f"message {one.number}: still refused: {one.reason}", style="yellow")
        else:
            kept = ", ".join(f"report {each.report_id} {each.outcome.value}" for each in one.kept)
            console.print(f"message {one.number}: taken: {kept}")
    if any(one.reason for one in tried):
        raise typer.Exit(1)


@app.command()
def dismiss(
    number: Annotated[int, typer.Argument(help="Message, as `reports refused` lists it.")],
    settings: SettingsPath = None,
) -> None:
    """Take a refused message off the list; its file stays.

    Example: dicomnode reports dismiss 3
    """
    from dicomnode.index import existing_database
    from dicomnode.store.refused_reports import Ending, end_refused
    from dicomnode.store.refused_reports import refused as waiting

    database = existing_database(settings_from(settings))
    message = waiting(database, number)
    end_refused(database, number, Ending.DISMISSED, _now())
    console.print(f"message {number} dismissed; its file stays: {message.path}")


def _setup(settings: "Settings", policy: str | None, lexicon: list[Path] | None) -> "MinerSetup":
    from dicomnode.steps.reporting import setup_of

    chosen = {
        **({"policy": policy} if policy else {}),
        **({"lexicons": tuple(lexicon)} if lexicon else {}),
    }
    return setup_of(settings.reports.model_copy(update=chosen))


def _now() -> datetime:
    return datetime.now(UTC)
