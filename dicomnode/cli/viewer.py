"""`viewer`: OHIF beside a PACS, or over the node's own studies."""

from pathlib import Path
from typing import Annotated

import typer

from dicomnode.cli.common import SettingsPath, console, settings_from

CACHE = Path.home() / ".cache" / "dicomnode" / "ohif"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(viewer)


def viewer(
    dicomweb: Annotated[
        str, typer.Argument(help="DICOMweb root of the PACS, e.g. http://127.0.0.1:8042/dicom-web")
    ] = "",
    host: Annotated[str, typer.Option(help="Address to serve on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to serve on.")] = 3000,
    cache: Annotated[Path, typer.Option(help="Where OHIF is kept once it was fetched.")] = CACHE,
    install: Annotated[
        bool, typer.Option("--install", help="Fetch it for the node's own pages, then end.")
    ] = False,
    tarball: Annotated[
        Path | None, typer.Option(help="With --install: npm's file, brought from another machine.")
    ] = None,
    settings: SettingsPath = None,
) -> None:
    """Fetch OHIF once (50 MB, by npm, its digest checked) and serve it over the images of a PACS.

    It only reads. With --install the node's own pages offer it, over what the node holds.

    Examples: dicomnode viewer http://127.0.0.1:8042/dicom-web; dicomnode viewer --install
    """
    if install:
        _install(settings, tarball)
        return
    if not dicomweb or tarball is not None:
        raise typer.BadParameter("name the DICOMweb root of a PACS, or give --install")
    from dicomnode.viewer.configuration import app_config
    from dicomnode.viewer.release import fetch
    from dicomnode.viewer.site import Content, ViewerSite
    from dicomnode.viewer.upstream import Upstream

    console.print("looking for OHIF ...", style="dim")
    content = Content(
        files=fetch(cache),
        app_config=app_config(name="PACS", notice=True),
        pacs=Upstream.at(dicomweb),
    )
    with ViewerSite(content, host=host, port=port) as site:
        console.print(f"open {site.url} in a browser; Ctrl-C stops it")
        site.wait()


def _install(path: Path | None, tarball: Path | None) -> None:
    from dicomnode.viewer.release import fetch, unpack

    chosen = settings_from(path)
    folder = chosen.web.viewer or chosen.data_dir / "viewer"
    files = fetch(folder) if tarball is None else unpack(tarball, folder)
    console.print(f"{files} is offered by the node's pages at /viewer; no restart is needed")
