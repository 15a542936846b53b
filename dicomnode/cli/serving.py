"""`serve`, `work` and `web`."""

from pathlib import Path
from typing import Annotated

import typer

from dicomnode.cli.common import SettingsPath, console, settings_from


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.command()(work)
    app.command()(web)


def serve(
    settings: SettingsPath = None,
    worker: Annotated[bool, typer.Option(help="Run models in this node as well.")] = True,
) -> None:
    """Run the node: receive, close, match, run, deliver.

    Example: dicomnode serve --settings /etc/dicomnode/dicomnode.toml
    """
    from dicomnode.app import Serving, wait_for_signal
    from dicomnode.logs import configure_process

    chosen = settings_from(settings)
    configure_process(chosen.log_level)
    node = Serving(chosen, with_worker=worker)
    try:
        port = node.start()
        host = chosen.receive.host
        console.print(f"{chosen.ae_title} listens on {host}:{port}; files in {chosen.data_dir}")
        if node.web_address:
            console.print(f"pages on {node.web_address}")
        console.print("Ctrl-C stops it; nothing that was acknowledged is lost.")
        wait_for_signal()
    finally:
        node.stop()


def work(
    settings: SettingsPath = None,
    name: Annotated[
        str, typer.Option(help="Unique among workers; the same after a restart.")
    ] = "worker",
) -> None:
    """Run models for a node started with `serve --no-worker`.

    Needs the node's database, and its data folder or `files.url` in the settings.
    Example: dicomnode work --name gpu1
    """
    from dicomnode.app import Working
    from dicomnode.logs import configure_process

    chosen = settings_from(settings)
    configure_process(chosen.log_level)
    worker = Working(chosen, Path(name).name)
    try:
        worker.start()
        worker.wait()
    finally:
        worker.stop()


def web(settings: SettingsPath = None) -> None:
    """Serve the pages and interfaces alone, beside a node whose settings do not (enabled = false).

    Needs the node's database and its data folder. Example: dicomnode web
    """
    from dicomnode.app import wait_for_signal
    from dicomnode.index import open_database
    from dicomnode.logs import configure_process
    from dicomnode.web.process import address_of
    from dicomnode.web.serving import WebServer

    chosen = settings_from(settings)
    configure_process(chosen.log_level)
    server = WebServer(chosen, open_database(chosen))
    server.start()
    try:
        console.print(f"pages on {address_of(chosen, server.port)}; Ctrl-C stops it")
        wait_for_signal()
    finally:
        server.stop()
