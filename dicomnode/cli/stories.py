"""`status` and `explain`: what is going on, and why."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from dicomnode.cli.common import SettingsPath, console, settings_from

if TYPE_CHECKING:
    from dicomnode.store.overview import Overview, StudyLine, Trouble
    from dicomnode.store.story import EventTold, FindingTold, JobTold, RevisionTold, Story

OTHER_PATIENT = "states another PatientID than the study's first image"

JOB_DIGITS = 12
"""Of a job's id, in lists; commands take them."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(status)
    app.command()(explain)


def status(
    settings: SettingsPath = None,
    as_json: JsonOption = False,
    studies: Annotated[int, typer.Option(help="How many of the latest studies to list.")] = 10,
) -> None:
    """Show how much stands where, and everything that needs a person, each with its reason."""
    from dicomnode.index import existing_database
    from dicomnode.store.overview import latest_studies, overview

    known = settings_from(settings)
    database = existing_database(known)
    seen = overview(database, datetime.now(UTC), reserve_mb=known.receive.reserve_mb)
    latest = latest_studies(database, studies)
    if as_json:
        _print_json({**asdict(seen), "latest": [asdict(line) for line in latest]})
        return
    _print_overview(seen)
    _print_studies(latest)


def _print_overview(seen: "Overview") -> None:
    table = Table(title="Where things stand", title_justify="left", box=None)
    table.add_column("what")
    table.add_column("how many", overflow="fold")
    table.add_row("instances", _in_words(seen.instances))
    table.add_row("studies", f"{seen.studies}, {seen.open_studies} of them still open")
    table.add_row("jobs", _in_words(seen.jobs))
    table.add_row("deliveries", _in_words(seen.deliveries))
    console.print(table)
    if not seen.trouble:
        console.print("\nNothing needs a person.", style="green")
        return
    console.print("\nNeeds a person", style="italic")
    for one in seen.trouble:
        _print_trouble(one)
    if seen.shown_of_a_kind:
        words = f"There is more: of each kind the {seen.shown_of_a_kind} oldest are listed."
        console.print(words, style="yellow")


def _print_trouble(one: "Trouble") -> None:
    """Its name in commands, since when, why; and the command that tells more, to be copied."""
    name = one.id[:JOB_DIGITS] if one.what in ("job", "delivery") else one.id
    called = [] if name == one.study_uid else [name]
    accession = f", accession {one.accession_number}" if one.accession_number else ""
    head = " ".join([one.what, *called]) + f"{accession}, since {_moment(one.since)}"
    console.print(head, style="yellow", soft_wrap=True)
    console.print(Padding(Text(one.reason, "yellow"), (0, 0, 0, 2), expand=False))
    if one.study_uid:
        console.print(f"  dicomnode explain {one.study_uid}", soft_wrap=True)


def _print_studies(lines: "tuple[StudyLine, ...]") -> None:
    """Each StudyInstanceUID on a line of its own, which is never broken: to be copied."""
    console.print("\nLatest studies", style="italic")
    for line in lines:
        accession = f"accession {line.accession_number}" if line.accession_number else ""
        revision = f"revision {line.revision}{' (open)' if line.is_open else ''}"
        parts = (accession, line.study_date, line.description, _images(line.instances), revision)
        told = ", ".join(part for part in parts if part)
        console.print(f"{_moment(line.received_at)}  {told}")
        console.print(f"  {line.study_uid}", soft_wrap=True)


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none"


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _moment(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def explain(
    study: Annotated[str, typer.Argument(help="StudyInstanceUID, or accession number.")],
    settings: SettingsPath = None,
    as_json: JsonOption = False,
    events: Annotated[bool, typer.Option(help="Print every event as well.")] = False,
) -> None:
    """Tell a study's whole story: received, closed why, rules, jobs, results, deliveries.

    Example: dicomnode explain 1.2.840.113619.2.1 --events
    """
    from dicomnode.index import existing_database
    from dicomnode.store.naming import study_called
    from dicomnode.store.story import story

    database = existing_database(settings_from(settings))
    told = story(database, study_called(database, study))
    if as_json:
        _print_json(asdict(told))
        return
    print_story(told, events=events)


def _print_json(value: object) -> None:
    console.print_json(json.dumps(value, default=str))


def print_story(told: "Story", *, events: bool = False) -> None:
    """Print a story as a tree."""
    state = "open" if told.is_open else "closed"
    accession = f", accession number {told.accession_number}" if told.accession_number else ""
    head = Text.assemble(
        (f"study {told.study_uid}", "bold"), f" ({state}, {_images(told.instances)}{accession})"
    )
    tree = Tree(head)
    received = tree.add("received")
    for one in told.received:
        received.add(
            f"{_moment(one.at)}  {_images(one.instances)} from {one.calling_ae} at {one.address}, "
            f"association {one.outcome}"
        )
    series = tree.add("series")
    for held in told.series:
        other = f"  ({OTHER_PATIENT})" if held.of_another_patient else ""
        series.add(f"{held.modality}  {_images(held.instances)}  {held.description}{other}")
    for revision in told.revisions:
        _add_revision(tree, revision)
    for job in told.jobs:
        _add_job(tree, job, told.events)
    if events:
        log = tree.add("events")
        for event in told.events:
            facts = ", ".join(f"{key}={value}" for key, value in event.facts.items())
            log.add(f"{_moment(event.at)}  {event.name}  {facts}")
    console.print(tree)


def _in_line(finding: "FindingTold") -> str:
    meaning = f" ({finding.meaning})" if finding.meaning else ""
    score = "" if finding.score is None else f"{finding.score:.2f}"
    said = ", ".join(part for part in (finding.text, score, *finding.numbers) if part)
    return f"{finding.kind} {finding.name}{meaning}{': ' if said else ''}{said}"


def _add_revision(tree: Tree, revision: "RevisionTold") -> None:
    what = f"series {revision.series_uid}, revision" if revision.series_uid else "revision"
    branch = tree.add(
        f"{what} {revision.number} closed {_moment(revision.closed_at)}: {revision.reason}, "
        f"{_images(revision.instances)}"
    )
    branch.add("evidence: " + ", ".join(f"{k}={v}" for k, v in revision.evidence.items()))
    if revision.rule_set_digest:
        branch.add(f"rules of version {revision.rule_set_digest[:12]}")
    for verdict in revision.verdicts:
        mark = ("yes", "green") if verdict["matches"] else ("no", "")
        branch.add(Text.assemble(f"rule {verdict['rule']}: ", mark, f", {verdict['reason']}"))


def _add_job(tree: Tree, job: "JobTold", events: "Sequence[EventTold]") -> None:
    colours = {"succeeded": "green", "failed": "red", "refused": "yellow"}
    what = f"job {job.id}: {job.algorithm} {job.version} by rule {job.rule}: "
    branch = tree.add(Text.assemble(what, (job.state, colours.get(job.state, ""))))
    if job.reason:
        branch.add(f"{job.error}: {job.reason}")
    if job.seconds:
        branch.add(", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in job.seconds.items()))
    for warning in job.warnings:
        branch.add(Text(f"note: {warning}", "yellow"))
    for finding in job.findings:
        branch.add(_in_line(finding))
    for delivery in job.deliveries:
        answer = "" if delivery.status is None else f", answer 0x{delivery.status:04X}"
        proof = f" by {delivery.confirmed_by}" if delivery.confirmed_by else ""
        why = f": {delivery.reason}" if delivery.reason else ""
        which = " of an earlier run" if delivery.superseded else ""
        where = f"{delivery.kind}{which} to {delivery.destination}"
        branch.add(f"{where}: {delivery.state}{proof}{answer}{why}")
    for event in events:
        if event.name == "delivery.fell-back" and event.job_id == job.id:
            branch.add(f"{event.facts['destination']} gets BINARY: {event.facts['reason']}")
