"""What commands share: the settings option, consoles, progress."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dicomnode.domain.errors import ConfigError
from dicomnode.settings import Settings, load_settings

# What peers and files say is printed as it is: brackets in a series description are no markup.
console = Console(highlight=False, markup=False, emoji=False)

SETTINGS_FILE = "dicomnode.toml"
SERVICE_SETTINGS = Path("/etc/dicomnode") / SETTINGS_FILE
"""Of a node that was installed as docs/operations.md says."""

SettingsPath = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        "-s",
        envvar="DICOMNODE_SETTINGS",
        help=f"Settings file; without it ./{SETTINGS_FILE}, else {SERVICE_SETTINGS}, if there is "
        "one, else the defaults.",
        show_default=False,
    ),
]


def settings_from(path: Path | None) -> Settings:
    """The settings a command works with."""
    if path is None:
        places = (Path(SETTINGS_FILE), SERVICE_SETTINGS)
        # A folder that may not be entered is as good as none.
        path = next((place for place in places if os.access(place, os.F_OK)), None)
    return load_settings(path, os.environ)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar on standard error, gone when done."""
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True, markup=False, emoji=False),
        transient=True,
    ) as bar:
        yield bar


def files_below(folder: Path) -> list[Path]:
    """Every regular file below a folder (or the file itself), in a stable order."""
    if folder.is_file():
        return [folder]
    return sorted(path for path in folder.rglob("*") if path.is_file())


def pairs_from(option: str, form: str, given: Sequence[str] | None) -> dict[str, str]:
    """What an option that may be repeated was given as `LEFT=RIGHT`; `form` names both sides.

    Raises:
        ConfigError: naming every value without an equals sign.
    """
    pairs = [one.partition("=") for one in given or ()]
    if wrong := [left for left, equals, _ in pairs if not equals]:
        raise ConfigError([f"{option} {left}: {form} is needed" for left in wrong])
    return {left: right for left, _, right in pairs}
