"""All commands put together, and errors turned into exit codes."""

import os
import sys
from collections.abc import Sequence

import typer
from rich.console import Console

from dicomnode.cli import (
    admin,
    calibration,
    demo,
    evaluation,
    export,
    jobs,
    keep,
    models,
    offline,
    report_archive,
    reports,
    rules,
    serving,
    sql,
    stories,
    training,
    users,
    viewer,
)
from dicomnode.domain.errors import ConfigError, DicomNodeError, RuleError, StudyError
from dicomnode.logs import told_without_words

EPILOG = """
Exit codes: 0 done; 1 it failed, the reason is printed; 2 wrong usage, settings or rules;
3 there is no such study, job or algorithm.
"""

app = typer.Typer(
    name="dicomnode",
    help="A DICOM node beside the PACS: receives studies, runs MONAI bundles by rules, "
    "returns SEG and SR.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for group in (
    serving,
    offline,
    reports,
    stories,
    jobs,
    admin,
    sql,
    demo,
    viewer,
    export,
    evaluation,
    training,
    users,
):
    group.register(app)
app.add_typer(rules.app, name="rules")
app.add_typer(calibration.app, name="calibrate")
app.add_typer(report_archive.app, name="reports")
app.add_typer(admin.database, name="db")
app.add_typer(models.app, name="models")
app.add_typer(users.app, name="users")
app.add_typer(keep.app, name="keep")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command, by default the process's own; here errors become words and exit codes."""
    errors = Console(stderr=True, highlight=False, markup=False, emoji=False)
    try:
        app(arguments)
    except (ConfigError, RuleError) as exc:
        for fault in exc.faults:
            errors.print(fault, style="red")
        sys.exit(2)
    except StudyError as exc:
        errors.print(str(exc), style="red")
        sys.exit(3)
    except DicomNodeError as exc:
        errors.print(f"{type(exc).__name__}: {exc}", style="red")
        sys.exit(1)
    except OSError as exc:
        # A folder that may not be written, a disk that is full: no traceback helps there.
        errors.print(f"{exc.filename or 'system'}: {exc.strerror or exc}", style="red")
        sys.exit(1)
    except Exception as exc:  # a bug, or a library's word on data that may name a patient
        if os.environ.get("DICOMNODE_TRACEBACK"):
            raise
        errors.print(f"this is a bug of dicomnode: {told_without_words(exc)}", style="red")
        errors.print("with DICOMNODE_TRACEBACK=1 it is told in full, data included")
        sys.exit(1)
